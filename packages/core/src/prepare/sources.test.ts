import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { DuckdbSession } from '../duckdb/session.js';
import { openSource } from './sources.js';

const films = [
  ['f1', 'Il "Grande" film', '一部关于宇宙的电影, 很长'],
  ['f2', 'Two lines\nof "title"', ''],
  ['007', ' spaced ', "O'Brien; 50 % | more"],
];
const cell = (text: string) => (/[",;\n\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

async function rowsOf(content: string | Buffer, name: string, delimiter?: string): Promise<(string | null)[][]> {
  const folder = await mkdtemp(join(tmpdir(), 'larr-source-'));
  await writeFile(join(folder, name), content);
  using db = await DuckdbSession.open();
  const source = delimiter === undefined ? name : { path: name, delimiter };
  const { sql, columns } = await openSource(db, source, 'pois', folder);
  expect([...columns.keys()]).toEqual(['film id', 'title', 'plot']);
  return (await db.connection.runAndReadAll(`SELECT * FROM ${sql}`)).getRows() as (string | null)[][];
}

test.each([
  ['\n', ','],
  ['\r\n', ','],
  ['\n', ';'],
  ['\r\n', '\t'],
  ['\n', '|'],
])('CSV with line ends %j and delimiter %j gives back every text, quoted or in any script', async (end, delimiter) => {
  const lines = [['film id', 'title', 'plot'], ...films].map((row) => row.map(cell).join(delimiter));
  for (const [name, content] of [
    ['films.csv', lines.join(end) + end],
    ['films.csv', `\ufeff${lines.join(end)}`],
    ['films.csv.gz', gzipSync(lines.join(end) + end)],
  ] as const) {
    const rows = await rowsOf(content, name, delimiter === ',' ? undefined : delimiter);
    expect(rows.map((row) => row.map((text) => text ?? ''))).toEqual(films);
  }
});

test('a header that goes over several lines is refused by name', async () => {
  await expect(rowsOf('"film\nid",title,plot\n1,2,3\n', 'films.csv')).rejects.toMatchObject({ code: 'BAD_HEADER' });
});
