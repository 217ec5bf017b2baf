import { mkdir, mkdtemp, readdir, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import {
  ConfigError,
  compactEvents,
  type DatasetSchemaInput,
  DuckdbSession,
  defineSchema,
  prepare,
  readSchema,
  schemaDirectory,
} from '../index.js';

/** A folder far from any node_modules, as a user's own. */
async function folder(files: Record<string, string>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'larr-schema-file-'));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), content);
  }
  return directory;
}

const body =
  '{ "name": "x", // the name\n "tables": { "events": "http://host/e.csv" }, "labels": { "click": "click" } }';

test('a schema file that cannot be read says why, and one with a byte order mark is read', async () => {
  const directory = await folder({ 'bom.json': `\ufeff${body}`, 'empty.json': '', 'folder.json/x': '' });
  expect((await readSchema(join(directory, 'bom.json'))).name).toBe('x');
  for (const [file, code, why] of [
    ['nowhere.json', 'FILE_MISSING', 'there is no such file'],
    ['folder.json', 'FILE_MISSING', 'it is a directory'],
    ['empty.json', 'SCHEMA_NOT_JSON', 'it is empty'],
  ] as const)
    await expect(readSchema(join(directory, file))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(new RegExp(`${file}.*${why}`)),
    });
});

test('JSON with comments, JavaScript and TypeScript give the same schema', async () => {
  const directory = await folder({
    's.json': body,
    's.mjs': `export default ${body}`,
    's.js': `import { defineSchema } from '@larr/core';\nexport default defineSchema(${body});`,
    's.ts': `import { defineSchema, type DatasetSchemaInput } from '@larr/core';
      import { click } from './shared/labels.js';
      const schema: DatasetSchemaInput = ${body.replace('"click": "click"', 'click')};
      export default defineSchema(schema satisfies DatasetSchemaInput);`,
    'shared/labels.ts': `export const click = 'click' as const;`,
    's.mts': `interface Named { name: string }\nexport default ${body} as Named;`,
  });
  const schema = await readSchema(join(directory, 's.json'));
  expect(schema.tables.events).toBe('http://host/e.csv');
  for (const file of ['s.mjs', 's.js', 's.ts', 's.mts'])
    expect(await readSchema(join(directory, file)), file).toEqual(schema);
  // Nothing is left beside the file or in a cache in its folder.
  expect((await readdir(directory)).sort()).toEqual(['s.js', 's.json', 's.mjs', 's.mts', 's.ts', 'shared']);
});

test('a module that is changed is read anew', async () => {
  const directory = await folder({ 's.ts': `export default ${body}` });
  const file = join(directory, 's.ts');
  expect((await readSchema(file)).name).toBe('x');
  await writeFile(file, `export default ${body.replace('"x"', '"y"')}`);
  expect((await readSchema(file)).name).toBe('y');
});

test('a module that cannot be loaded, exports nothing, or a schema with mistakes is named', async () => {
  const directory = await folder({
    'none.ts': 'export const a: number = 1;',
    'broken.ts': 'export default {',
    'import.ts': "import { x } from './nowhere.js';\nexport default x;",
    'wrong.ts': `import { defineSchema } from '@larr/core';\nexport default defineSchema(${body.replace('"name"', '"nmae"')});`,
  });
  for (const [file, code, words] of [
    ['none.ts', 'SCHEMA_NOT_MODULE', 'default export'],
    ['broken.ts', 'SCHEMA_NOT_MODULE', 'broken.ts'],
    ['import.ts', 'SCHEMA_NOT_MODULE', 'nowhere'],
    ['wrong.ts', 'SCHEMA_INVALID', 'Did you mean "name"?'],
  ] as const) {
    const error = await readSchema(join(directory, file)).catch((cause) => cause);
    expect(error, file).toBeInstanceOf(ConfigError);
    expect(error.code, file).toBe(code);
    expect(error.message, file).toContain(words);
  }
});

