import { ATTRIBUTES, type AttributeName, attributeIndex, MEALTIMES } from './attributes.js';

/** The eleven coarse food groups; every cuisine belongs to one. */
export type FoodGroup =
  | 'cantonese'
  | 'spicy chinese'
  | 'northern chinese'
  | 'eastern chinese'
  | 'snacks'
  | 'japanese and korean'
  | 'southeast asian'
  | 'indian and middle eastern'
  | 'western'
  | 'drinks and desserts'
  | 'light food';

/** One dish: what a menu calls it, which cuisine it comes from, and its true attributes (docs/world.md). */
export interface Dish {
  name: string;
  cuisine: number;
  /** One value per entry of ATTRIBUTES, each in [0, 1]. */
  attributes: Float64Array;
  /** Typical price in yuan. */
  price: number;
  drink: boolean;
}

export interface Cuisine {
  id: string;
  /** As people say it: "Sichuan home cooking". */
  phrase: string;
  group: FoodGroup;
  /** Index of its first dish in DISHES, and how many there are. */
  first: number;
  count: number;
}

// A dish is `name|codes|mealtimes|price`. Levels: t temperature (0 icy … 4 piping hot), s spicy, w sweet, o sour, r rich
// (0 light … 3 heavy; 1 where not given), p soupy, f fried, g grilled, y creamy (0 … 3). Flags: V no meat or fish,
// X seafood, M red meat, K poultry, N noodles, R rice, D drink. Mealtimes: B breakfast, L lunch, T afternoon, D dinner, N late night.
const TABLE: [string, string, FoodGroup, string][] = [
  [
    'dim-sum',
    'Cantonese dim sum',
    'cantonese',
    `rice noodle roll 肠粉|t3r0R|BLN|14
shrimp dumplings 虾饺|t4r0X|BLT|26
siu mai 烧卖|t4M|BLT|22
barbecue pork bun 叉烧包|t3w2M|BT|15
chicken feet in black bean sauce 豉汁凤爪|t4s1r2K|BLT|20
egg custard bun 流沙包|t3w3r2yV|BT|16
turnip cake 萝卜糕|t3f1M|BLT|16
steamed spare ribs 蒸排骨|t4r2M|BLD|24
lotus leaf sticky rice 糯米鸡|t4r2KR|BLD|20
egg tart 蛋挞|t3w3y2V|BT|12
crispy spring roll 春卷|t3f3V|LTN|15
chilled mango pudding 芒果布丁|t1w3y2r0V|TN|16`,
  ],
  [
    'cantonese-roast',
    'Cantonese roast meat',
    'cantonese',
    `honey barbecue pork rice 蜜汁叉烧饭|t3w2r2g2MR|LD|32
roast goose 烧鹅|t3r3g2K|LD|48
crispy roast pork belly 脆皮烧肉|t3r3g2f1M|LDN|42
soy sauce chicken 豉油鸡|t2r1K|LD|34
white cut chicken 白切鸡|t1r0K|LD|36
roast duck noodle soup 烧鸭汤面|t4p3r2KN|LDN|30
roast pigeon 烧乳鸽|t3r2g2K|DN|45
char siu noodle 叉烧捞面|t3w1MN|LD|28
four treasure rice 四宝饭|t3r3g1MKR|LD|40
roast goose leg with plum sauce 梅酱鹅腿|t3w1o2r2g2K|LD|46
marinated pig ear 卤猪耳|t1r1M|DN|24
winter melon soup 冬瓜汤|t4p3r0V|LD|18`,
  ],
  [
    'claypot-congee',
    'claypot rice and congee',
    'cantonese',
    `claypot rice with cured sausage 腊味煲仔饭|t4r3MR|LD|34
claypot rice with spare ribs 排骨煲仔饭|t4r2MR|LD|32
claypot rice with eel 黄鳝煲仔饭|t4r2XR|DN|44
claypot chicken and mushroom rice 冬菇滑鸡煲仔饭|t4r2KR|LD|32
seafood claypot congee 海鲜砂锅粥|t4p3r0XR|DN|58
century egg and pork congee 皮蛋瘦肉粥|t4p3r0MR|BN|16
sampan congee 艇仔粥|t4p3r0XR|BN|18
plain congee with pickles 白粥咸菜|t4p3r0o1VR|BN|8
crab congee 蟹粥|t4p3r1XR|DN|68
fried dough stick 油条|t3f3r2V|B|6
stir-fried morning glory 炒通菜|t4r0V|LD|18
pork liver congee 猪肝粥|t4p3r1MR|BN|18`,
  ],
  [
    'chaoshan',
    'Chaoshan cooking',
    'cantonese',
    `Chaoshan beef hotpot 潮汕牛肉火锅|t4p3r1M|DN|78
stir-fried beef rice noodles 干炒牛河|t4r3f1MN|LDN|28
beef ball noodle soup 牛肉丸粿条汤|t4p3r1MN|BLDN|24
oyster omelette 蚝烙|t4f2r2X|DN|30
braised goose 卤水鹅|t2r2K|LD|46
chilled marinated crab 生腌蟹|t0s1o1r0X|DN|72
cold fish with bean paste 鱼饭|t1r0X|LD|38
pork blood soup 猪血汤|t4p3r0M|B|14
fish ball soup 鱼丸汤|t4p3r0X|BLN|22
red peach rice cake 红桃粿|t3f1VR|BT|12
taro in sugar frost 反沙芋|t3w3f2V|TD|24
kway chap 粿汁|t4p2r2MN|BN|18`,
  ],
  [
    'cantonese-dessert',
    'Cantonese sweet soup',
    'drinks and desserts',
    `red bean sweet soup 红豆沙|t4w3p3r1V|TN|14
black sesame soup 芝麻糊|t4w3p3y2V|TN|16
mango pomelo sago 杨枝甘露|t0w3o1p2y2V|TN|22
double skin milk 双皮奶|t1w2y3V|TN|16
ginger milk curd 姜撞奶|t4w2y3V|TN|16
grass jelly with fruit 凉粉|t0w2p1r0V|T|15
tofu pudding 豆腐花|t3w2p2r0V|BT|10
papaya and white fungus soup 木瓜炖雪耳|t3w2p3r0V|TN|20
sweet potato ginger soup 番薯糖水|t4w2p3V|TN|14
durian pancake 榴莲班戟|t0w3y3r2V|T|26
coconut milk sago 椰汁西米露|t0w3p2y2V|TN|18
glutinous rice balls in syrup 汤圆|t4w3p3r2V|TN|16`,
  ],
  [
    'shunde',
    'Shunde cooking from Foshan',
    'cantonese',
    `Shunde raw fish 顺德鱼生|t1r0X|DN|68
stir-fried milk 大良炒牛奶|t3r1y3V|LD|36
steamed fish with soy 清蒸鱼|t4r0X|LD|58
fish skin salad 凉拌鱼皮|t1o1s1r0X|LDN|26
Shunde fish soup 拆鱼羹|t4p3r0X|LD|32
sun-dried orange peel duck 陈皮鸭|t4r2K|LD|48
stuffed dace 煎酿鲮鱼|t4f2r2X|LD|46
fried milk sticks 炸牛奶|t3f3w2y2V|TN|20
Junan steamed pork 均安蒸猪|t3r3M|LD|52
blind man's cake 盲公饼|t2w2r2V|T|14
wheel bun with beans 伦教糕|t2w1r0V|BT|10
pepper pork tripe chicken pot 猪肚鸡|t4p3s1r2K|DN|78`,
  ],
  [
    'hakka',
    'Hakka cooking',
    'cantonese',
    `salt baked chicken 盐焗鸡|t3r2K|LD|48
stuffed tofu 酿豆腐|t4r1p1M|LD|28
pork belly with preserved greens 梅菜扣肉|t4r3M|LD|42
Hakka rice wine chicken 娘酒鸡|t4w1p3r2K|D|46
pickled mustard greens with pork 酸菜炒肉|t4o2MR|LD|28
lei cha tea rice 擂茶饭|t3p2r0VR|BL|24
fried meat balls 炸肉丸|t3f3r2M|LDN|26
three cup duck 三杯鸭|t4w1r3K|D|46
Hakka pounded noodles 腌面|t3r2MN|BL|14
offal soup 三及第汤|t4p3r0M|B|16
bitter melon soup 苦瓜汤|t4p3r0M|LD|20
wolfberry leaf egg soup 枸杞叶汤|t4p3r0V|BL|16`,
  ],
  [
    'sichuan',
    'Sichuan home cooking',
    'spicy chinese',
    `mapo tofu 麻婆豆腐|t4s3r2MR|LD|24
kung pao chicken 宫保鸡丁|t4s2w1K|LD|32
twice-cooked pork 回锅肉|t4s2r3M|LD|34
fish in chilli oil 水煮鱼|t4s3r3p2X|D|68
mouth-watering chicken 口水鸡|t1s3K|LD|34
husband and wife beef 夫妻肺片|t1s3M|LDN|36
fish-fragrant aubergine 鱼香茄子|t4s1w1o1r2V|LD|24
dry-fried green beans 干煸四季豆|t4s1f1V|LD|22
sour cabbage fish 酸菜鱼|t4s2o3p3X|LD|62
tea smoked duck 樟茶鸭|t3r3g2K|D|48
garlic white pork 蒜泥白肉|t1s1M|LD|30
steamed egg with minced pork 肉末蒸蛋|t4r0p1y1M|LD|20
pumpkin and millet soup 南瓜小米粥|t4w1p3r0V|BLD|14`,
  ],
  [
    'sichuan-snacks',
    'Sichuan snacks',
    'snacks',
    `dan dan noodles 担担面|t4s2r2MN|BLN|16
cold noodles with chicken 鸡丝凉面|t1s2o1KN|LN|16
zhong dumplings 钟水饺|t3s2w1M|BLN|16
wontons in chilli oil 红油抄手|t3s2M|BLN|18
sweet water noodles 甜水面|t2w2s1VN|LT|14
ice jelly 冰粉|t0w3r0p2V|TN|10
bean jelly in chilli sauce 川北凉粉|t1s3o1r0V|LTN|12
three cannon rice balls 三大炮|t3w3V|T|12
egg bun with pork 蛋烘糕|t3w1M|BT|12
hot and sour glass noodles 酸辣粉|t4s3o3p3VN|LN|16
rabbit head 麻辣兔头|t2s3M|N|18
leaf wrapped rice cake 叶儿粑|t3w1VR|BT|10
sugar oil fried cake 糖油果子|t3w3f3V|T|10`,
  ],
  [
    'chongqing-hotpot',
    'Chongqing hotpot',
    'spicy chinese',
    `beef tallow hotpot 牛油火锅|t4s3r3p3M|DN|98
clear mushroom hotpot 菌汤火锅|t4r0p3V|LD|78
tomato hotpot 番茄火锅|t4o2w1r1p3M|LD|82
tripe for hotpot 毛肚|t4s2r1M|DN|42
duck blood and tofu pot 毛血旺|t4s3r3p2M|D|52
crispy pork strips 小酥肉|t3f3r2M|LDN|28
brown sugar rice cake 红糖糍粑|t3w3f2VR|TN|18
spicy crayfish 麻辣小龙虾|t4s3r2X|N|88
Chongqing noodles 重庆小面|t4s3p1VN|BLN|14
chicken with mountains of chilli 辣子鸡|t4s3f2K|LD|48
hotpot beef slices 嫩牛肉|t4s1r2M|DN|46
cold sweet sago bowl 西米露|t0w3p2r0V|TN|12`,
  ],
  [
    'malatang',
    'malatang and dry pot',
    'spicy chinese',
    `numbing hot malatang 麻辣烫|t4s3p3r1M|LDN|26
bone broth malatang 骨汤麻辣烫|t4p3r1M|LDN|26
spicy dry pot 麻辣香锅|t4s3r3M|LD|38
chilli skewers in cold broth 钵钵鸡|t1s3p1K|LN|32
chuan chuan skewers 串串香|t4s3p2r2M|DN|48
tomato beef malatang 番茄麻辣烫|t4o2w1p3M|LDN|28
dry mixed malatang 麻辣拌|t3s2w1o1r2M|LDN|26
seafood dry pot 海鲜香锅|t4s2r2X|D|52
vegetable malatang 素麻辣烫|t4s1p3r0V|LD|20
cauliflower dry pot 干锅花菜|t4s2r1V|LD|28
fried glutinous rice strips 炸年糕|t3f3w1V|TN|12
iced sour plum drink 冰酸梅汤|t0w2o2r0VD|LTN|8`,
  ],
  [
    'hunan',
    'Hunan cooking',
    'spicy chinese',
    `chopped chilli fish head 剁椒鱼头|t4s3r1X|LD|68
pork with green chilli 小炒肉|t4s3r2M|LD|36
stinky tofu 臭豆腐|t4s2f3V|TN|14
smoked pork with dried radish 腊肉炒萝卜干|t4s1r3g1M|LD|36
Chairman's red braised pork 毛氏红烧肉|t4w1r3M|LD|46
Changsha rice noodles 长沙米粉|t4s1p3MN|BL|16
spicy crayfish tails 口味虾尾|t4s3X|N|68
steamed pickled pepper frog 剁椒牛蛙|t4s3X|D|58
sour beans with minced meat 酸豆角肉末|t4s1o2MR|LD|26
sugar fried rice balls 糖油粑粑|t3w3f2VR|T|10
lotus root and rib soup 莲藕排骨汤|t4p3r1M|LD|32
cold tossed cucumber 凉拌黄瓜|t1s1o2r0V|LD|12
chilli fried egg 辣椒炒蛋|t4s2f1V|LD|20`,
  ],
  [
    'wuhan',
    'Wuhan breakfast and Hubei cooking',
    'snacks',
    `hot dry noodles 热干面|t3r2VN|B|10
three delicacy tofu skin 三鲜豆皮|t3f2r2MR|B|12
fried hollow doughnut 面窝|t3f3V|B|5
beef noodle soup Wuhan style 牛肉面|t4s1p3MN|BL|20
duck neck 麻辣鸭脖|t2s3K|TN|24
lotus root soup 藕汤|t4p3r1M|LD|30
steamed Wuchang fish 清蒸武昌鱼|t4r0X|LD|58
sesame rice wine soup 蛋酒|t4w2p3V|B|8
cold lotus root 凉拌藕片|t1o1r0V|LD|16
fried fish cake 炸藕夹|t3f3M|LD|22
osmanthus sticky rice 桂花糯米藕|t2w3VR|TD|18
oily prawns 油焖大虾|t4s3r3X|N|88`,
  ],
  [
    'shaanxi',
    "Xi'an and Shaanxi food",
    'northern chinese',
    `pork burger 肉夹馍|t3r2M|BLN|14
wide belt noodles biang biang 面|t4s2o1r2MN|LD|22
cold skin noodles 凉皮|t1s2o2r0VN|LTN|12
lamb and bread soup 羊肉泡馍|t4p3r3M|BLD|36
oil splashed noodles 油泼面|t4s2r2VN|LD|18
sour soup dumplings 酸汤水饺|t4o3s1p3M|LD|24
cumin lamb burger 孜然夹馍|t3s1g2M|LN|18
persimmon cake 柿子饼|t3w3f2V|T|10
eight treasure congee 八宝粥|t4w2p3r0V|B|10
pepper soup 胡辣汤|t4s2p3M|B|12
minced pork noodles in sour soup 岐山臊子面|t4s1o3p3MN|BL|20
iced orange soda 冰峰|t0w3r0VD|LTDN|5
rose mirror cake 甑糕|t3w3VR|B|10`,
  ],
  [
    'lanzhou',
    'Lanzhou noodles and northwest food',
    'northern chinese',
    `Lanzhou beef noodles 兰州牛肉面|t4s1p3MN|BLDN|18
dry mixed beef noodles 干拌牛肉面|t3s1r2MN|LD|20
cold bean starch noodles 酿皮|t1s2o2r0VN|LT|12
hand grabbed lamb 手抓羊肉|t3r3M|D|68
big plate chicken 大盘鸡|t4s2r2KN|D|68
yoghurt with oats 甜醅子酸奶|t1w2o1yV|BT|12
lamb offal soup 羊杂汤|t4p3r2M|BN|26
apricot peel water 杏皮水|t0w2o2r0VD|LTD|8
stewed potato noodles 洋芋搅团|t3o1s1V|LD|16
egg and tomato noodles 西红柿鸡蛋面|t4o1p2VN|LD|16
beef shin cold cut 酱牛肉|t1r2M|LD|36
fried lamb rice 羊肉炒饭|t4r3MR|LDN|24`,
  ],
  [
    'xinjiang',
    'Xinjiang food',
    'northern chinese',
    `lamb skewers 羊肉串|t4s1r3g3M|DN|36
lamb pilaf 手抓饭|t4r3MR|LD|32
nang bread 烤馕|t3g1V|BLD|10
Xinjiang fried rice noodles 炒米粉|t4s3r3KN|LN|26
pulled noodles with lamb 拌面|t4s1r2MN|LD|28
baked lamb bun 烤包子|t4r2g2M|BL|16
naan pit roast lamb 馕坑肉|t4r3g3M|D|58
yoghurt with nuts 酸奶疙瘩|t1w1o2y3V|BT|15
lamb soup 清炖羊肉|t4p3r2M|LD|46
honey melon plate 哈密瓜|t1w3r0V|T|18
grape and raisin cake 切糕|t2w3r2V|T|20
tiger salad 老虎菜|t1s2o1r0V|LD|16`,
  ],
  [
    'beijing',
    'Beijing food',
    'northern chinese',
    `Peking duck 北京烤鸭|t3r3g2K|LD|98
soybean paste noodles 炸酱面|t3r2MN|LD|26
lamb hotpot in copper pot 铜锅涮羊肉|t4p3r2M|DN|98
quick fried tripe 爆肚|t3r1M|LDN|38
mung bean juice 豆汁|t3o2p3r0VD|B|8
fried rings 焦圈|t2f3V|B|6
candied haws 冰糖葫芦|t1w3o2V|T|10
pea flour cake 豌豆黄|t1w2r0V|T|14
stewed offal with bread 卤煮|t4p2r3M|LN|28
shredded pork in sweet bean sauce 京酱肉丝|t4w2M|LD|32
sesame flat bread 芝麻烧饼|t3V|B|6
rolling donkey cake 驴打滚|t2w3V|T|14
mustard cabbage 芥末墩|t1s1o2r0V|LD|14`,
  ],
  [
    'dongbei',
    'Dongbei northeastern food',
    'northern chinese',
    `sweet and sour fried pork 锅包肉|t4w3o2f3M|LD|42
pork and pickled cabbage stew 酸菜白肉炖粉条|t4o2p3r3M|D|46
chicken and mushroom stew 小鸡炖蘑菇|t4p2r3K|D|52
iron pot fish 铁锅炖鱼|t4p2r2X|D|78
three fresh vegetables 地三鲜|t4f2r2V|LD|26
cold noodles in sour broth 冷面|t0o2w1p3MN|LT|20
big sauce bones 酱骨架|t4r3M|DN|48
tossed cold dish 东北大拉皮|t1o2s1r0V|LD|22
sugar coated apple 拔丝苹果|t4w3f2V|TD|28
corn and bean congee 大碴粥|t3p3r0V|BD|8
frozen pear 冻梨|t0w2r0V|TN|10
boiled dumplings with cabbage 白菜猪肉水饺|t4r1M|LD|24
smoked meat roll 熏肉大饼|t3r2M|BL|22`,
  ],
  [
    'shandong',
    'Shandong home cooking',
    'northern chinese',
    `braised chicken with rice 黄焖鸡米饭|t4r2p1KR|LD|24
pancake roll with scallion 煎饼卷大葱|t2V|BL|12
sweet and sour carp 糖醋鲤鱼|t4w2o2f2X|LD|58
braised sea cucumber 葱烧海参|t4r1X|D|98
clams with beer 辣炒蛤蜊|t4s2X|DN|38
whelk cold plate 凉拌海螺|t1r0X|LD|48
braised intestine 九转大肠|t4w2o1r3M|D|52
mutton soup 单县羊汤|t4p3r2M|BL|28
fried mackerel dumplings 鲅鱼水饺|t4X|LD|32
jellyfish salad 老醋蜇头|t1o3r0X|LD|36
steamed corn bread 窝头|t3r0V|BL|6
millet congee 小米粥|t4p3r0V|BN|6`,
  ],
  [
    'shanghai',
    'Shanghai food',
    'eastern chinese',
    `soup dumplings 小笼包|t4p1r2M|BLT|26
pan-fried buns 生煎包|t4f2r2M|BLN|18
red braised pork belly 红烧肉|t4w2r3M|LD|48
scallion oil noodles 葱油拌面|t3r2VN|BL|16
drunken chicken 醉鸡|t1r1K|LD|38
crab roe tofu 蟹粉豆腐|t4r1y1X|LD|58
sweet and sour ribs 糖醋小排|t2w3o2M|LD|36
pork and rice cakes 排骨年糕|t3w1f2MR|LT|26
smoked fish 熏鱼|t1w2f1X|LD|34
wonton soup 荠菜馄饨|t4p3r0M|BLN|20
crab rice cakes 毛蟹年糕|t4w1r2X|D|78
sweet fermented rice balls 酒酿圆子|t4w3p3V|TN|16
four happiness bran 四喜烤麸|t1w2V|LD|24`,
  ],
  [
    'jiangnan',
    'Hangzhou and Jiangnan cooking',
    'eastern chinese',
    `West Lake vinegar fish 西湖醋鱼|t4w1o3X|LD|58
Dongpo pork 东坡肉|t4w2r3M|LD|38
Longjing tea prawns 龙井虾仁|t3r0X|LD|68
beggar's chicken 叫花鸡|t4r2K|D|78
lotus root starch drink 藕粉|t3w2p3r0V|BT|14
bamboo shoot and ham soup 腌笃鲜|t4p3r2M|LD|52
fish and pickled cabbage noodles 片儿川|t4p3o1MN|BL|22
salted duck 盐水鸭|t1r1K|LD|42
duck blood vermicelli soup 鸭血粉丝汤|t4p3s1KN|BLN|22
osmanthus cake 桂花糕|t2w2r0V|T|16
steamed lion head meatball 狮子头|t4p2r2M|LD|36
cold tofu with preserved egg 皮蛋豆腐|t1r0V|LD|16
fried eel 响油鳝糊|t4w1r2X|LD|58`,
  ],
  [
    'yunnan',
    'Yunnan food',
    'spicy chinese',
    `crossing bridge noodles 过桥米线|t4p3r1KN|LD|36
small pot rice noodles 小锅米线|t4s2o1p3MN|BL|20
wild mushroom hotpot 野生菌火锅|t4p3r0V|D|98
steam pot chicken 汽锅鸡|t4p3r1K|D|68
cold rice noodles 凉米线|t1s2o2r0VN|LT|16
grilled rushan cheese 烤乳扇|t3w1g2y2V|TN|14
lemongrass grilled fish 香茅草烤鱼|t4s2o1g3X|D|58
pineapple sticky rice 菠萝饭|t3w2VR|LD|28
mint and beef salad 薄荷凉拌牛肉|t1s2o2r0M|LD|34
flower cake 鲜花饼|t2w3V|BT|14
baked rice cake 烧饵块|t3s1g1VR|B|10
sour papaya fish 酸木瓜鱼|t4o3s1p3X|LD|58`,
  ],
  [
    'guizhou',
    'Guizhou food',
    'spicy chinese',
    `fish in sour tomato soup 酸汤鱼|t4o3s2p3X|LD|68
siwawa vegetable wraps 丝娃娃|t1o2s1r0V|LTN|22
intestine noodles 肠旺面|t4s2r2p2MN|BL|18
grilled tofu 烙锅豆腐|t4s2g2V|TN|18
lamb rice noodles 羊肉粉|t4p3r2MN|BL|24
chilli chicken 辣子鸡|t4s3r2K|LD|52
sour soup beef 酸汤牛肉|t4o3s2p3M|LD|62
rice tofu cold 凉拌米豆腐|t1s2o2r0V|LT|12
glutinous rice with sausage 糯米饭|t3r2MR|B|12
rose ice jelly 玫瑰冰粉|t0w3r0p1V|TN|10
spicy mashed potato 洋芋粑|t3s1f2V|TN|8
folded ear root salad 凉拌折耳根|t1s2o1r0V|LD|16`,
  ],
  [
    'taiwan-fujian',
    'Taiwan and Fujian snacks',
    'snacks',
    `braised pork rice 卤肉饭|t3w1r3MR|LD|22
beef noodle soup Taiwan style 台湾牛肉面|t4s1p3r2MN|LD|34
oyster vermicelli 蚵仔面线|t4p3XN|BLN|18
large chicken cutlet 大鸡排|t4s1f3r2K|TN|20
gua bao pork bun 刈包|t3w1r2M|LT|18
satay noodle soup 沙茶面|t4p3r2XN|BLD|22
peanut soup 花生汤|t4w3p3V|BT|10
sesame oil chicken soup 麻油鸡|t4p3r3K|D|46
shaved ice with mango 芒果冰|t0w3yV|TN|26
fish ball with minced meat 福州鱼丸|t4p3r1X|LN|18
oyster fritter 海蛎饼|t3f3X|T|12
aiyu lemon jelly 爱玉冰|t0w2o2r0V|T|14
meat floss sandwich 肉松三明治|t2w1M|BT|14`,
  ],
  [
    'dumplings',
    'dumplings and buns',
    'northern chinese',
    `pork and chive dumplings 韭菜水饺|t4r1M|LDN|22
prawn dumplings in soup 虾仁汤饺|t4p3r0X|LD|28
fried dumplings 锅贴|t4f2r2M|BLN|20
chilli oil dumplings 红油水饺|t3s2M|LDN|22
steamed pork bun 鲜肉包|t3r1M|B|6
vegetable bun 香菇青菜包|t3r0V|B|5
red bean bun 豆沙包|t3w2V|BT|5
lamb and carrot dumplings 羊肉水饺|t4r2M|LD|28
egg and leek pocket 韭菜盒子|t4f2V|BL|10
sour and spicy soup 酸辣汤|t4s2o2p3V|LD|14
soy milk 豆浆|t3w1p3r0VD|B|5
cold tofu skin salad 凉拌腐竹|t1o1r0V|LD|14`,
  ],
  [
    'breakfast',
    'breakfast stall food',
    'snacks',
    `egg pancake 煎饼果子|t3f1V|BN|10
tofu brain with gravy 豆腐脑|t4p3r0V|B|8
hand grabbed pancake 手抓饼|t3f2r2V|BT|10
tea eggs 茶叶蛋|t3r0V|B|4
pumpkin congee 南瓜粥|t4w2p3r0V|B|8
sticky rice roll 粢饭团|t3r2MR|B|10
iced soy milk 冰豆浆|t0w1r0VD|BL|6
beef pancake 牛肉饼|t4f2r2M|BL|12
preserved egg congee 皮蛋粥|t4p3r0MR|BN|10
cold sesame noodles 麻酱凉面|t1r2VN|L|12
ham and egg sandwich 火腿蛋三明治|t2M|BL|15
oat porridge with fruit|t3w1p2r0V|B|16`,
  ],
  [
    'barbecue',
    'late-night barbecue skewers',
    'snacks',
    `grilled beef skewers 烤牛肉串|t4s2r2g3M|DN|32
grilled oysters with garlic 蒜蓉烤生蚝|t4s1r1g3X|N|38
grilled aubergine 烤茄子|t4s1g3V|DN|16
grilled chicken wings 烤鸡翅|t4s1w1g3K|DN|24
grilled fish in chilli 烤鱼|t4s3r2g3X|DN|78
grilled leeks 烤韭菜|t4g2r0V|N|10
cold edamame and peanuts 毛豆花生|t1r0V|DN|16
grilled squid 烤鱿鱼|t4s2g3X|TN|22
pork belly lettuce wrap 烤五花肉|t4r3g3M|DN|34
grilled corn 烤玉米|t4w1g2V|TN|8
icy draught beer 冰镇扎啤|t0r1VD|DN|15
garlic cucumber 拍黄瓜|t1o1r0V|LDN|12`,
  ],
  [
    'milk-tea',
    'milk tea',
    'drinks and desserts',
    `pearl milk tea 珍珠奶茶|t0w3y2VD|LTN|14
hot ginger milk tea 姜汁奶茶|t4w2y2VD|TN|15
fruit tea with passion fruit 百香果茶|t0w2o2r0VD|LT|16
cheese foam grape tea 多肉葡萄|t0w2y3o1VD|LT|26
brown sugar boba milk 黑糖波波|t1w3y3r2VD|TN|18
lemon black tea 柠檬红茶|t0w1o3r0VD|LTD|12
hot taro milk 芋泥奶|t4w3y3r2VD|TN|18
roasted oolong milk tea 烤奶|t3w2y2VD|T|16
mango smoothie 芒果冰沙|t0w3y1r0VD|T|20
plain green tea 绿茶|t3r0VD|LTD|8
red date hot tea 红枣茶|t4w2r0VD|TN|14
coconut jelly tea 椰果茶|t0w2r0VD|T|15`,
  ],
  [
    'coffee',
    'coffee and light bites',
    'drinks and desserts',
    `hot latte|t4y2VD|BLT|24
iced americano|t0r0VD|BLT|18
coconut cold brew|t0w1y1VD|LT|24
caramel frappe|t0w3y3r2VD|T|30
hot chocolate|t4w3y3r2VD|TN|26
espresso|t4r0VD|BT|16
butter croissant|t3r2yV|BT|18
tuna sandwich|t2r1X|BL|26
blueberry muffin|t2w3V|BT|18
ham and cheese toast|t4r2yM|BL|24
lemon iced tea|t0w1o2r0VD|LT|18
banana bread|t2w2V|BT|18`,
  ],
  [
    'ice-cream',
    'ice cream and fruit',
    'drinks and desserts',
    `vanilla ice cream|t0w3y3V|TN|16
matcha soft serve 抹茶冰淇淋|t0w2y3V|T|18
mango sorbet|t0w3o1r0V|T|20
fresh fruit cup 水果捞|t1w2r0V|BT|22
hot waffle with syrup|t4w3r2V|BTN|26
yoghurt bowl with berries|t1w1o2y2r0V|BT|28
watermelon juice 西瓜汁|t0w2r0VD|LTD|16
chocolate lava cake|t4w3y2r3V|TDN|30
fresh orange juice|t1w1o2r0VD|BLT|18
fried ice cream|t2w3f3y2V|TN|22
apple crumble with custard|t4w3y2r2V|TD|28
lime slush|t0w2o3r0VD|TN|14`,
  ],
  [
    'bakery',
    'bakery and cake',
    'drinks and desserts',
    `pineapple bun 菠萝包|t3w2V|BT|8
cheesecake|t1w3y3r3V|T|32
strawberry cream cake|t1w3y3r2V|T|36
sourdough with butter|t3o1V|BL|22
chicken pie|t4r3K|BL|28
sausage roll|t3r3M|BLT|18
cinnamon roll|t3w3r2V|BT|20
wife cake 老婆饼|t2w2V|T|10
curry puff|t3s2f2K|TN|14
almond biscuits|t2w2V|T|16
garlic bread|t4r2V|LDN|16
mille crepe 千层蛋糕|t1w3y3V|T|34`,
  ],
  [
    'vegetarian',
    'Buddhist vegetarian food',
    'light food',
    `Buddha's delight 罗汉斋|t4r0V|LD|32
braised tofu in claypot 红烧豆腐煲|t4r1p1V|LD|28
mushroom soup 菌菇汤|t4p3r0V|LD|24
mock duck 素鸭|t2w1V|LD|30
cold lotus salad 凉拌莲藕|t1o1r0V|LD|20
vegetable noodles 素面|t4p3r0VN|BL|20
fried vegetable tempura 炸素天妇罗|t3f3V|D|30
sesame cold tofu 凉拌豆腐|t1r0V|L|16
spicy vegan pot 素麻辣锅|t4s3p2V|D|38
pumpkin dumplings 南瓜饺|t4w1r0V|BL|22
lily bulb sweet soup 百合甜汤|t1w2p3r0V|T|18
brown rice with greens 糙米饭|t3r0VR|L|24`,
  ],
  [
    'salad',
    'salads and grain bowls',
    'light food',
    `caesar salad with chicken|t1y1r1K|L|38
quinoa salad bowl|t1o1r0V|L|40
smoked salmon poke bowl|t1o1r0XR|LD|52
warm pumpkin bowl|t3w1r0V|LD|36
grilled beef salad|t2g2r1M|LD|46
green smoothie|t0w1o1r0VD|BLT|28
lentil soup|t4p3r0V|LD|28
prawn and avocado salad|t1r1y1X|LD|48
spicy chickpea bowl|t3s2r1V|LD|36
tuna brown rice bowl|t2r0XR|L|40
tomato soup with bread|t4o1p3V|LD|26
overnight oats|t1w1y1r0V|B|22`,
  ],
  [
    'seafood',
    'seafood stall food',
    'eastern chinese',
    `steamed grouper 清蒸石斑|t4r0X|D|98
garlic prawns 蒜蓉虾|t4r1X|D|68
salt and pepper squid 椒盐鱿鱼|t4s1f3X|DN|46
raw oysters on ice 冰生蚝|t0o1r0X|DN|78
lobster with cheese 芝士龙虾|t4r3y3X|D|138
spicy crab 香辣蟹|t4s3r2X|DN|98
clam soup 花蛤汤|t4p3r0X|LD|32
sashimi platter 刺身拼盘|t0r0X|D|108
seafood fried rice 海鲜炒饭|t4r2XR|LD|36
scallops with vermicelli 粉丝扇贝|t4r1XN|DN|42
crab in sour curry 酸咖喱蟹|t4s2o2r2X|D|108
chilled drunken prawns 醉虾|t0r0X|D|68`,
  ],
  [
    'ramen',
    'ramen and donburi',
    'japanese and korean',
    `tonkotsu ramen 豚骨拉面|t4p3r3MN|LDN|42
miso ramen 味噌拉面|t4p3r2MN|LDN|40
spicy tantan ramen|t4s3p3r3MN|LDN|42
cold soba 冷荞麦面|t0r0VN|L|34
beef bowl 牛丼|t4w1r2MR|LD|34
pork cutlet curry rice|t4s1f2r3MR|LD|42
oyakodon chicken and egg rice 亲子丼|t4w1r1KR|LD|36
tempura udon 天妇罗乌冬|t4p3f2XN|LD|40
cold dipping noodles|t1r2p1MN|L|42
yakisoba 日式炒面|t4w1r2MN|LN|32
gyoza 日式煎饺|t4f2M|LDN|24
grilled eel rice 鳗鱼饭|t4w2g2r2XR|LD|78`,
  ],
  [
    'sushi',
    'sushi and izakaya food',
    'japanese and korean',
    `salmon sushi 三文鱼寿司|t1r0XR|LD|48
tuna roll|t1r0XR|LD|40
sashimi set 刺身|t0r0X|D|88
eel roll 鳗鱼卷|t2w2r2XR|LD|52
chawanmushi steamed egg 茶碗蒸|t4p1r0X|LD|24
yakitori chicken skewers 烧鸟|t4w1g3K|DN|36
fried chicken karaage 唐扬鸡块|t4f3r2K|LDN|34
takoyaki octopus balls 章鱼烧|t4f2r2X|TN|24
miso soup 味噌汤|t4p3r0V|LD|12
spicy salmon roll|t1s2r1XR|LD|46
sukiyaki beef hotpot 寿喜锅|t4w2p2r3M|D|98
matcha daifuku 抹茶大福|t1w3y1V|T|20
oden 关东煮|t4p3r0X|DN|28`,
  ],
  [
    'korean',
    'Korean food',
    'japanese and korean',
    `bibimbap 石锅拌饭|t4s1r1MR|LD|36
kimchi stew 泡菜汤|t4s2o2p3M|LD|38
Korean cold noodles 朝鲜冷面|t0o2w1p3MN|L|34
army stew 部队火锅|t4s2p3r3MN|DN|88
grilled pork belly 韩式烤五花|t4r3g3M|DN|78
spicy rice cakes 辣炒年糕|t4s3w2V|TN|26
seaweed rice roll 紫菜包饭|t2r0MR|BL|24
ginseng chicken soup 参鸡汤|t4p3r2K|LD|68
soft tofu stew 豆腐锅|t4s2p3r1X|LD|36
bulgogi 韩式烤牛肉|t4w2g2M|LD|58
shaved ice with red bean 红豆冰|t0w3y2V|T|32
kimchi pancake 泡菜饼|t4s1o1f2V|LDN|30`,
  ],
  [
    'fried-chicken',
    'fried chicken',
    'snacks',
    `original fried chicken 原味炸鸡|t4f3r3K|LDN|38
sweet chilli fried chicken 甜辣炸鸡|t4s2w2f3r3K|LDN|42
honey garlic wings|t4w2f3r2K|DN|38
cheese powder chicken|t4f3y1r3K|DN|42
spicy chicken burger|t4s2f3r2K|LDN|26
popcorn chicken 鸡米花|t4f3r2K|TN|20
french fries 薯条|t4f3r2V|TN|14
grilled chicken wrap|t3g1r1K|L|24
coleslaw|t1o1y1r0V|LD|12
mashed potato with gravy|t4y2r2V|LD|14
corn cup|t3w1r0V|T|10
iced cola|t0w3r0VD|LTDN|8`,
  ],
  [
    'thai',
    'Thai food',
    'southeast asian',
    `tom yum soup 冬阴功|t4s3o3p3X|LD|48
green curry chicken 绿咖喱鸡|t4s2y2r2K|LD|42
pad thai|t4w1o1XN|LD|36
green papaya salad|t1s3o3r0V|LT|28
mango sticky rice 芒果糯米饭|t2w3y1VR|T|28
pineapple fried rice|t4w1XR|LD|36
basil minced pork rice 打抛猪饭|t4s3MR|LD|34
grilled pork neck|t3g3r2M|DN|38
massaman beef curry|t4s1w1y2r3M|LD|48
boat noodles|t4s1p2MN|LN|28
Thai iced milk tea|t0w3y3VD|LT|18
steamed lime fish|t4s2o3r0X|D|68
coconut ice cream|t0w3y2V|T|20`,
  ],
  [
    'vietnamese',
    'Vietnamese food',
    'southeast asian',
    `beef pho 越南河粉|t4p3r1MN|BLD|36
fresh summer rolls|t1r0X|LT|26
lemongrass chicken rice|t3g1KR|LD|34
banh mi pork baguette|t2o1M|BL|24
bun cha grilled pork noodles|t2g3o1MN|LD|36
spicy Hue noodle soup|t4s2p3MN|BL|36
fried spring rolls|t4f3M|LDN|26
cold vermicelli salad|t1o1r0VN|L|30
Vietnamese iced coffee|t0w3y2VD|BT|18
claypot caramel fish|t4w2r2X|D|46
sour fish soup|t4o3w1p3X|LD|42
sweet bean ice|t0w3V|T|16`,
  ],
  [
    'singapore',
    'Singapore and Malay food',
    'southeast asian',
    `Hainanese chicken rice 海南鸡饭|t2r1KR|LD|30
laksa 叻沙|t4s2y2p3r3XN|BLD|34
chilli crab 辣椒螃蟹|t4s2w2r2X|D|128
bak kut teh 肉骨茶|t4p3r2M|BLD|38
char kway teow 炒粿条|t4w1r3XN|LDN|28
satay skewers 沙爹|t4w1g3r2K|DN|32
kaya toast 咖椰吐司|t3w3V|BT|16
nasi lemak 椰浆饭|t3s2y1r2KR|BL|28
cendol 煎蕊|t0w3y2V|T|16
fish head curry 咖喱鱼头|t4s2o1p2r2X|D|78
roti prata with curry|t4s1f1r2V|BN|18
popiah 薄饼|t2w1r0V|LT|18
rojak fruit salad|t1w2o2s1r0V|T|18`,
  ],
  [
    'indian',
    'Indian food',
    'indian and middle eastern',
    `butter chicken|t4s1y3r3K|LD|48
lamb vindaloo|t4s3o1r3M|LD|52
palak paneer|t4y2r2V|LD|42
chicken biryani|t4s2r2KR|LD|46
masala dosa|t4s1f1V|BL|32
tandoori chicken|t4s2g3K|D|52
dal soup|t4s1p3V|LD|30
garlic naan|t4g1V|LD|14
samosa|t4s2f3V|TN|18
mango lassi|t0w3y2VD|LT|20
cucumber raita|t1o1y1r0V|LD|16
gulab jamun|t4w3f2V|TD|18
chana masala|t4s2o1V|LD|36`,
  ],
  [
    'middle-eastern',
    'Turkish and Middle Eastern food',
    'indian and middle eastern',
    `lamb doner kebab|t4r3g3M|LDN|34
chicken shawarma|t3g2r2K|LDN|32
hummus with pita|t1y1V|LD|28
falafel wrap|t3f3V|LN|28
tabbouleh|t1o2r0V|L|26
red lentil soup|t4p3r0V|LD|24
baklava|t2w3r3V|T|24
adana spicy kebab|t4s2g3r2M|D|46
stuffed vine leaves|t1o1r0VR|LD|28
cheese pide|t4y2r2V|BLD|34
ayran yoghurt drink|t0o2y1r0VD|LD|12
turkish eggs with yoghurt|t3s1y2V|B|34`,
  ],
  [
    'italian',
    'pizza and pasta',
    'western',
    `margherita pizza|t4y2r2V|LD|48
pepperoni pizza|t4s1y2r3M|LDN|58
spaghetti bolognese|t4r2MN|LD|46
carbonara|t4y3r3MN|LD|48
seafood linguine|t4s1XN|D|62
caprese salad|t1y1r0V|L|36
minestrone soup|t4p3r0V|LD|32
tiramisu|t1w3y3r2V|TD|36
beef lasagne|t4y2r3M|D|52
gelato|t0w3y3V|T|24
arrabbiata penne|t4s2VN|LD|42
vitello tonnato cold veal|t1y1M|LD|58
mushroom risotto|t4y3r2VR|D|52`,
  ],
  [
    'french',
    'French bistro food',
    'western',
    `onion soup gratin|t4p3y2r2V|D|46
steak frites|t4f2r3M|D|98
duck confit|t4r3f1K|D|98
nicoise salad|t1o1r0X|L|58
croque monsieur|t4y2r3M|BL|42
beef bourguignon|t4p2r3M|D|88
ratatouille|t3r0V|LD|48
creme brulee|t2w3y3V|TD|36
mussels in white wine|t4p2X|D|78
crepe with sugar|t3w3V|BT|28
chilled cucumber soup|t0p3y1r0V|L|36
oysters with lemon|t0o1r0X|D|98
pain au chocolat|t3w2r2V|BT|20`,
  ],
  [
    'british',
    'British pub food',
    'western',
    `fish and chips|t4f3r3X|LDN|62
full English breakfast|t4r3f1M|B|58
shepherd's pie|t4y1r3M|D|56
roast beef with gravy|t4r3M|LD|78
ploughman's cold platter|t1o1y1M|L|52
leek and potato soup|t4p3y1V|LD|36
sticky toffee pudding|t4w3r3V|TD|36
scones with cream|t3w2y2V|T|34
chicken tikka wrap|t3s2K|LN|38
egg and cress sandwich|t1r0V|LT|28
eton mess|t0w3y3V|T|34
steak pie|t4r3M|D|62`,
  ],
  [
    'american',
    'American burgers and grill',
    'western',
    `cheeseburger|t4y1r3M|LDN|42
bacon double burger|t4r3g1M|LDN|56
veggie burger|t3r1V|LD|42
barbecue ribs|t4w2g3r3M|D|88
buffalo wings|t4s3o1f3K|DN|46
cobb salad|t1r1K|L|48
mac and cheese|t4y3r3VN|LDN|38
pancakes with maple syrup|t4w3r2V|B|40
clam chowder|t4p3y3r2X|LD|44
hot dog|t3r2M|LTN|28
milkshake|t0w3y3r2VD|TN|30
lobster roll|t1y1X|L|88
apple pie|t3w3r2V|TD|30`,
  ],
  [
    'mexican',
    'Mexican food',
    'western',
    `beef tacos|t3s2M|LDN|40
fish tacos|t3s1o2f2X|LD|44
chicken burrito|t3s1r2KR|LD|44
guacamole and chips|t1o1f1V|TDN|34
ceviche|t0o3s1r0X|LD|56
chicken mole|t4s1r3K|D|58
cheese quesadilla|t4y3r2V|LDN|36
pozole soup|t4s1p3M|LDN|46
churros with chocolate|t4w3f3V|TN|26
huevos rancheros|t4s2V|B|40
street corn elote|t4s1y1g2V|T|22
horchata|t0w2y1r0VD|T|18
carnitas|t4r3f1M|LD|52`,
  ],
  [
    'australian',
    'Australian brunch',
    'western',
    `smashed avocado toast|t2r1V|BL|48
eggs benedict|t4y2r2M|B|54
grilled barramundi|t4g2r0X|LD|78
meat pie|t4r3M|LT|34
acai bowl|t0w2r0V|BT|44
lamb chops|t4g3r3M|D|88
prawn salad roll|t1r0X|L|48
pavlova|t1w3y2V|T|36
corn fritters|t4f2V|B|46
flat white|t4y2VD|BT|24
ricotta hotcakes|t4w3y1V|B|48
chicken parmigiana|t4f2y2r3K|D|62`,
  ],
];

