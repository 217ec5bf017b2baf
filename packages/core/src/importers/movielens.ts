import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { DatasetManifest } from '../dataset/manifest.js';
import { DataError } from '../errors.js';
import type { DatasetSchema } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';
import { badField, type DelimitedTable, readDelimited } from './delimited.js';
import { checkOutput, type ImportOptions, importTables } from './import-tables.js';

/** Flags of u.item in the order of its columns. */
const genres = [
  'unknown',
  'Action',
  'Adventure',
  'Animation',
  "Children's",
  'Comedy',
  'Crime',
  'Documentary',
  'Drama',
  'Fantasy',
  'Film-Noir',
  'Horror',
  'Musical',
  'Mystery',
  'Romance',
  'Sci-Fi',
  'Thriller',
  'War',
  'Western',
];

/** Codes of users.dat in words (README of the 1M release). */
const occupations = [
  'other',
  'academic/educator',
  'artist',
  'clerical/admin',
  'college/grad student',
  'customer service',
  'doctor/health care',
  'executive/managerial',
  'farmer',
  'homemaker',
  'K-12 student',
  'lawyer',
  'programmer',
  'retired',
  'sales/marketing',
  'scientist',
  'self-employed',
  'technician/engineer',
  'tradesman/craftsman',
  'unemployed',
  'writer',
];
const ageBands: Record<string, string> = {
  '1': 'under 18',
  '18': '18-24',
  '25': '25-34',
  '35': '35-44',
  '45': '45-49',
  '50': '50-55',
  '56': '56+',
};

/** What both releases come to. */
interface Release {
  ratings: { user: string[]; item: string[]; rating: string[]; time: string[] };
  users: { user: string; age: string; gender: string; occupation: string }[];
  items: { item: string; title: string; year: string | null; genres: string[] }[];
}

/**
 * MovieLens (Harper and Konstan, 2015), 100k (`u.data`, `u.user`, `u.item`) or 1M (`ratings.dat`, `users.dat`,
 * `movies.dat`) as published in ISO 8859-1; which one it is follows from the files. A rating of at least 4 is the label.
 * @throws DataError `FILE_MISSING`, `SHORT_ROW`, `LONG_ROW`, `BAD_VALUE`, `TABLE_EMPTY`
 */
export async function importMovielens(options: ImportOptions): Promise<DatasetManifest> {
  await checkOutput(options);
  const { input } = options;
  let release: Release;
  if (existsSync(join(input, 'u.data'))) release = await read100k(input);
  else if (existsSync(join(input, 'ratings.dat'))) release = await read1m(input);
  else {
    throw new DataError(
      'FILE_MISSING',
      `${input} holds neither u.data (MovieLens 100k) nor ratings.dat (MovieLens 1M). Give the directory with the unpacked files.`,
      { file: input },
    );
  }
  const { ratings, users, items } = release;
  const text = (values: (string | null)[]) => ({ type: 'VARCHAR' as const, values });
  return importTables(
    options,
    {
      events: {
        user: text(ratings.user),
        item: text(ratings.item),
        rating: { type: 'DOUBLE', values: ratings.rating },
        time: { type: 'BIGINT', values: ratings.time },
      },
      users: {
        user: text(users.map((u) => u.user)),
        age: text(users.map((u) => u.age)),
        gender: text(users.map((u) => ({ M: 'male', F: 'female' })[u.gender]!)),
        occupation: text(users.map((u) => u.occupation)),
      },
      pois: {
        item: text(items.map((m) => m.item)),
        title: text(items.map((m) => m.title)),
        year: text(items.map((m) => m.year)),
        genres: { type: 'VARCHAR[]', values: items.map((m) => (m.genres.length > 0 ? m.genres : null)) },
      },
    },
    movielensSchema(),
  );
}

const published = { header: false, quoted: false, encoding: 'latin1' } as const;

async function read100k(input: string): Promise<Release> {
  const ratingsFile = join(input, 'u.data');
  const ratings = await readDelimited(ratingsFile, {
    ...published,
    columns: ['user', 'item', 'rating', 'timestamp'],
    delimiter: '\t',
  });
  const users = await readDelimited(join(input, 'u.user'), {
    ...published,
    columns: ['user', 'age', 'gender', 'occupation', 'zip code'],
    delimiter: '|',
  });
  const itemsFile = join(input, 'u.item');
  const items = await readDelimited(itemsFile, {
    ...published,
    columns: ['item', 'title', 'release date', 'video release date', 'IMDb URL', ...genres],
    delimiter: '|',
  });
  for (const genre of genres) items.check(genre, (flag) => flag === '0' || flag === '1', '0 or 1');
  users.check('age', (age) => /^\d{1,3}$/.test(age), 'an age');
  return {
    ratings: checkedRatings(ratingsFile, ratings, users, items),
    users: users.rows.map(([user, age, gender, occupation]) => ({
      user: user!,
      age: ageBand(Number(age)),
      gender: gender!,
      occupation: occupation!,
    })),
    items: items.rows.map((row) => ({
      item: row[0]!,
      ...titleAndYear(row[1]!),
      genres: genres.filter((genre, i) => genre !== 'unknown' && row[5 + i] === '1'),
    })),
  };
}

