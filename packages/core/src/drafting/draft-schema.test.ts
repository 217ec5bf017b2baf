import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  type DatasetSchemaInput,
  DuckdbSession,
  defineSchema,
  draftSchema,
  explainPreparation,
  literal,
  openDataset,
  prepare,
  readSchema,
  specialTokens,
} from '../index.js';

async function folder(files: Record<string, string>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'larr-draft-'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  return directory;
}

const cities = ['Shenzhen', 'Foshan'];
function shop(): Record<string, string> {
  let events = 'id,user_id,shop,event_time,weather,temperature,lat,lon,city,price_shown,is_click,ordered\n';
  for (let i = 0; i < 2000; i++) {
    const time = new Date(Date.UTC(2026, 0, 1) + i * 600_000).toISOString().slice(0, 19);
    events += `${i},u${(i * 7) % 60},s${(i * 13) % 50},${time},${i % 3 ? 'sun' : 'rain'},${(i % 70) / 2},22.${i % 90},114.${i % 80},${cities[i % 2]},${i % 120},${i % 4 ? 0 : 1},${i % 16 ? 0 : 1}\n`;
  }
  let users = 'user_id,home,gender\n';
  for (let u = 0; u < 60; u++) users += `u${u},${cities[u % 2]},${u % 3 ? 'f' : 'm'}\n`;
  let pois = 'id,name,cuisine,menu,latitude,longitude\n';
  for (let s = 0; s < 50; s++)
    pois += `s${s},Kitchen ${s},${['Cantonese', 'Sichuan'][s % 2]},"noodles number ${s}, and a long list of other dishes that this place cooks",22.5,114.${s}\n`;
  return { 'events.csv': events, 'users.csv': users, 'pois.csv': pois };
}

test('a schema drafted from tables finds keys, time, labels, features and words, and prepare accepts it', async () => {
  const directory = await folder(shop());
  const draft = await draftSchema({
    events: 'events.csv',
    users: 'users.csv',
    pois: 'pois.csv',
    baseDirectory: directory,
  });
  const file = join(directory, 'schema.json');
  await writeFile(file, draft.text);
  const schema = await readSchema(file);
  expect(schema).toMatchObject({
    keys: { user: 'user_id', poi: 'shop' },
    time: 'event_time',
    labels: { click: 'is_click', order: 'ordered' },
    tables: { pois: { path: 'pois.csv', key: 'id' } },
  });
  expect(draft.text).toMatch(/\/\/ .*\n\s*"labels"/);
  expect(schema.features.categorical.map((f) => f.name)).toEqual(
    expect.arrayContaining(['user', 'poi', 'hour', 'weather', 'city', 'home', 'gender', 'cuisine']),
  );
  expect(schema.features.dense.map((f) => f.name)).toEqual(
    expect.arrayContaining(['distance', 'temperature', 'price_shown']),
  );
  const used = JSON.stringify(schema.features);
  for (const outcome of ['is_click', 'ordered', 'events.id']) expect(used).not.toContain(outcome);
  expect(schema.keywords.scene.map((k) => k.name)).toEqual(
    expect.arrayContaining(['slot', 'weather', 'temperature', 'travel', 'distance']),
  );
  expect(schema.keywords.poi.map((k) => k.name)).toEqual(['name', 'cuisine', 'menu']);
  const output = join(directory, 'out');
  await prepare(output, { schema, baseDirectory: directory });
  const dataset = await openDataset(output);
  expect((await dataset.poiTexts())[0]!.map((k) => k.text).slice(0, 2)).toEqual(['Kitchen 0', 'Cantonese']);
});

test('ratings become a threshold, epochs their unit, and a log without labels draws negatives', async () => {
  let ratings = 'user,item,rating,ts\n';
  for (let i = 0; i < 500; i++)
    ratings += `${i % 20},${(i * 3) % 30},${1 + (i % 5)},${1_700_000_000_000 + i * 7_200_000}\n`;
  let visits = 'customer_id,venue,mood\n';
  for (let i = 0; i < 500; i++) visits += `${i % 20},v${(i * 3) % 31},${i % 2 ? 'calm' : 'busy'}\n`;
  const directory = await folder({ 'ratings.csv': ratings, 'visits.csv': visits });
  const rated = await draftSchema({ events: 'ratings.csv', baseDirectory: directory });
  expect(rated.schema).toMatchObject({
    labels: { click: { column: 'rating', atLeast: 4 } },
    time: { column: 'ts', unit: 'ms' },
  });
  expect(JSON.stringify(rated.schema.features)).not.toContain('rating');
  const visited = await draftSchema({ events: 'visits.csv', baseDirectory: directory });
  expect(visited.schema).toMatchObject({ labels: {}, negatives: { method: 'unused' }, splits: { random: {} } });
  expect(visited.remarks.join('\n')).toContain('No label was found');
});

test('tables without a key are an error that names the columns and the option', async () => {
  const directory = await folder({ 'events.csv': 'who,what,click\na,b,1\nc,d,0\n' });
  await expect(draftSchema({ events: 'events.csv', baseDirectory: directory })).rejects.toMatchObject({
    code: 'KEY_NOT_FOUND',
    message: expect.stringMatching(/--user.*who, what, click/),
  });
  const named = (keys: { user: string; poi: string }) =>
    draftSchema({ events: 'events.csv', baseDirectory: directory, keys });
  await expect(named({ user: 'who', poi: 'whta' })).rejects.toMatchObject({
    code: 'KEY_NOT_FOUND',
    message: expect.stringContaining('Did you mean "what"?'),
  });
  await expect(named({ user: 'who', poi: 'who' })).rejects.toMatchObject({
    code: 'KEY_TWICE',
    message: expect.stringMatching(/"who" .*--user and --poi; there are who, what, click/),
  });
  const keys = { user: 'who', poi: 'what' };
  const { schema } = await draftSchema({ events: 'events.csv', baseDirectory: directory, keys });
  expect(schema.keys).toEqual(keys);
});

