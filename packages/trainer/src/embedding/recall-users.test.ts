import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Dataset,
  type DatasetSchemaInput,
  DuckdbSession,
  defineSchema,
  literal,
  openDataset,
  prepareInto,
} from '@larr/core';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CITIES, DISHES, makeToyDataset } from '../../test/toy-dataset.js';
import { draws } from '../language-model/draws.js';
import { meanOf, nearestInSpace, type PoiSpace, poiSpace, questionInSpace, unit } from './poi-space.js';
import { fulfilling, fulfilment, questionsOf, tastesOf } from './recall-users.js';
import { questionByWords } from './recall-words.js';
import type { TextEmbedder } from './text-embedder.js';

const WORDS = [...CITIES, ...DISHES.slice(0, 8)];

let root: string;
let dataset: Dataset;
let texts: Awaited<ReturnType<Dataset['poiTexts']>>;
let space: PoiSpace;

/** A direction for each of some words, those of a POI's texts summed: what a model that reads well would make, far from the origin. */
function vectorsOf(): Float32Array {
  const d = 24;
  const next = draws(3, 'directions');
  const directions = WORDS.map(() => unit(Float32Array.from({ length: d }, () => next() + next() + next() - 1.5)));
  const out = new Float32Array(texts.length * d).fill(2);
  texts.forEach((own, poi) => {
    const all = own.map(({ text }) => text).join(' ');
    WORDS.forEach((word, w) => {
      if (!all.includes(word)) return;
      directions[w]!.forEach((x, i) => {
        out[poi * d + i]! += x;
      });
    });
  });
  return out.fill(0, 0, d); // POI 0 has no vector
}

beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-recall-users-'));
  await makeToyDataset(root, { placed: true });
  dataset = await openDataset(root);
  texts = await dataset.poiTexts();
  space = poiSpace({ vectors: vectorsOf(), pois: texts.length, dimension: 24 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const has = (poi: number, keyword: string, text: string) =>
  texts[poi]!.find((own) => own.keyword === keyword)!.text.includes(text);

describe('a question by words', () => {
  it('finds POIs like those whose texts have its words, and says which words it knows', () => {
    const { vector, known, common, unknown } = questionByWords(['the sushi, on a boat in NORTHPORT'], texts, space);
    const count = (keyword: string, text: string) => texts.filter((_, poi) => has(poi, keyword, text)).length;
    expect(known).toEqual([{ text: 'sushi', pois: count('menu', 'sushi') }]);
    // more than three in ten are in either city, and function words are of no use
    expect(common.map(({ text }) => text)).toEqual(['northport']);
    expect(unknown).toEqual(['boat']);
    const [found] = nearestInSpace(space, [vector], 8, null);
    expect(found!.every(({ poi }) => has(poi, 'menu', 'sushi'))).toBe(true);
    expect(found![0]!.similarity).toBeGreaterThan(found![7]!.similarity);
  });

  it('takes phrases before their words, and parts of a run of Han characters', () => {
    const own = [
      ['hot pot', 'hot pot 火锅', 'pot of tea', 'cake and rice', 'tea', 'jam and rice', 'soup'],
      ['火锅', '火锅', '茶', '茶', '茶', '饭', '饭'],
    ];
    const many = own[0]!.map((menu, poi) => [{ keyword: 'menu', token: 'menu', text: `${menu} ${own[1]![poi]}` }]);
    const vectors = Float32Array.from(own[0]!.flatMap((_, poi) => [poi < 2 ? 1 : 0, poi > 4 ? 1 : 0, 0.1 * poi]));
    const small = poiSpace({ vectors, pois: 7, dimension: 3 });
    expect(questionByWords(['hot pot'], many, small).known).toEqual([{ text: 'hot pot', pois: 2 }]);
    expect(questionByWords(['and rice'], many, small).known).toEqual([{ text: 'rice', pois: 2 }]);
    expect(questionByWords(['吃火锅吧'], many, small).known).toEqual([{ text: '火锅', pois: 2 }]);
    expect(() => questionByWords(['on the moon'], many, small)).toThrow(
      expect.objectContaining({ code: 'NOTHING_KNOWN', message: expect.stringContaining('on the moon') }),
    );
  });
});

describe('a question of words that very many POIs have', () => {
  /** 20 POIs: the first ten have a sauna, all but one a roof. */
  const many = Array.from({ length: 20 }, (_, poi) => [
    { keyword: 'extras', token: 'extras', text: `${poi < 10 ? 'Sauna 桑拿房' : 'Garten'}${poi === 19 ? '' : ' Dach'}` },
  ]);
  const vectors = Float32Array.from(many.flatMap((_, poi) => [poi < 10 ? 1 : -1, 0.1 * Math.sin(poi), 0.3]));
  const hotels = poiSpace({ vectors, pois: 20, dimension: 3 });

  it('looks for them where nothing else is known, as a server does', () => {
    const { vector, known, common, unknown } = questionByWords(['Sauna'], many, hotels);
    expect({ known, common, unknown }).toEqual({ known: [{ text: 'sauna', pois: 10 }], common: [], unknown: [] });
    expect(nearestInSpace(hotels, [vector], 10, null)[0]!.every(({ poi }) => poi < 10)).toBe(true);
    expect(questionByWords(['我想去桑拿房'], many, hotels)).toMatchObject({ known: [{ text: '桑拿房', pois: 10 }] });
  });

  it('says of how many they are where even that tells nothing', () => {
    expect(() => questionByWords(['Dach Kamin'], many, hotels)).toThrow(
      expect.objectContaining({
        code: 'NOTHING_KNOWN',
        message: expect.stringMatching(/fewer than 2 POIs' texts have kamin; 95 % of them have dach, more than 90 %/),
      }),
    );
  });
});

describe('a question in another language than English', () => {
  /** 80 POIs of four kinds, whose vectors are of their kind; every fourth of each kind has the second text. */
  const kinds = (of: readonly (readonly [text: string, other: string])[]) => {
    const own = Array.from({ length: 80 }, (_, poi) => of[poi % 4]![Math.floor(poi / 4) % 4 === 0 ? 1 : 0]);
    const next = draws(5, 'kinds');
    const vectors = Float32Array.from(
      own.flatMap((_, poi) => [0, 1, 2, 3].map((i) => +(poi % 4 === i) + 0.2 * next())),
    );
    const texts = own.map((text) => [{ keyword: 'menu', token: 'menu', text }]);
    const space = poiSpace({ vectors, pois: 80, dimension: 4 });
    return (question: string) => {
      const { vector, ...told } = questionByWords([question], texts, space);
      const found = nearestInSpace(space, [vector], 5, null)[0]!.map(({ poi }) => poi % 4);
      return { ...told, found: [...new Set(found)] };
    };
  };

  it('is looked up in runs of Han characters, the longest piece first, none beginning or ending with a particle', () => {
    const asked = kinds([
      ['招牌麻辣烫的店', '麻辣烫，热的汤'],
      ['广东早茶', '广东早茶的点心'],
      ['手冲咖啡的店', '咖啡，热的'],
      ['花店', '花'],
    ]);
    expect(asked('我想吃麻辣烫')).toMatchObject({
      known: [{ text: '麻辣烫', pois: 20 }],
      unknown: ['我想吃'],
      found: [0],
    });
    expect(asked('哪里有广东早茶的店')).toMatchObject({ known: [{ text: '广东早茶', pois: 20 }], found: [1] });
    expect(asked('请问哪里有早茶')).toMatchObject({ known: [{ text: '早茶', pois: 20 }], found: [1] });
    // 热的 is in texts of two kinds, and ends with a particle
    expect(asked('热的咖啡')).toMatchObject({ known: [{ text: '咖啡', pois: 20 }], unknown: ['热'], found: [2] });
    expect(() => asked('我们的')).toThrow(expect.objectContaining({ code: 'NOTHING_KNOWN' }));
  });

  it.each([
    ['精酿酒吧', '酒吧', ['附近的酒吧', '我想去酒吧', '酒吧推荐', '有酒吧吗']],
    ['电竞网吧', '网吧', ['附近的网吧', '我们想去网吧']],
    ['咖啡吧', '咖啡吧', ['哪里有咖啡吧']],
    ['吉他教室', '吉他', ['我想学吉他']],
    ['著名的餐厅', '著名', ['著名的店']],
    ['请客的餐厅', '请客', ['我想请客']],
  ])('finds words that begin or end as particles do: %s', (text, word, questions) => {
    const asked = kinds([
      [text, text],
      ['川菜馆', '川菜馆'],
      ['面包房', '面包房'],
      ['花', '花'],
    ]);
    for (const question of questions) {
      expect(asked(question).known).toContainEqual({ text: word, pois: 20 });
      expect(asked(question).found).toEqual([0]);
    }
    // particles alone are no words
    expect(() => asked('我们想')).toThrow(expect.objectContaining({ code: 'NOTHING_KNOWN' }));
  });

  it.each([
    ['おいしいラーメンが食べたい', 'ラーメン', 'とんこつラーメン', 'カレーライスの店', 'ホットコーヒー'],
    ['ฉันอยากกินกาแฟ', 'กาแฟ', 'ร้านกาแฟเย็น', 'ต้มยำกุ้ง', 'ข้าวผัดไก่'],
    ['กาแฟ', 'กาแฟ', 'ร้านกาแฟ24ชม.', 'ต้มยำกุ้ง24ชม.', 'ข้าวผัดไก่'],
  ])('is cut into words where it is written without blanks: %s', (question, word, first, second, third) => {
    const asked = kinds([
      [first, first],
      [second, second],
      [third, third],
      ['–', '–'],
    ]);
    const { known, found } = asked(question);
    expect(known).toEqual([{ text: word, pois: 20 }]);
    expect(found).toEqual([0]);
  });

  it('goes without words of POIs of all sorts, which the catalogue tells, unless it has no others', () => {
    const asked = kinds([
      ['Suppe', 'Suppe mit Brot'],
      ['Kuchen', 'Kuchen mit Sahne'],
      ['Fisch', 'Fisch mit Reis'],
      ['Tee', 'Tee mit Milch'],
    ]);
    expect(asked('etwas mit Suppe')).toMatchObject({
      known: [{ text: 'suppe', pois: 20 }],
      little: [{ text: 'mit', pois: 20 }],
      unknown: ['etwas'],
      found: [0],
    });
    // "suppe mit" says no more than "suppe"
    expect(asked('Suppe mit Nudeln')).toMatchObject({ known: [{ text: 'suppe' }], little: [{ text: 'mit' }] });
    expect(asked('mit Nudeln')).toMatchObject({ known: [{ text: 'mit', pois: 20 }], little: [], unknown: ['nudeln'] });
  });
});

describe('a question of several parts', () => {
  const menus = [
    'hot pot',
    'hot pot',
    'pot curry',
    'tuna sushi, sushi roll',
    'salmon sushi, sushi rice',
    'curry',
    'tea',
    'soup',
  ];
  const many = [...menus, 'jam', 'ham', 'egg', 'eel'].map((menu) => [{ keyword: 'menu', token: 'menu', text: menu }]);
  const vectors = Float32Array.from(many.flatMap((_, poi) => [Math.sin(poi), Math.cos(poi), Math.sin(2 * poi)]));
  const small = poiSpace({ vectors, pois: many.length, dimension: 3 });

  it('has no phrase that spans two of them', () => {
    expect(questionByWords(['hot pot'], many, small).known).toEqual([{ text: 'hot pot', pois: 2 }]);
    expect(questionByWords(['hot', 'pot'], many, small).known).toEqual([
      { text: 'hot', pois: 2 },
      { text: 'pot', pois: 3 },
    ]);
  });

  it('takes each phrase once, however often it is said', () => {
    const once = questionByWords(['sushi curry'], many, small);
    expect(once.known).toEqual([
      { text: 'sushi', pois: 2 },
      { text: 'curry', pois: 2 },
    ]);
    expect(questionByWords(['sushi sushi sushi curry', 'Curry', 'sushi'], many, small)).toEqual(once);
    expect(questionByWords(['moon sushi moon'], many, small).unknown).toEqual(['moon']);
  });
});

describe('users of recall', () => {
  it('are those who neither live in a place nor saw a POI there, drawn by the seed', async () => {
    const places = (await dataset.poiPlaces())!;
    const all = await tastesOf(dataset, space, { count: 100, seed: 1 });
    const strangers = await tastesOf(dataset, space, { count: 100, seed: 1, neverIn: ['Northport'] });
    const seen = new Set<number>();
    const clicked = new Set<number>();
    for (const part of ['train', 'validation', 'test'] as const) {
      const samples = await dataset.loadPart(part);
      samples.user.forEach((user, row) => {
        if (places[samples.poi[row]!] === 'Northport') seen.add(user);
        if (part === 'train' && samples.click[row] === 1 && samples.poi[row] !== 0) clicked.add(user);
      });
    }
    using db = await DuckdbSession.open();
    const ids = (
      await db.rows<{ user: string }>(
        `SELECT "user" FROM read_parquet(${literal(join(root, 'store', 'users.parquet'))}) ORDER BY user_index`,
      )
    ).map(({ user }) => user);
    const expected = [...clicked].filter((user) => !seen.has(user)).map((user) => ids[user]!);
    expect(strangers.users.map(({ user }) => user).sort()).toEqual(expected.sort());
    expect(strangers.fitting).toBe(expected.length);
    expect(all.fitting).toBe(clicked.size);
    expect(expected.length).toBeGreaterThan(10);
    expect(expected.length).toBeLessThan(clicked.size);
    const few = await tastesOf(dataset, space, { count: 5, seed: 7, neverIn: ['Northport'] });
    expect(few.users).toHaveLength(5);
    const again = await tastesOf(dataset, space, { count: 5, seed: 7, neverIn: ['Northport'] });
    expect(again.users.map(({ user }) => user)).toEqual(few.users.map(({ user }) => user));
    const one = await tastesOf(dataset, space, { count: 1, seed: 1, user: few.users[0]!.user });
    expect(one.users).toEqual([few.users[0]]);
  });

  it.each(['feature', 'scene field', 'text'] as const)(
    'are none who live there, though they saw nothing there, where a %s reads the home under another name',
    async (reader) => {
      const directory = join(root, reader);
      mkdirSync(directory);
      const schema = JSON.parse(readFileSync(join(root, 'schema.json'), 'utf8')) as DatasetSchemaInput;
      // u0 sees POIs of one city as before, and lives in the other
      const people = readFileSync(join(root, 'tables/users.jsonl'), 'utf8').trim().split('\n');
      const { home, ...u0 } = JSON.parse(people[0]!) as { user: string; home: string };
      const other = home === 'Northport' ? 'Southfield' : 'Northport';
      people[0] = JSON.stringify({ ...u0, home: other });
      writeFileSync(join(directory, 'users.jsonl'), people.join('\n'));
      const lives = { name: 'lives_in', value: 'users.home' };
      if (reader === 'feature') schema.features!.categorical!.push({ ...lives, role: 'user-feature' });
      if (reader === 'scene field') schema.keywords!.scene!.push(lives);
      const parsed = defineSchema({ ...schema, tables: { ...schema.tables, users: join(directory, 'users.jsonl') } });
      await prepareInto(join(directory, 'data'), { schema: parsed, baseDirectory: root, seed: 1, threads: 1 });
      const moved = await openDataset(join(directory, 'data'));
      const idsOf = async (neverIn: string[]) =>
        (await tastesOf(moved, space, { count: 100, seed: 1, neverIn })).users.map(({ user }) => user);
      expect(u0.user).toBe('u0');
      expect(await idsOf([])).toContain('u0');
      expect(await idsOf([home])).not.toContain('u0');
      // nothing but a text tells where users live: then it is not looked at
      if (reader === 'text') expect(await idsOf([other])).toContain('u0');
      else {
        expect(await idsOf([other])).not.toContain('u0');
        await expect(tastesOf(moved, space, { count: 1, seed: 1, neverIn: [other], user: 'u0' })).rejects.toMatchObject(
          {
            code: 'NO_USERS',
            message: expect.stringContaining(`"u0" lives in ${other} or saw a POI there`),
          },
        );
      }
      expect((await idsOf([other])).length).toBeGreaterThan(10);
    },
  );

  it('of whose clicks nothing is left without the places, are passed over and counted', async () => {
    const places = (await dataset.poiPlaces())!;
    // every POI of Southfield but one is in a place of its own
    const first = places.indexOf('Southfield');
    const alone = places.map((place, poi) => (place === 'Southfield' && poi !== first ? `hamlet ${poi}` : place));
    const scattered = { ...dataset, poiPlaces: async () => alone };
    const all = await tastesOf(dataset, space, { count: 100, seed: 1 });
    const some = await tastesOf(scattered, space, { count: 100, seed: 1 });
    const southerners = (await tastesOf(dataset, space, { count: 100, seed: 1, neverIn: ['Northport'] })).users;
    expect(all.tasteless).toBe(0);
    expect(some).toMatchObject({ fitting: all.fitting, tasteless: southerners.length });
    expect(some.users.length).toBe(all.users.length - southerners.length);
    // others come in their place, and no taste is zero
    const few = await tastesOf(scattered, space, { count: 5, seed: 1 });
    expect(few.users).toEqual(some.users.slice(0, 5));
    for (const { taste } of some.users) expect(Math.hypot(...taste)).toBeCloseTo(1, 5);
    await expect(tastesOf(scattered, space, { count: 1, seed: 1, user: southerners[0]!.user })).rejects.toMatchObject({
      code: 'NO_USERS',
      message: expect.stringContaining('nothing but the average'),
    });
  });

  it('that cancel each other out leave no rounding behind', () => {
    const one = unit(Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)));
    const same: PoiSpace = { vectors: one, dimension: 24, pois: 1, mean: new Float32Array(24) };
    const nearly = same.vectors.map((x) => x + 3e-8);
    expect([...meanOf(same, [0, 0], () => nearly)]).toEqual(Array(24).fill(0));
    const opposite = { ...same, pois: 2, vectors: Float32Array.from([...same.vectors, ...nearly.map((x) => -x)]) };
    expect([...meanOf(opposite, [0, 1])]).toEqual(Array(24).fill(0));
  });

  it('like what they clicked, wherever it is, and the question says where', async () => {
    const { users } = await tastesOf(dataset, space, { count: 100, seed: 1, neverIn: ['Northport'] });
    // they live in Southfield: without the places' means their taste would lead back there
    const places = (await dataset.poiPlaces())!;
    const northport = questionByWords(['sushi'], texts, space).vector;
    const lists = nearestInSpace(space, questionsOf(null, users, 0.25), 10, null);
    const there = lists.flat().filter(({ poi }) => places[poi] === 'Northport').length / lists.flat().length;
    expect(there).toBeGreaterThan(0.3);
    const mixed = nearestInSpace(space, questionsOf(northport, users, 0.25), 5, null);
    const sushi = mixed.flat().filter(({ poi }) => has(poi, 'menu', 'sushi')).length / mixed.flat().length;
    expect(sushi).toBeGreaterThan(0.9);
    // the taste is in it: other users get other POIs
    expect(new Set(mixed.map((list) => list.map(({ poi }) => poi).join())).size).toBeGreaterThan(5);
    expect(new Set(nearestInSpace(space, questionsOf(northport, users, 0), 5, null).map((l) => l[0]!.poi)).size).toBe(
      1,
    );
  });

  it('that are not there are told', async () => {
    const one = { count: 1, seed: 1 };
    await expect(tastesOf(dataset, space, { ...one, user: 'u9999' })).rejects.toMatchObject({ code: 'UNKNOWN_USER' });
    await expect(tastesOf(dataset, space, { ...one, neverIn: ['Nowhere'] })).rejects.toMatchObject({
      code: 'UNKNOWN_PLACE',
      message: expect.stringContaining('Northport, Southfield'),
    });
    await expect(tastesOf(dataset, space, { ...one, neverIn: ['Northport', 'Southfield'] })).rejects.toMatchObject({
      code: 'NO_USERS',
      message: expect.stringMatching(/^every user .* Northport or Southfield .*fewer places$/),
    });
    // no vector, no taste: that has nothing to do with places
    const blank = { ...space, vectors: new Float32Array(space.vectors.length) };
    for (const choice of [one, { ...one, neverIn: ['Northport'] }])
      await expect(tastesOf(dataset, blank, choice)).rejects.toMatchObject({
        code: 'NO_USERS',
        message: expect.stringMatching(/^no user has a click in the train part of "random" on a POI with a text/),
      });
    await expect(tastesOf(dataset, blank, { ...one, user: 'u3' })).rejects.toMatchObject({
      code: 'NO_USERS',
      message: expect.stringMatching(/^user "u3" has no click in the train part/),
    });
  });
});

describe('a question that a model reads', () => {
  const embedder = (similarity: 'cosine' | 'dot'): TextEmbedder => ({
    dimension: 24,
    similarity,
    contextLength: 8,
    phrase: (keywords) => keywords.map(({ text }) => text).join(' '),
    tokens: (text) => ({ ids: Int32Array.of(text.length), truncated: false }),
    embed: async () => space.mean.map((x, i) => x + i),
    dispose: () => {},
  });

  it('goes where POIs do: less what they share, of length 1', async () => {
    const vector = await questionInSpace(embedder('cosine'), space, { text: 'sushi' });
    const length = Math.sqrt(Array.from({ length: 24 }, (_, i) => i * i).reduce((a, b) => a + b));
    vector.forEach((x, i) => {
      expect(x).toBeCloseTo(i / length, 5);
    });
  });

  it('is refused for users where the model compares in another way', async () => {
    await expect(questionInSpace(embedder('dot'), space, { text: 'sushi' })).rejects.toMatchObject({
      code: 'NOT_COSINE',
      message: expect.stringContaining('"dot"'),
    });
  });
});

describe('what is expected', () => {
  it('is a text that a keyword holds, a place, or a column, and each is counted', async () => {
    const [menu, place] = await fulfilling(dataset, [
      { column: 'menu', values: ['SUSHI', 'tacos'] },
      { column: 'place', values: ['Northport'] },
    ]);
    const places = (await dataset.poiPlaces())!;
    expect([...menu!.keys()].filter((poi) => menu![poi])).toEqual(
      [...texts.keys()].filter((poi) => has(poi, 'menu', 'sushi') || has(poi, 'menu', 'tacos')),
    );
    expect([...place!]).toEqual(places.map((one) => (one === 'Northport' ? 1 : 0)));
    await expect(fulfilling(dataset, [{ column: 'cuisine', values: ['x'] }])).rejects.toMatchObject({
      code: 'UNKNOWN_COLUMN',
      message: expect.stringContaining('name, location, menu, introduction'),
    });
    // a column that a feature reads, of data that are prepared for it
    const schema = JSON.parse(readFileSync(join(root, 'schema.json'), 'utf8')) as DatasetSchemaInput;
    schema.features!.categorical!.push({ name: 'town', value: 'pois.city', role: 'poi-feature' });
    const data = join(root, 'with a column');
    await prepareInto(data, { schema: defineSchema(schema), baseDirectory: root, seed: 1, threads: 1 });
    const [city] = await fulfilling(await openDataset(data), [{ column: 'city', values: ['Northport'] }]);
    expect(city).toEqual(place);
    await expect(fulfilling(dataset, [{ column: 'menu', values: ['haggis'] }])).rejects.toMatchObject({
      code: 'NONE_FULFILS',
    });
  });

  it('is a mean over users with its standard error, beside chance among the POIs that were searched', () => {
    const fulfils = Uint8Array.of(1, 1, 0, 0, 1);
    expect(
      fulfilment(
        fulfils,
        Uint8Array.of(1, 1, 1, 1, 0),
        [0, 2],
        [
          [0, 1],
          [0, 2],
          [2, 3],
        ],
      ),
    ).toEqual({
      chance: 0.5,
      question: 1,
      users: { mean: 1, error: expect.closeTo(1 / Math.sqrt(3), 12), least: 0 },
    });
    expect(fulfilment(fulfils, new Uint8Array(5).fill(1), null, [])).toEqual({
      chance: 0.6,
      question: null,
      users: null,
    });
  });
});