test("a dataset's own schema reads the tables it was made of: from anywhere, through a link, and after a move of both", async () => {
  let events = 'user,poi,time,weather,click\n';
  for (let i = 0; i < 400; i++)
    events += `u${i % 20},p${i % 10},2026-01-${String(1 + Math.floor(i / 50)).padStart(2, '0')} 12:00,${i % 3 ? 'sun' : 'rain'},${(i * 7) % 5 ? 0 : 1}\n`;
  let pois = 'poi,name\n';
  for (let p = 0; p < 10; p++) pois += `p${p},Kitchen ${p}\n`;
  const home = await folder({ 'shop/tables/events.csv': events, 'shop/tables/pois.csv': pois });
  const input = (poisTable: DatasetSchemaInput['tables']['pois']) =>
    defineSchema({
      name: 'shop',
      tables: { events: 'events.csv', pois: poisTable! },
      time: 'time',
      labels: { click: 'click' },
      features: { categorical: [{ name: 'weather', value: 'events.weather' }] },
      keywords: { poi: [{ name: 'name', column: 'name' }] },
    });
  const again = async (file: string, output: string) =>
    prepare(output, { schema: await readSchema(file), baseDirectory: await schemaDirectory(file) });
  for (const [name, table] of [
    ['paths', 'pois.csv'],
    ['query', { query: "SELECT * FROM read_csv('pois.csv') WHERE name <> 'it''s'" }],
  ] as const) {
    const data = join(home, 'shop', 'out', name);
    const made = await prepare(data, { schema: input(table), baseDirectory: join(home, 'shop', 'tables') });
    expect(made.tablesFrom).toBe('../../tables');
    const file = join(data, 'schema.json');
    expect((await again(file, join(home, 'again', name))).contentDigest).toBe(made.contentDigest);
    await symlink(data, join(home, `link-${name}`));
    const linked = join(home, `link-${name}`, 'schema.json');
    expect(await schemaDirectory(linked)).toBe(await schemaDirectory(file));
  }
  {
    using db = await DuckdbSession.open({ file: join(home, 'shop', 'tables', 'shop.duckdb') });
    await db.run('CREATE TABLE kitchens AS SELECT 1 AS poi');
  }
  const attached = defineSchema({
    ...input({
      query:
        "SELECT 'p' || i AS poi, 'Kitchen' AS name FROM range(10) t(i) WHERE (SELECT count(*) FROM shop.kitchens) = 1",
    }),
    setup: ["ATTACH 'shop.duckdb' AS shop (READ_ONLY)"],
  });
  expect(
    (await prepare(join(home, 'attached'), { schema: attached, baseDirectory: join(home, 'shop', 'tables') })).pois,
  ).toBe(10);
  await rename(join(home, 'shop'), join(home, 'moved'));
  const file = join(home, 'moved', 'out', 'paths', 'schema.json');
  const made = await again(file, join(home, 'third'));
  // A copy of a copy leads to the same tables.
  const third = await again(join(home, 'third', 'schema.json'), join(home, 'fourth'));
  expect(third.contentDigest).toBe(made.contentDigest);

  const log = join(home, 'log');
  await mkdir(log);
  const scene = { time: '2026-01-09T12:00:00', weather: 'rain' };
  const event = {
    id: '1',
    type: 'impression',
    user: 'u1',
    poi: 'p1',
    time: scene.time,
    requestId: 'r',
    position: 1,
    scene,
  };
  await writeFile(join(log, 'events-00000001.jsonl'), `${JSON.stringify(event)}\n`);
  const days = join(home, 'days');
  await compactEvents({
    log,
    output: days,
    schema: await readSchema(file),
    baseDirectory: await schemaDirectory(file),
    openDays: true,
    history: true,
  });
  const compacted = await again(join(days, 'schema.json'), join(home, 'fifth'));
  expect(compacted.pois).toBe(10);
  expect(JSON.parse(await readFile(join(days, 'schema.json'), 'utf8')).tables.pois).toBe('../moved/tables/pois.csv');
});