test('keys are found by their values where names say nothing, words for nothing are missing, and numbers stay numbers', async () => {
  let shown = 'at,who,what,weather,price,hour_of_day,bought\n';
  for (let i = 0; i < 1500; i++)
    shown += `2026-05-${String(1 + Math.floor(i / 300)).padStart(2, '0')} ${10 + (i % 9)}:00,${1 + ((i * 7) % 80)},F${(i * 11) % 60},${i % 3 ? '晴' : 'n/a'},${i % 5 ? 8 + (i % 70) : 'NA'},${i % 24},${(i * 31) % 10 < 3 ? 1 : 0}\n`;
  let people = 'number;nick;lives_in\n';
  for (let u = 1; u <= 80; u++) people += `${u};"小明; ""${u}""";${cities[u % 2]}\n`;
  let films = 'code,title,plot,town\n';
  for (let f = 0; f < 60; f++) films += `F${f},Film ${f},"一部电影, 第${f}部",${f % 4 ? cities[f % 2] : ''}\n`;
  const directory = await folder({ 'shown.csv': shown, 'people.csv': people, 'films.csv': films });
  const draft = await draftSchema({
    events: 'shown.csv',
    users: 'people.csv',
    pois: 'films.csv',
    baseDirectory: directory,
  });
  await writeFile(join(directory, 'schema.json'), draft.text);
  const schema = await readSchema(join(directory, 'schema.json'));
  expect(schema).toMatchObject({
    keys: { user: 'who', poi: 'what' },
    tables: {
      users: { path: 'people.csv', delimiter: ';', key: 'number' },
      pois: { path: 'films.csv', key: 'code' },
    },
    labels: { order: 'bought' },
    place: { poi: 'town', user: 'lives_in' },
    missing: ['NA', 'n/a'],
  });
  expect(schema.features.dense.map((f) => f.name)).toContain('price');
  // A plot is one POI's own: as an ID it would only say again which POI it is.
  expect(schema.features.categorical.map((f) => f.name)).not.toContain('plot');
  expect(schema.keywords.poi.map((k) => k.name)).toContain('plot');
  const output = join(directory, 'out');
  await prepare(output, { schema, baseDirectory: directory });
  const dataset = await openDataset(output);
  expect(dataset.manifest.users).toBe(80);
  expect((await dataset.poiTexts())[3]!.map((k) => k.text)).toContain('一部电影, 第3部');
});

test('a file that cannot be drafted from is named by a path that can be found', async () => {
  const directory = await folder({ 'a.csv': 'colour,size\nred,3\nblue,4\n', 'empty.csv': 'user,poi\n' });
  const draft = (events: string) => draftSchema({ events, baseDirectory: directory });
  await expect(draft('a.csv')).rejects.toMatchObject({
    code: 'KEY_NOT_FOUND',
    message: expect.stringContaining(join(directory, 'a.csv')),
  });
  await expect(draft('empty.csv')).rejects.toMatchObject({ code: 'TABLE_EMPTY' });
});

test('column names in any script, and those that the schema uses itself, make a schema that prepare accepts', async () => {
  let rides = '用户\t站点\t时间\tweekday\t天气\t温度\t骑了\tfog\n';
  for (let i = 0; i < 2400; i++)
    rides += `${(i * 7) % 90}\t站${(i * 11) % 40}\t${1767225600000 + i * 240000}\t${i % 7}\t${['晴', '雨', ''][i % 3]}\t${(i % 80) / 2}\t${(i * 31) % 10 < 3 ? 1 : 0}\t${i % 11 ? 0 : 1}\n`;
  const directory = await folder({ 'rides.tsv': rides });
  const draft = (label?: string) =>
    draftSchema({
      events: 'rides.tsv',
      baseDirectory: directory,
      keys: { user: '用户', poi: '站点' },
      ...(label === undefined ? {} : { label }),
    });
  const guessed = await draft();
  // Either of the two could be the outcome: neither is a feature.
  expect(guessed.schema.labels).toEqual({});
  expect(guessed.schema.negatives).toMatchObject({ method: 'unused' });
  expect(JSON.stringify([guessed.schema.features, guessed.schema.keywords])).not.toMatch(/骑了|fog/);
  expect(guessed.remarks.join(' ')).toMatch(/events\.骑了 holds 0 and 1.*events\.fog/);

  const told = await draft('骑了');
  expect(told.schema).toMatchObject({ labels: { click: '骑了' }, time: { column: '时间', unit: 'ms' } });
  expect(told.schema.negatives).toBeUndefined();
  expect(JSON.stringify(told.schema.features)).toContain('events.fog');
  await writeFile(join(directory, 'schema.json'), told.text);
  const schema = await readSchema(join(directory, 'schema.json'));
  expect(schema.keywords.scene.map((k) => k.name)).toEqual(['slot', 'weekday', '天气']);
  expect(schema.features.categorical.map((f) => f.name)).toEqual([
    ...['user', 'poi', 'hour', 'weekday', 'event_weekday', '天气', 'fog'],
  ]);
  await prepare(join(directory, 'out'), { schema, baseDirectory: directory });
  expect((await openDataset(join(directory, 'out'))).split.scene.find((f) => f.field === '天气')!.texts).toEqual([
    '',
    '晴',
    '雨',
  ]);
  await expect(draft('天气')).rejects.toMatchObject({ code: 'LABEL_NOT_FOUND' });
});

