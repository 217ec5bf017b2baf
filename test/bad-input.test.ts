import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { larr, temporaryDirectory } from './larr.js';

const schema = {
  name: 'shop',
  tables: { events: 'events.csv' },
  keys: { user: 'user', poi: 'shop' },
  labels: { click: 'click' },
  features: {
    categorical: [
      { name: 'user', value: 'events.user', role: 'user' },
      { name: 'shop', value: 'events.shop', role: 'poi' },
    ],
    dense: [{ name: 'price', value: 'events.price' }],
  },
};
const rows = Array.from({ length: 60 }, (_, i) => `u${i % 7},s${i % 5},${i % 3 === 0 ? 1 : 0},${i}`);

/** A folder with a schema and an events table, changed as the case wants it. */
function project(change: { schema?: object; events?: string | null } = {}): { schema: string; out: string } {
  const folder = temporaryDirectory();
  mkdirSync(folder, { recursive: true });
  const events = change.events === undefined ? `user,shop,click,price\n${rows.join('\n')}\n` : change.events;
  if (events !== null) writeFileSync(join(folder, 'events.csv'), events);
  writeFileSync(join(folder, 'schema.json'), JSON.stringify({ ...schema, ...change.schema }));
  return { schema: join(folder, 'schema.json'), out: join(folder, 'data') };
}

async function refused(change: Parameters<typeof project>[0], code: string, ...words: string[]): Promise<void> {
  const { schema, out } = project(change);
  const before = readdirSync(join(out, '..')).sort();
  const { code: exit, stdout, stderr } = await larr('prepare', '--schema', schema, '--out', out, '--json');
  expect(exit).toBe(1);
  expect(JSON.parse(stdout).error.code).toBe(code);
  for (const word of words) expect(stderr).toContain(word);
  expect(existsSync(out)).toBe(false);
  expect(readdirSync(join(out, '..')).sort()).toEqual(before);
}

describe('prepare refuses what it cannot use, says where, and leaves nothing behind', () => {
  test('a table that is not there', () => refused({ events: null }, 'FILE_MISSING', 'events.csv'));
  test('a column that is not there', () =>
    refused({ schema: { labels: { click: 'clicked' } } }, 'COLUMN_MISSING', '"clicked"', 'Did you mean "click"?'));
  test('a value that is no number', () =>
    refused(
      { events: `user,shop,click,price\n${rows.with(3, 'u1,s1,0,cheap').join('\n')}\n` },
      'BAD_VALUE',
      'row 4',
      '"price"',
      '"cheap"',
    ));
  test('an empty table', () => refused({ events: 'user,shop,click,price\n' }, 'TABLE_EMPTY', 'events.csv'));
  test('a label of one class', () =>
    refused(
      { events: `user,shop,click,price\n${rows.map((row) => row.replace(/,[01],/, ',0,')).join('\n')}\n` },
      'LABEL_ONE_CLASS',
      '"click"',
    ));
  test('a row that is too short', () =>
    refused({ events: `user,shop,click,price\n${rows.with(5, 'u1,s1').join('\n')}\n` }, 'UNREADABLE', 'line 7'));
  test('a schema that is no schema', () =>
    refused({ schema: { keys: { user: 'user', pio: 'shop' } } }, 'SCHEMA_INVALID', 'pio'));
});

describe('wrong usage exits with 2', () => {
  test.each([
    { args: ['no-such-command'] },
    { args: ['world'] },
    { args: ['world', '--out', 'x', '--scale', 'huge'] },
    { args: ['compare', '--data', 'x', '--out', 'y', '--models', 'plee'] },
    { args: ['compare', '--data', 'x', '--out', 'y', '--models', 'ple', '--seeds', '1,1'] },
    { args: ['import', 'frape', '--in', 'x', '--out', 'y'] },
    { args: ['doctor', '--config', 'nowhere.json', '--device', 'tpu'] },
  ])('$args', async ({ args }) => {
    const { code, stdout, stderr } = await larr(...args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).not.toBe('');
  });
});

test('a dataset directory that is none is an error with its path', async () => {
  const folder = temporaryDirectory();
  const { code, stdout } = await larr(
    'train',
    '--data',
    folder,
    '--model',
    'ple',
    '--out',
    join(folder, 'run'),
    '--json',
  );
  expect(code).toBe(1);
  expect(JSON.parse(stdout).error.message).toContain(folder);
  expect(existsSync(join(folder, 'run'))).toBe(false);
});