async function read1m(input: string): Promise<Release> {
  const ratingsFile = join(input, 'ratings.dat');
  const ratings = await readDelimited(ratingsFile, {
    ...published,
    columns: ['user', 'item', 'rating', 'timestamp'],
    delimiter: '::',
  });
  const users = await readDelimited(join(input, 'users.dat'), {
    ...published,
    columns: ['user', 'gender', 'age', 'occupation', 'zip code'],
    delimiter: '::',
  });
  const items = await readDelimited(join(input, 'movies.dat'), {
    ...published,
    columns: ['item', 'title', 'genres'],
    delimiter: '::',
  });
  users.check('age', (age) => age in ageBands, `one of the codes ${Object.keys(ageBands).join(', ')}`);
  users.check('occupation', (code) => /^\d+$/.test(code) && Number(code) < occupations.length, 'a code from 0 to 20');
  return {
    ratings: checkedRatings(ratingsFile, ratings, users, items),
    users: users.rows.map(([user, gender, age, occupation]) => ({
      user: user!,
      age: ageBands[age!]!,
      gender: gender!,
      occupation: occupations[Number(occupation)]!,
    })),
    items: items.rows.map(([item, title, list]) => ({
      item: item!,
      ...titleAndYear(title!),
      genres: list!.split('|'),
    })),
  };
}

/** Columns of the ratings after the checks that both releases share. */
function checkedRatings(
  file: string,
  ratings: DelimitedTable,
  users: DelimitedTable,
  items: DelimitedTable,
): Release['ratings'] {
  users.check('gender', (gender) => gender === 'M' || gender === 'F', 'M or F');
  for (const [table, key] of [
    [users, 'user'],
    [items, 'item'],
  ] as const)
    table.check(key, (id) => /^\d+$/.test(id), 'a number');
  ratings.check('rating', (rating) => /^[1-5]$/.test(rating), 'a rating from 1 to 5');
  ratings.check('timestamp', (seconds) => /^\d{1,10}$/.test(seconds), 'seconds since 1970');
  const knownUsers = new Set(users.rows.map((row) => row[0]!));
  const knownItems = new Set(items.rows.map((row) => row[0]!));
  ratings.rows.forEach(([user, item], row) => {
    if (!knownUsers.has(user!)) throw badField(file, ratings.lines[row]!, 1, 'user', user!, 'in the table of users');
    if (!knownItems.has(item!)) throw badField(file, ratings.lines[row]!, 2, 'item', item!, 'in the table of items');
  });
  const column = (i: number) => ratings.rows.map((row) => row[i]!);
  return { user: column(0), item: column(1), rating: column(2), time: column(3) };
}

/** Ages of the 100k release in the bands of the 1M release. */
function ageBand(age: number): string {
  const floor = Object.keys(ageBands)
    .map(Number)
    .filter((from) => from <= age)
    .at(-1);
  return ageBands[String(floor ?? 1)]!;
}

/** "Matrix, The (1999)" → "The Matrix", "1999". */
function titleAndYear(published: string): { title: string; year: string | null } {
  const [, title = published, year = null] = /^(.*?)\s*\((\d{4})\)\s*$/.exec(published) ?? [];
  const article = /^(.*), (The|A|An)$/.exec(title.trim());
  return { title: article === null ? title.trim() : `${article[2]} ${article[1]}`, year };
}

/** The schema of the imported tables, the same for both releases. */
export function movielensSchema(): DatasetSchema {
  return defineSchema({
    name: 'movielens',
    description: 'Ratings of films; a rating of at least 4 is the label. Cite Harper and Konstan (2015).',
    tables: {
      events: 'tables/events.parquet',
      users: 'tables/users.parquet',
      pois: 'tables/pois.parquet',
    },
    keys: { user: 'user', poi: 'item' },
    time: { column: 'time', unit: 's' },
    labels: { click: { column: 'rating', atLeast: 4 } },
    features: {
      categorical: [
        { name: 'user', value: 'events.user' },
        { name: 'item', value: 'events.item' },
        { name: 'age', value: 'users.age' },
        { name: 'gender', value: 'users.gender' },
        { name: 'occupation', value: 'users.occupation' },
        { name: 'genres', value: 'pois.genres' },
        { name: 'year', value: 'pois.year' },
        { name: 'hour', value: { derive: 'hour' } },
        { name: 'weekday', value: { derive: 'weekday' } },
      ],
    },
    keywords: {
      poi: [
        { name: 'title', column: 'title' },
        { name: 'year', column: 'year' },
        { name: 'genres', column: 'genres' },
      ],
      user: [
        { name: 'age', column: 'age' },
        { name: 'gender', column: 'gender' },
        { name: 'occupation', column: 'occupation' },
        { name: 'favourites', behaviour: { top: 4, of: 'pois.genres' } },
        { name: 'words', behaviour: { top: 10, of: 'pois.title', words: true } },
      ],
      scene: [
        { name: 'slot', value: { derive: 'timeSlot' } },
        { name: 'weekday', value: { derive: 'weekday' } },
        { name: 'weekend', value: { derive: 'weekend' } },
      ],
    },
    texts: {
      cptInput: ['title', 'year'],
      cptTarget: ['genres'],
      poiBusiness: ['title', 'year'],
      poiBasic: ['genres'],
      userProfile: ['age', 'gender', 'occupation'],
      userBehaviour: ['favourites', 'words'],
    },
    splits: {
      random: { kind: 'random', ratios: [8, 1, 1] },
      'cold-poi': { kind: 'cold-poi', ratios: [8, 1, 1] },
      'cold-user': { kind: 'cold-user', ratios: [8, 1, 1] },
    },
  });
}