test('a number or text of its own in every row is left out of a draft and said, and a check warns of it as a feature', async () => {
  let events = 'user_id,shop,n,ticket,weather,lux,is_click\n';
  for (let i = 0; i < 900; i++)
    events += `u${(i * 7) % 60},s${(i * 13) % 50},${i + 1000},t-${i},${i % 3 ? 'sun' : 'rain'},${i * 1.5},${i % 4 ? 0 : 1}\n`;
  const directory = await folder({ 'events.csv': events });
  const { schema, remarks } = await draftSchema({ events: 'events.csv', baseDirectory: directory });
  const used = JSON.stringify([schema.features, schema.keywords]);
  for (const column of ['n', 'ticket']) {
    expect(used).not.toContain(`"events.${column}"`);
    expect(remarks.join('\n')).toContain(`events.${column} is another one in every row`);
  }
  expect(used).toContain('"events.lux"');
  const warningsOf = async (features: DatasetSchemaInput['features']) =>
    (await explainPreparation({ schema: defineSchema({ ...schema, features }), baseDirectory: directory })).warnings
      .filter((w) => w.includes('another one in each of the 900 rows'))
      .map((w) => /"(.+?)"/.exec(w)![1]);
  const { categorical = [], dense = [] } = schema.features!;
  expect(await warningsOf(schema.features)).toEqual([]);
  expect(
    await warningsOf({
      categorical: [...categorical, { name: 'ticket', value: 'events.ticket' }],
      dense: [...dense, { name: 'n', value: 'events.n', transform: 'log1p' }],
    }),
  ).toEqual(['ticket', 'n']);
});

/** The same numbers in 0 … 1 each time, without the patterns that a remainder has. */
function draws(seed = 1): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 8) / 0x800000;
  };
}
const of = <T>(items: readonly T[], share: number): T => items[Math.floor(share * items.length)]!;

/** Drafts from files, whose draft has to pass `--check`. */
async function drafted(files: Record<string, string>, more: Partial<Parameters<typeof draftSchema>[0]> = {}) {
  const directory = await folder(files);
  const [events] = Object.keys(files);
  const draft = await draftSchema({ events: events!, baseDirectory: directory, ...more });
  await writeFile(join(directory, 'schema.json'), draft.text);
  const schema = await readSchema(join(directory, 'schema.json'));
  const report = await explainPreparation({ schema, baseDirectory: directory });
  return { directory, schema, report, said: draft.remarks.join('\n') };
}

test('a column keeps its name in any script, the same as a feature, a keyword, a special token and a file', async () => {
  const draw = draws();
  let events = 'user_id,item,Погода,déjà vu,%%,is_click\n';
  for (let i = 0; i < 600; i++)
    events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},${of(['ясно', 'дождь'], draw())},${of(['oui', 'non'], draw())},${of(['a', 'b'], draw())},${draw() < 0.3 ? 1 : 0}\n`;
  let pois = 'item,店名,类别,说明\n';
  for (let p = 0; p < 20; p++)
    pois += `p${p},番茄${p}号店,${p % 2 ? '蔬菜' : '水果'},这家店在${p}号街上，有很多人喜欢的各种东西，每天从早到晚都开着门，欢迎大家常常来看看，谢谢。\n`;
  const { directory, schema, said } = await drafted({ 'events.csv': events, 'pois.csv': pois }, { pois: 'pois.csv' });
  expect(schema.features.categorical.map((f) => f.name)).toEqual([
    ...['user', 'poi', 'Погода', 'déjà_vu', 'column_5', '类别'],
  ]);
  expect(schema.keywords.scene.map((k) => k.name)).toEqual(['Погода', 'déjà_vu', 'column_5']);
  expect(schema.keywords.poi.map((k) => k.name)).toEqual(['店名', '类别', '说明']);
  expect(schema.texts).toMatchObject({ cptInput: ['店名'], poiBusiness: ['店名'], poiBasic: ['类别', '说明'] });
  expect(said).toMatch(/pois\.店名 is taken for the POI's name/);
  expect(said).toMatch(/"column_5" is events\.%%/);
  const output = join(directory, 'out');
  const manifest = await prepare(output, { schema, baseDirectory: directory });
  expect(specialTokens(manifest)).toEqual(expect.arrayContaining(['<poi_店名>', '</poi_店名>', '<scene_Погода>']));
  const dataset = await openDataset(output);
  expect((await dataset.vocabulary('Погода')).slice(1).sort()).toEqual(['дождь', 'ясно']);
  const train = await dataset.loadPart('train');
  expect(train.categorical.length).toBe(6 * train.rows);
  expect((await dataset.poiTexts())[3]![0]).toEqual({ keyword: '店名', token: 'poi_店名', text: '番茄3号店' });
});

test.each([
  ['shop_id', 'shop_name', 'shop_id'],
  ['restaurant', 'restaurantName', 'restaurant'],
  ['item', 'Bezeichnung', 'item'],
])('the name of a POI with the key %s is %s, not that of its brand', async (key, title, own) => {
  const draw = draws(2);
  let events = `user,${key},weather,click\n`;
  for (let i = 0; i < 500; i++)
    events += `u${Math.floor(draw() * 25)},k${Math.floor(draw() * 40)},${of(['sun', 'rain'], draw())},${draw() < 0.3 ? 1 : 0}\n`;
  let pois = `${own},brand_name,image,${title},menu\n`;
  for (let p = 0; p < 40; p++)
    pois += `k${p},${of(['Acme', 'Best', 'Cosy'], draw())},https://host/${p}.png,Kitchen ${p},"noodles number ${p}, and a long list of other dishes that this place cooks"\n`;
  const { schema, said } = await drafted({ 'events.csv': events, 'pois.csv': pois }, { pois: 'pois.csv' });
  expect(schema.texts.cptInput).toEqual([title]);
  expect(schema.keywords.poi.map((k) => k.name)).toEqual([title, 'brand_name', 'menu']);
  expect(schema.features.categorical.map((f) => f.name)).not.toContain(title);
  expect(said).toMatch(/pois\.image holds addresses of the web/);
});

