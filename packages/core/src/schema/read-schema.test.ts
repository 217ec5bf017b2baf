import { mkdir, mkdtemp, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigError, readSchema } from '../index.js';

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
