import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  type DatasetSchemaInput,
  defineSchema,
  draftSchema,
  explainPreparation,
  openDataset,
  prepare,
  readSchema,
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
  expect(schema.keywords.scene.map((k) => k.name)).toEqual(['slot', 'weekday', 'value']);
  await prepare(join(directory, 'out'), { schema, baseDirectory: directory });
  expect((await openDataset(join(directory, 'out'))).split.scene.find((f) => f.field === 'value')!.texts).toEqual([
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

test('a draft says which column stands behind a name that lost its letters, and that no column is the name of a POI', async () => {
  let events = 'user_id,item,天气,is_click\n';
  for (let i = 0; i < 300; i++) events += `u${i % 30},p${i % 20},${i % 3 ? '晴' : '雨'},${i % 4 ? 0 : 1}\n`;
  let pois = 'item,名称,类别\n';
  for (let p = 0; p < 20; p++) pois += `p${p},番茄${p},${p % 2 ? '蔬菜' : '水果'}\n`;
  const directory = await folder({ 'events.csv': events, 'pois.csv': pois });
  const { schema, remarks, text } = await draftSchema({
    events: 'events.csv',
    pois: 'pois.csv',
    baseDirectory: directory,
  });
  const said = remarks.join('\n');
  for (const f of schema.features!.categorical!.slice(2))
    expect(said).toContain(`"${f.name}" is "${(f.value as string).split('.')[1]}"`);
  expect(said).toMatch(/POI keywords, "value" is "名称", "value_2" is "类别"/);
  expect(said).toMatch(/"cptInput" and "poiBusiness".*value \(名称\), value_2 \(类别\)/);
  expect(text).toContain('"value" is "名称"');
});