test('a time in several ways of writing is no ID feature: the draft says which, what is unread, and a query that reads it', async () => {
  const draw = draws(3);
  let events = 'user,poi,time,weather,click\n';
  for (let i = 0; i < 900; i++) {
    const day = 1 + Math.floor(i / 45);
    const two = String(day).padStart(2, '0');
    const time = i % 3 === 0 ? `${two}.01.2026 12:30` : i === 400 ? 'soon' : `2026-01-${two}T12:30:00`;
    events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},${time},${of(['sun', 'rain'], draw())},${draw() < 0.3 ? 1 : 0}\n`;
  }
  const { directory, schema, said } = await drafted({ 'events.csv': events });
  expect(schema.time).toBeUndefined();
  expect(JSON.stringify([schema.features, schema.keywords])).not.toContain('events.time');
  expect(said).toMatch(
    /events\.time looks like times in 3 formats: .*"2026-01-01T12:30:00" in 599 rows.*"01\.01\.2026 12:30" in 300 rows.*1 rows of others/,
  );
  expect(said).toMatch(/301 values cannot be read .*the first in row 1: "01\.01\.2026 12:30"/);
  const query = JSON.parse(/\{"query": "(?:[^"\\]|\\.)*"\}/.exec(said)![0]) as { query: string };
  expect(said).toContain('which leaves the others out');
  // Numbers, and clocks whose offset is not applied, are read by the query as they are without it.
  await writeFile(
    join(directory, 'events.csv'),
    events
      .replace('2026-01-01T12:30:00', String(Date.UTC(2026, 0, 1, 12, 30)))
      .replaceAll(/T12:30:00/g, 'T12:30:00+13:00'),
  );
  const zoned = await draftSchema({ events: 'events.csv', baseDirectory: directory });
  const said2 = /\{"query": "(?:[^"\\]|\\.)*"\}/.exec(zoned.remarks.join('\n'))![0];
  using db = await DuckdbSession.open();
  const sql = (JSON.parse(said2) as { query: string }).query.replace(
    "'events.csv'",
    literal(join(directory, 'events.csv')),
  );
  expect(
    await db.rows(`SELECT strftime(time, '%H:%M') AS clock, count(*)::INTEGER AS n FROM (${sql}) GROUP BY 1`),
  ).toEqual([{ clock: '12:30', n: 899 }]);
  const mended = events.replace('soon', '2026-01-09T12:30:00');
  await writeFile(join(directory, 'events.csv'), mended);
  const report = await explainPreparation({
    schema: defineSchema({ ...schema, tables: { events: query }, time: 'time', splits: {}, defaultSplit: undefined }),
    baseDirectory: directory,
  });
  expect(report.splits[0]).toMatchObject({ kind: 'time', parts: { test: { rows: 45 } } });

  const odd = await drafted({
    'events.csv': events.replace('soon', '2026-01-09T12:30:00').replace(/2026-01-(\d\d)T12:30:00/g, '$1.01.2026 12:30'),
  });
  expect(odd.said).toMatch(/looks like times in 1 format/);
  expect(odd.said).not.toMatch(/day or the month comes first/);
  const american = await drafted({
    'events.csv': events.replace(/2026-01-\d\dT12:30:00|soon|\d\d\.01\.2026 12:30/g, '03/04/26 1:30 PM'),
  });
  expect(american.said).toMatch(/Whether the day or the month comes first the values do not say/);
});

test('what is known only after the event is left out by its values and by its name, each said', async () => {
  const draw = draws(4);
  let events = 'user,poi,time,weather,clicked_flag,coupon_used,position,dwell_ms,seen_s,click,order_id\n';
  for (let i = 0; i < 1200; i++) {
    const click = draw() < 0.3 ? 1 : 0;
    events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},2026-01-${String(1 + Math.floor(i / 100)).padStart(2, '0')} 12:00,${of(['sun', 'rain'], draw())},${click ? 'yes' : 'no'},${click && draw() < 0.4 ? 'c7' : ''},${1 + Math.floor(draw() * 10)},${Math.floor(draw() * 900)},${click ? 5 + draw() * 90 : draw() * 4},${click},${click && draw() < 0.5 ? `o${i}` : ''}\n`;
  }
  const { schema, said } = await drafted({ 'events.csv': events });
  expect(schema.labels).toEqual({ click: 'click' });
  const used = JSON.stringify([schema.features, schema.keywords]);
  for (const column of ['clicked_flag', 'coupon_used', 'position', 'dwell_ms', 'seen_s', 'order_id']) {
    expect(used).not.toContain(`events.${column}"`);
    expect(said).toContain(`events.${column} `);
  }
  expect(used).toContain('events.weather');
  expect(said).toMatch(
    /events\.seen_s one threshold splits exactly|events\.seen_s, which one threshold|events\.seen_s/,
  );
});