const CODES: Record<string, { attribute: AttributeName; levels: number }> = {
  t: { attribute: 'hot', levels: 4 },
  s: { attribute: 'spicy', levels: 3 },
  w: { attribute: 'sweet', levels: 3 },
  o: { attribute: 'sour', levels: 3 },
  r: { attribute: 'rich', levels: 3 },
  p: { attribute: 'soupy', levels: 3 },
  f: { attribute: 'fried', levels: 3 },
  g: { attribute: 'grilled', levels: 3 },
  y: { attribute: 'creamy', levels: 3 },
  V: { attribute: 'vegetarian', levels: 1 },
  X: { attribute: 'seafood', levels: 1 },
  M: { attribute: 'meat', levels: 1 },
  K: { attribute: 'poultry', levels: 1 },
  N: { attribute: 'noodles', levels: 1 },
  R: { attribute: 'rice', levels: 1 },
};
const MEAL_CODES = 'BLTDN';

function parseDish(line: string, cuisine: number): Dish {
  const [name, codes, meals, price] = line.split('|');
  if (!name || !codes || !meals || !price) throw new Error(`dish table: cannot read "${line}"`);
  const attributes = new Float64Array(ATTRIBUTES.length);
  attributes[attributeIndex('rich')] = 1 / 3;
  let drink = false;
  for (const [, letter, digit] of codes.matchAll(/([a-zA-Z])(\d?)/g)) {
    if (letter === 'D') drink = true;
    else {
      const code = CODES[letter!];
      if (!code) throw new Error(`dish table: unknown code ${letter} in "${line}"`);
      attributes[attributeIndex(code.attribute)] = (digit === '' ? 1 : Number(digit)) / code.levels;
    }
  }
  for (const meal of meals) attributes[attributeIndex(MEALTIMES[MEAL_CODES.indexOf(meal)]!)] = 1;
  return { name, cuisine, attributes, price: Number(price), drink };
}

export const CUISINES: Cuisine[] = [];
export const DISHES: Dish[] = [];
for (const [id, phrase, group, lines] of TABLE) {
  const dishes = lines.split('\n').map((line) => parseDish(line, CUISINES.length));
  CUISINES.push({ id, phrase, group, first: DISHES.length, count: dishes.length });
  DISHES.push(...dishes);
}

/** Index of the cuisine with this id; throws on a name the table lacks. */
export function cuisineIndex(id: string): number {
  const index = CUISINES.findIndex((cuisine) => cuisine.id === id);
  if (index < 0) throw new Error(`dish table: no cuisine ${id}`);
  return index;
}
