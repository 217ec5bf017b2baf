/** A city: where it is, how large its market, what it eats, and its climate by month. */
export interface City {
  id: string;
  /** As texts say it, with the Chinese name where natural. */
  name: string;
  region: string;
  /** Relative number of users and POIs. */
  weight: number;
  /** Cuisine ids that are the city's own; the first is its pride. */
  own: string[];
  /** Mean temperature of January and of July in °C. */
  january: number;
  july: number;
  /** Share of days that tend to rain, from March to May. */
  wetness: number;
  districts: string[];
}

const city = (
  id: string,
  name: string,
  region: string,
  weight: number,
  own: string,
  january: number,
  july: number,
  wetness: number,
  districts: string,
): City => ({
  id,
  name,
  region,
  weight,
  own: own.split(' '),
  january,
  july,
  wetness,
  districts: districts.split(', '),
});

/** In the order in which small worlds take them. */
export const CITIES: City[] = [
  city(
    'guangzhou',
    'Guangzhou 广州',
    'Guangdong',
    10,
    'dim-sum cantonese-roast claypot-congee cantonese-dessert',
    14,
    29,
    0.45,
    'Tianhe, Yuexiu, Liwan, Haizhu, Baiyun, Panyu, Huangpu, Nansha',
  ),
  city(
    'chengdu',
    'Chengdu 成都',
    'Sichuan',
    9,
    'sichuan sichuan-snacks malatang',
    6,
    26,
    0.35,
    'Jinjiang, Qingyang, Wuhou, Jinniu, Chenghua, Gaoxin, Shuangliu',
  ),
  city(
    'beijing',
    'Beijing 北京',
    'North China',
    10,
    'beijing dumplings',
    -3,
    27,
    0.15,
    'Chaoyang, Haidian, Dongcheng, Xicheng, Fengtai, Tongzhou, Shijingshan',
  ),
  city(
    'chaoshan',
    'Chaoshan 潮汕',
    'Guangdong',
    5,
    'chaoshan claypot-congee',
    15,
    29,
    0.4,
    'Jinping, Longhu, Chenghai, Xiangqiao, Rongcheng',
  ),
  city(
    'shanghai',
    'Shanghai 上海',
    'East China',
    10,
    'shanghai jiangnan',
    5,
    29,
    0.35,
    'Huangpu River, Jingan, Xuhui, Pudong, Yangpu, Hongkou, Minhang, Changning',
  ),
  city('london', 'London', 'England', 5, 'british', 5, 19, 0.4, 'Soho, Camden, Hackney, Brixton, Greenwich, Chelsea'),
  city(
    'shenzhen',
    'Shenzhen 深圳',
    'Guangdong',
    9,
    'hakka seafood dim-sum',
    15,
    29,
    0.45,
    'Futian, Nanshan, Luohu, Baoan, Longgang, Longhua, Yantian',
  ),
  city(
    'foshan',
    'Foshan 佛山',
    'Guangdong',
    5,
    'shunde cantonese-dessert',
    14,
    29,
    0.45,
    'Chancheng, Shunde, Nanhai, Sanshui, Gaoming',
  ),
  city(
    'dongguan',
    'Dongguan 东莞',
    'Guangdong',
    5,
    'hakka cantonese-roast cantonese-dessert',
    14,
    29,
    0.45,
    'Nancheng, Dongcheng, Humen, Changan, Houjie',
  ),
  city(
    'xian',
    "Xi'an 西安",
    'Shaanxi',
    7,
    'shaanxi lanzhou',
    0,
    27,
    0.22,
    'Beilin, Yanta, Lianhu, Weiyang, Xincheng, Qujiang',
  ),
  city(
    'chongqing',
    'Chongqing 重庆',
    'Southwest China',
    7,
    'chongqing-hotpot malatang',
    8,
    29,
    0.38,
    'Yuzhong, Jiangbei, Nanan, Shapingba, Yubei, Jiulongpo',
  ),
  city('wuhan', 'Wuhan 武汉', 'Hubei', 6, 'wuhan', 4, 29, 0.35, 'Wuchang, Hankou, Hanyang, Hongshan, Jianghan'),
  city('changsha', 'Changsha 长沙', 'Hunan', 6, 'hunan', 5, 29, 0.42, 'Furong, Yuelu, Tianxin, Kaifu, Yuhua'),
  city(
    'hangzhou',
    'Hangzhou 杭州',
    'East China',
    7,
    'jiangnan',
    5,
    29,
    0.38,
    'West Lake, Gongshu, Shangcheng, Binjiang, Yuhang',
  ),
  city(
    'harbin',
    'Harbin 哈尔滨',
    'Northeast China',
    5,
    'dongbei',
    -18,
    23,
    0.18,
    'Daoli, Nangang, Daowai, Xiangfang, Songbei',
  ),
  city('kunming', 'Kunming 昆明', 'Yunnan', 4, 'yunnan', 9, 20, 0.2, 'Wuhua, Panlong, Guandu, Xishan'),
  city('guiyang', 'Guiyang 贵阳', 'Guizhou', 3, 'guizhou', 5, 24, 0.42, 'Nanming, Yunyan, Guanshanhu, Huaxi'),
  city('lanzhou', 'Lanzhou 兰州', 'Northwest China', 3, 'lanzhou', -5, 23, 0.12, 'Chengguan, Qilihe, Anning, Xigu'),
  city('urumqi', 'Urumqi 乌鲁木齐', 'Xinjiang', 3, 'xinjiang', -12, 25, 0.12, 'Tianshan, Saybagh, Midong, Shuimogou'),
  city('qingdao', 'Qingdao 青岛', 'Shandong', 4, 'shandong seafood', 0, 25, 0.2, 'Shinan, Shibei, Laoshan, Licang'),
  city('taipei', 'Taipei 台北', 'Taiwan', 5, 'taiwan-fujian', 16, 30, 0.42, 'Daan, Xinyi, Zhongshan, Wanhua, Shilin'),
  city(
    'tokyo',
    'Tokyo 东京',
    'Japan',
    6,
    'ramen sushi',
    5,
    26,
    0.32,
    'Shinjuku, Shibuya, Asakusa, Ginza, Ueno, Ikebukuro',
  ),
  city(
    'seoul',
    'Seoul 首尔',
    'Korea',
    5,
    'korean fried-chicken',
    -2,
    25,
    0.22,
    'Gangnam, Mapo, Jongno, Hongdae, Itaewon',
  ),
  city('bangkok', 'Bangkok 曼谷', 'Thailand', 5, 'thai', 27, 30, 0.25, 'Sukhumvit, Silom, Siam, Thonburi, Ari'),
  city(
    'singapore',
    'Singapore 新加坡',
    'Singapore',
    4,
    'singapore',
    27,
    28,
    0.5,
    'Chinatown, Bugis, Orchard, Katong, Jurong',
  ),
  city('paris', 'Paris', 'France', 3, 'french', 5, 20, 0.32, 'Marais, Montmartre, Bastille, Belleville'),
  city(
    'new-york',
    'New York',
    'United States',
    5,
    'american',
    1,
    26,
    0.3,
    'Manhattan, Brooklyn, Queens, Harlem, Flushing',
  ),
  city('sydney', 'Sydney 悉尼', 'Australia', 3, 'australian', 24, 13, 0.32, 'Surry Hills, Newtown, Chatswood, Bondi'),
];

/** How many of CITIES a world of this many POIs has: a city needs enough POIs to fill a list with choices. */
export function cityCount(pois: number): number {
  return Math.max(4, Math.min(CITIES.length, Math.floor(pois / 40)));
}

/** Mean temperature of a day of the year in a city, °C. */
export function meanTemperature(place: City, dayOfYear: number): number {
  const mean = (place.january + place.july) / 2;
  // Coldest (or in the south warmest) near January 20th.
  return mean + ((place.january - place.july) / 2) * Math.cos((2 * Math.PI * (dayOfYear - 20)) / 365);
}

/** Season words where the city is: a tropical city has none but its heat. */
export function season(place: City, month: number): string {
  if (Math.abs(place.january - place.july) < 5) return 'tropical season';
  const northern = [
    'winter',
    'winter',
    'spring',
    'spring',
    'spring',
    'summer',
    'summer',
    'summer',
    'autumn',
    'autumn',
    'autumn',
    'winter',
  ];
  return northern[(month + (place.january > place.july ? 6 : 0)) % 12]!;
}