describe('columns that are named for an outcome', () => {
  const log = (names: string[], label?: string) => {
    const draw = draws(7);
    let events = `user,poi,time,weather,${names.join(',')}\n`;
    for (let i = 0; i < 900; i++) {
      const liked = draw() < 0.3;
      const values = names.map((name) =>
        /count|num|past/.test(name) ? Math.floor(draw() * (liked ? 6 : 3)) : draw() < (liked ? 0.6 : 0.15) ? 1 : 0,
      );
      events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},2026-01-${String(1 + Math.floor(i / 75)).padStart(2, '0')} 12:00,${of(['sun', 'rain'], draw())},${values.join(',')}\n`;
    }
    return drafted({ 'events.csv': events }, label === undefined ? {} : { label });
  };
  const featured = ({ schema }: Awaited<ReturnType<typeof drafted>>, names: string[]) =>
    names.filter((name) => JSON.stringify([schema.features, schema.keywords]).includes(`events.${name}"`));

  test.each([
    [['is_click', 'purchased', 'liked', 'add_cart', 'userShared', 'order_count', 'num_clicks', '收藏'], undefined],
    [['clk', 'buy', 'paid', 'target', 'purchase_count', 'chosen_one'], 'chosen_one'],
  ])('are never features beside a label, and each is named: %j, label %s', async (names, label) => {
    const draft = await log(names, label);
    expect(featured(draft, names)).toEqual([]);
    for (const name of names.filter((name) => name !== label)) expect(draft.said).toContain(`events.${name} `);
  });

  test.each([
    ['purchased', { order: 'purchased' }],
    ['was_bought', { order: 'was_bought' }],
    ['clicked_flag', { click: 'clicked_flag' }],
    ['outcome', { click: 'outcome' }],
    ['是否购买', { order: '是否购买' }],
  ])('become the label where they stand alone, which is said: %s', async (name, labels) => {
    const { schema, said } = await log([name]);
    expect(schema.labels).toEqual(labels);
    expect(schema.negatives).toBeUndefined();
    expect(said).toContain(`events.${name} is taken for the ${Object.keys(labels)[0]}, by its name`);
  });

  test('stay features where they are of the time before, which is said, or only share a word with one', async () => {
    const names = ['click', 'past_orders', 'target_group', 'sort_order_type', 'border'];
    const draft = await log(names);
    expect(featured(draft, names)).toEqual(names.slice(1).filter((name) => name !== 'sort_order_type'));
    expect(draft.said).toContain('events.past_orders is used');
    expect(draft.said).toContain('events.sort_order_type looks like an outcome and is left out');
  });
});

test('all columns that give the label away are named at once', async () => {
  const draw = draws(5);
  let events = 'user,poi,a,b,click\n';
  for (let i = 0; i < 400; i++) {
    const click = draw() < 0.3 ? 1 : 0;
    events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},${click ? 'x' : 'y'},${click},${click}\n`;
  }
  const directory = await folder({ 'events.csv': events });
  const schema = defineSchema({
    name: 'x',
    tables: { events: 'events.csv' },
    labels: { click: 'click' },
    features: {
      categorical: [
        { name: 'a', value: 'events.a' },
        { name: 'b', value: 'events.b' },
      ],
    },
  });
  await expect(explainPreparation({ schema, baseDirectory: directory })).rejects.toMatchObject({
    code: 'LABEL_LEAK',
    message: expect.stringMatching(/column "a".*The same holds of "b" \(the feature "b"\)/),
  });
});

test('tables that prepare refuses are drafted with what it says; few days make a random split', async () => {
  const draw = draws(6);
  let events = 'user,poi,time,weather,click\n';
  for (let i = 0; i < 600; i++)
    events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},2026-01-01 1${i % 10}:00,${of(['sun', 'rain'], draw())},${draw() < 0.3 ? 1 : 0}\n`;
  const { schema, said } = await drafted({ 'events.csv': events });
  expect(schema.splits).toMatchObject({ random: { kind: 'random' } });
  expect(schema.time).toBe('time');
  expect(said).toMatch(/The split is random, though there is a time.*span too few days/);

  let pois = 'poi,name\n';
  for (let p = 0; p < 20; p++) pois += `p${p},Kitchen ${p}\n`;
  const directory = await folder({ 'events.csv': events, 'pois.csv': `${pois}p3,Kitchen 3b\n` });
  const twice = await draftSchema({ events: 'events.csv', pois: 'pois.csv', baseDirectory: directory });
  expect(twice.remarks[0]).toMatch(
    /"prepare" refuses these tables as they are \(DUPLICATE_KEY\).*"p3" stands in rows 4 and 21/,
  );
  await writeFile(join(directory, 'schema.json'), twice.text);
  expect((await readSchema(join(directory, 'schema.json'))).keywords.poi).toHaveLength(1);
});

test('one table with everything in it is drafted with a table of POIs that is read from it', async () => {
  const draw = draws(7);
  const shops = Array.from({ length: 40 }, (_, i) => ({
    name: `Kitchen "${i}"`,
    cuisine: of(['Thai', '川菜', 'Pizza'], draw()),
  }));
  let events = 'user;shop_id;shop_name;cuisine;time;weather;click\n';
  for (let i = 0; i < 1500; i++) {
    const shop = Math.floor(draw() * 40);
    events += `u${Math.floor(draw() * 50)};s${shop};"${shops[shop]!.name.replaceAll('"', '""')}";${shops[shop]!.cuisine};2026-01-${String(1 + Math.floor(i / 100)).padStart(2, '0')} 12:00;${of(['sun', 'rain'], draw())};${draw() < 0.3 ? 1 : 0}\n`;
  }
  const { directory, schema, said } = await drafted({ 'events.csv': events });
  expect(schema.keywords.poi.map((k) => k.name)).toEqual(['shop_name', 'cuisine']);
  expect(JSON.stringify(schema.features)).not.toMatch(/events\.(shop_name|cuisine)/);
  expect(JSON.stringify(schema.features)).toMatch(/events\.weather/);
  expect(said).toMatch(/events\.shop_name, events\.cuisine are the same in every event of a POI/);
  const output = join(directory, 'out');
  const manifest = await prepare(output, { schema, baseDirectory: directory });
  expect(manifest.pois).toBe(40);
  expect((await (await openDataset(output)).poiTexts())[0]![0]!.text).toMatch(/^Kitchen "\d+"$/);
  expect((await prepare(join(directory, 'again'), { schema, baseDirectory: directory })).contentDigest).toBe(
    manifest.contentDigest,
  );
});

describe('a log in another language', () => {
  const draw = draws(21);
  let events = 'Nutzer ID;anzeige#;gesehen am;wetter;pos.;geklickt?;beworben;verweildauer_sek;Ergebnis\n';
  for (let i = 0; i < 900; i++) {
    const clicked = draw() < 0.3;
    const applied = clicked && draw() < 0.4;
    events += `u${Math.floor(draw() * 30)};p${Math.floor(draw() * 20)};2026-01-${String(1 + Math.floor(i / 60)).padStart(2, '0')} 12:00;${of(['Regen', 'Sonne'], draw())};${1 + Math.floor(draw() * 20)};${clicked ? 'Ja' : 'nein'};${applied ? 'j' : 'n'};${Math.floor(draw() * (clicked ? 90 : 9))};${applied ? of(['eingeladen', 'abgelehnt'], draw()) : ''}\n`;
  }
  const files = { 'events.csv': events };

  test('has its labels found by words for yes and no, and no outcome of it is a feature', async () => {
    const { directory, schema, said, report } = await drafted(files, { keys: { user: 'Nutzer ID', poi: 'anzeige#' } });
    expect(schema.labels).toEqual({
      click: { column: 'geklickt?', positive: 'Ja' },
      order: { column: 'beworben', positive: 'j' },
    });
    expect(schema.negatives).toBeUndefined();
    const read = JSON.stringify([schema.features, schema.keywords]);
    expect(read).toContain('events.wetter');
    for (const column of ['pos.', 'geklickt?', 'verweildauer_sek', 'Ergebnis']) {
      expect(read).not.toContain(`events.${column}`);
      expect(said).toContain(`events.${column}`);
    }
    using db = await DuckdbSession.open();
    const { clicks } = await db.row<{ clicks: bigint }>(
      `SELECT count(*) FILTER ("geklickt?" = 'Ja') AS clicks FROM read_csv(${literal(join(directory, 'events.csv'))}, delim = ';')`,
    );
    const parts = Object.values(report.splits[0]!.parts);
    expect(parts.reduce((sum, part) => sum + part.clicks, 0)).toBe(Number(clicks));
  });

  test('may have a label named, and a name that is none is answered with what to write, and with no column that is no label', async () => {
    const directory = await folder(files);
    const keys = { user: 'Nutzer ID', poi: 'anzeige#' };
    const draft = (names: { click: string; order?: string }) =>
      draftSchema({ events: 'events.csv', baseDirectory: directory, keys, ...names });
    expect((await draft({ click: 'geklickt?', order: 'beworben' })).schema.labels).toEqual({
      click: { column: 'geklickt?', positive: 'Ja' },
      order: { column: 'beworben', positive: 'j' },
    });
    const misspelt = await draft({ click: 'clickd' }).catch((error) => error);
    expect(misspelt).toMatchObject({ code: 'LABEL_NOT_FOUND', message: expect.stringContaining('geklickt?') });
    expect(misspelt.message).not.toMatch(/verweildauer|pos\./);
    await expect(draft({ click: 'Ergebnis' })).rejects.toMatchObject({
      code: 'LABEL_NOT_FOUND',
      message: expect.stringMatching(/"Ergebnis" is missing in \d+ of 900 rows.*"query": "SELECT \* REPLACE/),
    });
  });

  test('without a label that is called so has its columns of two values asked about', async () => {
    const unnamed = events
      .replace('geklickt?', 'a')
      .replace('beworben', 'b')
      .replaceAll(/;j;/g, ';rot;')
      .replaceAll(/;n;/g, ';blau;');
    const { said, schema } = await drafted({ 'events.csv': unnamed }, { keys: { user: 'Nutzer ID', poi: 'anzeige#' } });
    expect(schema.labels).toEqual({});
    expect(said).toMatch(/events\.a holds "nein" and "Ja": is it the label\?/);
    expect(said).toMatch(/events\.b says "blau" or "rot" in every row .* name it with --label b/);
    expect(JSON.stringify(schema.features)).not.toContain('events.a"');
  });
});

test('a log with a row for each kind of event is told apart from one of impressions', async () => {
  const draw = draws(8);
  let events = 'user,poi,time,event_type,weather\n';
  for (let i = 0; i < 900; i++)
    events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},2026-01-${String(1 + Math.floor(i / 60)).padStart(2, '0')} 12:00,${of(['view', 'view', 'view', 'click', 'purchase'], draw())},${of(['sun', 'rain'], draw())}\n`;
  const { schema, said } = await drafted({ 'events.csv': events });
  expect(JSON.stringify([schema.features, schema.keywords])).not.toContain('event_type');
  expect(said).toMatch(
    /events\.event_type says what happened \(view, .*a row for each.*IN \('(click', 'purchase|purchase', 'click)'\)/,
  );
});

test('a label of counts gets a threshold, one of yes and no is one, and one with gaps or other words is said, never a feature', async () => {
  const log = (label: (i: number, draw: number) => string) => {
    const draw = draws(9);
    let events = 'user,poi,weather,click\n';
    for (let i = 0; i < 400; i++)
      events += `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},${of(['sun', 'rain'], draw())},${label(i, draw())}\n`;
    return { 'events.csv': events };
  };
  const yes = await drafted(log((_, x) => (x < 0.3 ? 'Yes' : 'no')));
  expect(yes.schema.labels).toEqual({ click: 'click' });
  expect(yes.report.splits[0]!.parts.train.clicks).toBeGreaterThan(0);
  const counted = await drafted(log((_, x) => String(Math.floor(3 * x * x))));
  expect(counted.schema.labels).toEqual({ click: { column: 'click', atLeast: 1 } });
  expect(counted.said).toMatch(/events\.click reaches 2, so it is a label from 1 on/);
  const gaps = await drafted(log((i, x) => (i % 9 === 0 ? '' : x < 0.3 ? '1' : '0')));
  expect(gaps.said).toMatch(/events\.click is called as a label but is missing in 45 of 400 rows/);
  const two = await drafted(log((_, x) => (x < 0.3 ? 'hit' : 'miss')));
  expect(two.schema.labels).toEqual({ click: { column: 'click', positive: 'hit' } });
  expect(two.said).toMatch(
    /events\.click is 1 where it says "hit" and 0 where it says "miss", .*less often.*turn "positive" round/,
  );
  const words = await drafted(log((_, x) => (x < 0.3 ? 'hit' : x < 0.5 ? 'near' : 'miss')));
  expect(words.said).toMatch(
    /events\.click is called as a label but holds "miss", "hit", "near", not 0 and 1.*"positive": "miss"/,
  );
  const ones = await drafted(log(() => '1'));
  expect(ones.said).toMatch(/events\.click is 1 in every row, so every event counts as a positive/);
  for (const { schema } of [gaps, words, ones]) {
    expect(schema.negatives).toMatchObject({ method: 'unused' });
    expect(JSON.stringify([schema.features, schema.keywords])).not.toContain('events.click');
  }
});

test('decimal commas, sessions, and types without a text are left out and said; numbers beyond all time are numbers', async () => {
  const draw = draws(10);
  let events = 'session_id;user;poi;time;price;fee;weather;click\n';
  for (let i = 0; i < 900; i++)
    events += `s${Math.floor(i / 4)};u${Math.floor(draw() * 30)};p${Math.floor(draw() * 20)};2026-01-${String(1 + Math.floor(i / 60)).padStart(2, '0')} 12:00;1.${100 + Math.floor(draw() * 800)},5${Math.floor(draw() * 9)};${Math.floor(draw() * 9)},5;${of(['sun', 'rain'], draw())};${draw() < 0.3 ? 1 : 0}\n`;
  const { directory, schema, said } = await drafted({ 'events.csv': events });
  expect(JSON.stringify(schema.features)).not.toMatch(/session_id|price|fee/);
  expect(said).toMatch(/events\.session_id is left out: in 100 % of the test rows/);
  expect(said).toMatch(/events\.price, events\.fee hold numbers with decimal commas/);
  const query = JSON.parse(/\{"query": "(?:[^"\\]|\\.)*"\}/.exec(said)![0]) as { query: string };
  const report = await explainPreparation({
    schema: defineSchema({
      ...schema,
      tables: { events: query },
      features: { ...schema.features, dense: [{ name: 'price', value: 'events.price' }] },
    }),
    baseDirectory: directory,
  });
  expect(report.splits[0]!.dense[0]!.mean).toBeGreaterThan(1400);

  using db = await DuckdbSession.open();
  await db.run(
    `COPY (SELECT {'id': 1} AS item, 'u' || (i * 37 % 101)::VARCHAR AS user_uuid, 9007199254740993 + (i * i % 53) AS product_id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + INTERVAL (i * 7) MINUTE AS at,
       'x'::BLOB AS raw, [[1], [2]] AS nested, (1e20 + i % 17)::HUGEINT AS big, (i % 90)::DECIMAL(8, 2) AS price, i * i % 11 = 4 AS click FROM range(1500) t(i)) TO ${literal(join(directory, 'events.parquet'))} (FORMAT parquet)`,
  );
  const typed = await draftSchema({ events: 'events.parquet', baseDirectory: directory });
  expect(typed.schema).toMatchObject({ keys: { user: 'user_uuid', poi: 'product_id' }, time: 'at' });
  const remarks = typed.remarks.join('\n');
  for (const column of ['item', 'raw', 'nested'])
    expect(remarks).toMatch(new RegExp(`events\\.${column} is of type .* and is left out`));
  expect(remarks).not.toMatch(/refuses/);
});

test('names are understood however their words are joined, and a time with gaps is told with the query that leaves them out', async () => {
  const draw = draws(11);
  const rows = (time: (i: number) => string) =>
    Array.from(
      { length: 600 },
      (_, i) =>
        `u${Math.floor(draw() * 30)},p${Math.floor(draw() * 20)},${time(i)},${Math.floor(draw() * 90)},${draw() < 0.3 ? 'TRUE' : 'False'}\n`,
    ).join('');
  const day = (i: number) => `2026-01-${String(1 + Math.floor(i / 40)).padStart(2, '0')} 12:00`;
  for (const header of [
    'User ID,Item ID,Event Time,Air Temp,Is Clicked',
    'userId,itemId,eventTime,airTemp,isClicked',
  ]) {
    const [user, poi, time, , click] = header.split(',');
    const { schema } = await drafted({ 'events.csv': `${header}\n${rows(day)}` });
    expect(schema).toMatchObject({ keys: { user, poi }, time, labels: { click } });
  }
  const gaps = await drafted({
    'events.csv': `user,poi,time,temperature,click\n${rows((i) => (i % 50 === 7 ? '' : day(i)))}`,
  });
  expect(gaps.schema.time).toBeUndefined();
  expect(gaps.said).toMatch(/events\.time is a time but is missing in 12 of 600 rows/);
  const query = JSON.parse(/\{"query": "(?:[^"\\]|\\.)*"\}/.exec(gaps.said)![0]) as { query: string };
  const schema = defineSchema({
    ...gaps.schema,
    tables: { events: query },
    time: 'time',
    splits: {},
    defaultSplit: undefined,
  });
  const { splits } = await explainPreparation({ schema, baseDirectory: gaps.directory });
  expect(Object.values(splits[0]!.parts).reduce((sum, { rows }) => sum + rows, 0)).toBe(588);
});

describe('a column that is 1 wherever the order is', () => {
  /** Every fifth row is tapped, some of these booked; `member` is so in most rows. */
  const log = (steps: readonly string[]) => {
    let events = `rider,station,at,member,${steps.join(',')},booked\n`;
    for (let i = 0; i < 3000; i++) {
      const [tapped, booked] = [i % 5 === 0 ? 1 : 0, i % 15 === 0 ? 1 : 0];
      events += `r${(i * 7) % 60},s${(i * 13) % 50},2026-01-${String(1 + Math.floor(i / 300)).padStart(2, '0')} 10:00:00,${tapped || i % 8 ? 1 : 0},${steps.map((_, k) => (k === 0 ? tapped : booked || i % 4 === 0 ? 1 : 0)).join(',')},${booked}\n`;
    }
    return { 'events.csv': events };
  };

  test('is suggested as the click, and what is so in most rows is not', async () => {
    const directory = await folder(log(['tapped']));
    const { schema, remarks } = await draftSchema({ events: 'events.csv', baseDirectory: directory });
    expect(schema.labels).toEqual({ click: 'tapped', order: 'booked' });
    expect(remarks.join('\n')).toContain('events.tapped is 1 wherever events.booked is');
    expect(JSON.stringify(schema.features)).not.toContain('tapped');
    expect(JSON.stringify(schema.features)).toContain('events.member');
  });

  test('is left out and named where there are several, until the click is given', async () => {
    const directory = await folder(log(['tapped', 'unlocked']));
    const { schema, remarks } = await draftSchema({ events: 'events.csv', baseDirectory: directory });
    expect(schema.labels).toEqual({ order: 'booked' });
    expect(remarks.join('\n')).toContain('--click unlocked');
    for (const name of ['tapped', 'unlocked']) expect(JSON.stringify(schema.features)).not.toContain(name);
    const both = { events: 'events.csv', baseDirectory: directory, click: 'tapped', order: 'booked' };
    expect((await draftSchema(both)).schema.labels).toEqual({ click: 'tapped', order: 'booked' });
    await expect(draftSchema({ ...both, order: 'tapped' })).rejects.toMatchObject({ code: 'LABEL_TWICE' });
    await expect(draftSchema({ ...both, label: 'booked' })).rejects.toMatchObject({ code: 'LABEL_TWICE' });
    await expect(draftSchema({ ...both, order: 'boked' })).rejects.toMatchObject({
      code: 'LABEL_NOT_FOUND',
      message: expect.stringContaining('booked'),
    });
  });

  test('is warned of as a feature, by the name of the label', async () => {
    const directory = await folder(log(['tapped']));
    const of = (column: string) =>
      explainPreparation({
        schema: defineSchema({
          name: 'bikes',
          tables: { events: 'events.csv' },
          keys: { user: 'rider', poi: 'station' },
          time: 'at',
          labels: { order: 'booked' },
          features: { categorical: [{ name: 'extra', value: `events.${column}` }] },
        }),
        baseDirectory: directory,
      });
    const step = (warnings: string[]) =>
      warnings.filter((w) => w.includes('the label "order" is 1') || w.includes('whose label "order"'));
    expect(step((await of('tapped')).warnings)).toEqual([
      expect.stringMatching(/reads the column "tapped", which is "1" in all 200 rows.*14\.3 % of the others/),
    ]);
    expect(step((await of('member')).warnings)).toEqual([]);
    const copy = `rider,station,at,member,tapped,booked\n`;
    await writeFile(
      join(directory, 'events.csv'),
      log(['tapped'])
        ['events.csv'].replace(/^.*\n/, copy)
        .replace(/^(.*),\d,(\d)$/gm, '$1,$2,$2'),
    );
    await expect(of('tapped')).rejects.toMatchObject({
      code: 'LABEL_LEAK',
      message: expect.stringContaining('the label "order"'),
    });
  });
});

test('a few rows without a time are left out by a query, and the column stays the time', async () => {
  const log = (ways: readonly string[]) =>
    Object.values(ways).reduce((text, way, i) => {
      const lines = text.split('\n');
      lines[7 + 100 * i] = lines[7 + 100 * i]!.replace(/2026-[^,]*/, way);
      return lines.join('\n');
    }, shop()['events.csv']!);
  const of = async (events: string) => {
    const directory = await folder({ ...shop(), 'events.csv': events });
    const draft = await draftSchema({ events: 'events.csv', pois: 'pois.csv', baseDirectory: directory });
    return { ...draft, directory };
  };
  const few = await of(log(['2026-13-45 99:00', '', 'yesterday']));
  expect(few.schema).toMatchObject({ time: 'event_time', splits: { time: {} } });
  expect(few.remarks.join('\n')).toMatch(/3 of 2000 rows have no time.*row 7: "2026-13-45 99:00".*leaves them out/);
  const report = await explainPreparation({
    schema: defineSchema(few.schema),
    baseDirectory: few.directory,
  });
  const { train, validation, test: tested } = report.splits[0]!.parts;
  expect(train.rows + validation.rows + tested.rows).toBe(1997);
  // One is a number, which is read; one is written in another way, and left out.
  const mixed = await of(log([String(Date.UTC(2026, 0, 1)), '22.02.2026 10:00']));
  expect(mixed.schema).toMatchObject({ time: 'event_time' });
  expect(mixed.remarks.join('\n')).toMatch(
    /1 of 2000 rows have no time.*row 107: "22\.02\.2026 10:00".*leaves them out/,
  );
  const kept = await explainPreparation({ schema: defineSchema(mixed.schema), baseDirectory: mixed.directory });
  expect(Object.values(kept.splits[0]!.parts).reduce((sum, part) => sum + part.rows, 0)).toBe(1999);
  const ids = await of(
    shop()
      ['events.csv']!.replace(/2026-01-(..)T(..):(..):00/g, '9$1$2$3000')
      .replace(/^(7,.*),9\d+,/m, '$1,lost,'),
  );
  expect(ids.schema.tables.events).toBe('events.csv');
  const many = await of(
    log(Array.from({ length: 20 }, () => 'yesterday')).replaceAll(/2026-01-01T0[1-5][^,]*/g, 'later'),
  );
  expect(many.schema.time).toBeUndefined();
  expect(many.remarks.join('\n')).toContain('No time column was found');
});
