import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { importMovielens, openDataset } from '../index.js';

type Files = Record<string, string>;

/** Made-up files in the published formats: 30 users, 40 films, every other rating a 5. */
function published(release: '100k' | '1m'): Files {
  let ratings = '';
  let users = '';
  let items = '';
  for (let i = 0; i < 600; i++) {
    const fields = [1 + (i % 30), 1 + ((i * 7 + Math.floor(i / 30)) % 40), i % 2 ? 5 : 3, 874965758 + i * 3600];
    ratings += `${fields.join(release === '100k' ? '\t' : '::')}\n`;
  }
  for (let u = 1; u <= 30; u++)
    users += release === '100k' ? `${u}|${u + 10}|M|technician|85711\n` : `${u}::F::25::${u % 21}::48067\n`;
  for (let m = 1; m <= 40; m++) {
    const title = m === 2 ? 'Misérables, Les (1995)' : m === 3 ? 'Usual Suspects, The (1995)' : `Film ${m} (1990)`;
    const flags = Array.from({ length: 19 }, (_, g) => (g === 1 + (m % 3) ? 1 : 0)).join('|');
    items +=
      release === '100k' ? `${m}|${title}|01-Jan-1995||http://x|${flags}\n` : `${m}::${title}::Animation|Comedy\n`;
  }
  return release === '100k'
    ? { 'u.data': ratings, 'u.user': users, 'u.item': items }
    : { 'ratings.dat': ratings, 'users.dat': users, 'movies.dat': items };
}

async function attempt(files: Files, encoding: BufferEncoding = 'latin1') {
  const input = await mkdtemp(join(tmpdir(), 'larr-movielens-'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(input, name), Buffer.from(text, encoding));
  const output = join(input, 'out');
  return { output, result: await importMovielens({ input, output, seed: 1 }).catch((error) => error) };
}

test.each(['100k', '1m'] as const)(
  'MovieLens %s: ratings of at least 4 are the label, the rest are words',
  async (release) => {
    const { output, result } = await attempt(published(release));
    expect(result).toMatchObject({ name: 'movielens', orders: false, users: 30, pois: 40 });
    const dataset = await openDataset(output);
    const { parts } = dataset.split;
    expect(parts.train.rows + parts.validation.rows + parts.test.rows).toBe(600);
    expect(parts.train.clicks + parts.validation.clicks + parts.test.clicks).toBe(300);
    const texts = await dataset.poiTexts();
    expect(texts[1]!.map((k) => k.text).slice(0, 2)).toEqual(['Misérables, Les', '1995']);
    expect(texts[2]!.find((k) => k.keyword === 'title')!.text).toBe('The Usual Suspects');
    expect(texts[2]!.find((k) => k.keyword === 'genres')!.text).toBe(
      release === '100k' ? 'Action' : 'Animation, Comedy',
    );
    const user = (await dataset.userTexts())[0]!.map((k) => k.text).slice(0, 3);
    expect(user).toEqual(
      release === '100k' ? ['under 18', 'male', 'technician'] : ['25-34', 'female', 'academic/educator'],
    );
    const scene = Object.fromEntries(dataset.split.scene.map((f) => [f.field, f.texts]));
    expect(scene.weekend).toEqual(['', 'weekend', 'workday']);
    expect(scene.weekday).toHaveLength(8);
  },
);

test('files that are not as published are refused with file, line and column', async () => {
  const old = published('100k');
  expect((await attempt({ ...old, 'u.data': old['u.data']!.replace('\t5\t', '\t7\t') })).result).toMatchObject({
    code: 'BAD_VALUE',
    row: 2,
    message: expect.stringMatching(/u\.data, line 2, column 3 \(rating\): "7"/),
  });
  expect((await attempt({ ...old, 'u.item': old['u.item']!.replace('|1|', '|') })).result).toMatchObject({
    code: 'SHORT_ROW',
    row: 1,
  });
  expect((await attempt({ ...old, 'u.item': old['u.item']!.replace('7|Film 7', '99|Film 7') })).result).toMatchObject({
    code: 'BAD_VALUE',
    field: 'item',
    message: expect.stringContaining('u.data'),
  });
  const large = published('1m');
  expect(
    (await attempt({ ...large, 'users.dat': large['users.dat']!.replace('F::25', 'F::26') })).result,
  ).toMatchObject({
    code: 'BAD_VALUE',
    row: 1,
    field: 'age',
  });
  expect(
    (await attempt({ ...large, 'ratings.dat': large['ratings.dat']!.replaceAll('::', ':') })).result,
  ).toMatchObject({
    code: 'SHORT_ROW',
    row: 1,
    field: 'item',
  });
  expect((await attempt({ 'readme.txt': 'x' })).result).toMatchObject({ code: 'FILE_MISSING' });
  expect((await attempt({ ...old, 'u.data': 'PK\u0003\u0004 an archive' })).result).toMatchObject({
    code: 'SHORT_ROW',
    row: 1,
  });
  // Somebody has converted the files: "Misérables" would read "MisÃ©rables".
  for (const [release, file, column] of [
    ['100k', 'u.item', 2],
    ['1m', 'movies.dat', 2],
  ] as const)
    expect((await attempt(published(release), 'utf8')).result).toMatchObject({
      code: 'BAD_ENCODING',
      row: 2,
      message: expect.stringContaining(`${file}, line 2, column ${column}: UTF-8`),
    });
});
