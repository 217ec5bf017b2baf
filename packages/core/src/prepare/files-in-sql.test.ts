import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { DuckdbSession } from '../duckdb/session.js';
import { filesFrom } from './files-in-sql.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "larr-sql's-"));
  await mkdir(join(folder, 'days'));
  for (const name of ['a.csv', 'b.csv', "o'neill.csv", 'days/1.csv'])
    await writeFile(join(folder, name), 'x,url\n1,package.json\n');
  for (const name of ['package.json', 'shop.db']) await writeFile(join(folder, name), '{}');
});

/** What stands between « and » is to be moved; the statement without these marks is what is given. */
function moved(marked: string): [given: string, expected: string] {
  const given = marked.replace(/[«»]/g, '');
  const expected = marked.replace(/«(?:'([^»]*)'|\$\w*\$([^»]*)\$\w*\$)»/g, (_, plain?: string, dollar?: string) => {
    const path = join(folder, plain?.replaceAll("''", "'") ?? dollar!);
    return `'${path.replaceAll("'", "''")}'`;
  });
  return [given, expected];
}

const sound = [
  `FROM «'a.csv'»`,
  `select d.x, 'package.json' AS "from" from\n\t«'a.csv'», «'b.csv'» AS b(p, q) JOIN «'days/*.csv'» AS c ON c.url = 'package.json', «'b.csv'» AS d`,
  `SELECT regexp_matches(url, '.*\\.json') FROM «'a.csv'» WHERE url = 'package.json' OR url IN ('a.csv', 'b.csv') ORDER BY url, concat('a.csv', 'b.csv')`,
  `FROM «'a.csv'» SELECT url, 'package.json'`,
  `SELECT url FROM (SELECT url, 'a.csv' FROM («'a.csv'» a JOIN «'b.csv'» b USING (x, url))) AS t, (VALUES ('a.csv', 'b.csv')) AS v`,
  `WITH f AS (FROM «'a.csv'»), "b.csv" AS (SELECT 7 AS x, 'a.csv' AS y) SELECT * FROM f, 'b.csv'`,
  `SELECT * FROM «'a.csv'» UNION ALL BY NAME SELECT 1 AS x, 'package.json' AS url`,
  `FROM read_csv(«'a.csv'», nullstr = 'package.json', columns = {'x': 'VARCHAR', 'a.csv': 'VARCHAR'})`,
  `FROM READ_CSV_AUTO ( [ «'a.csv'» , «'b.csv'» ], filename = true)`,
  `FROM main.read_csv(list_value(«'a.csv'», «'b.csv'»)), "read_text"(ARRAY[«'a.csv'», «'b.csv'»]) t, read_csv((«'a.csv'»::VARCHAR)) u`,
  `SELECT url GLOB ('*.json'), (SELECT count(*) FROM glob(«'*.csv'»)) FROM «'a.csv'»`,
  `FROM «'o''neill.csv'» -- the shop's, from 'a.csv'\n, /* FROM 'a.csv' /* more */ 'b.csv */ «'b.csv'» b`,
  `SELECT E'it\\'s FROM \\'a.csv', 'it''s FROM ''a.csv', "from".url FROM «'a.csv'» AS "from"`,
  `SELECT $$ FROM 'a.csv' $$, $q$ it's FROM $$ 'a.csv' $q$ FROM «$$a.csv$$», «$f$b.csv$f$» b`,
  `SELECT url FROM «'a.csv'» WHERE url IS DISTINCT FROM 'package.json' AND url IS NOT DISTINCT FROM 'a.csv' AND trim('x' FROM 'a.csv') = substring('a.csv' FROM '.*\\.csv')`,
  `SUMMARIZE «'a.csv'»`,
  `FROM (PIVOT «'a.csv'» ON url IN ('package.json', 'a.csv') USING sum(x))`,
  `CREATE TABLE t AS FROM «'a.csv'»; SELECT 'a.csv', 'b.csv' FROM t; COPY t FROM «'b.csv'» (FORMAT csv, NULLSTR 'a.csv')`,
];

test.each(sound)('only files are moved, and DuckDB finds them: %s', async (marked) => {
  const [given, expected] = moved(marked);
  expect(expected).not.toBe(given);
  const placed = filesFrom(given, folder);
  expect(placed).toBe(expected);
  expect(filesFrom(placed, folder)).toBe(placed);
  using db = await DuckdbSession.open();
  await db.run(placed);
});

test.each([
  `ATTACH «'shop.db'» AS shop (READ_ONLY)`,
  `attach or replace database «'shop.db'» as shop`,
  `ATTACH IF NOT EXISTS «'shop.db'»; SET VARIABLE f = 'a.csv'`,
  `FROM read_parquet(['a.csv' || '.old', «'b.csv'»])`,
  `FROM read_csv(getvariable('a.csv') || 'b.csv')`,
  `FROM read_csv('a' || '.csv')`,
  `FROM 'nowhere.csv', '/b.csv', 's3://bucket/a.csv', 'none/*.csv', 'a'`,
  `SELECT 'a.csv`,
  `SELECT /* FROM 'a.csv'`,
])('what is a file is told from what is none: %s', (marked) => {
  const [given, expected] = moved(marked);
  expect(filesFrom(given, folder)).toBe(expected);
});
