import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lockDirectory } from '@larr/core';
import { describe, expect, test } from 'vitest';
import { larr, program, start, temporaryDirectory } from './larr.js';

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

const table = (lines: string[]) => `user,shop,click,price\n${lines.join('\n')}\n`;

/** A folder with a schema and an events table, changed as the case wants it. */
function project(change: { schema?: object; events?: string | Buffer | null } = {}): { schema: string; out: string } {
  const folder = temporaryDirectory();
  mkdirSync(folder, { recursive: true });
  const events = change.events === undefined ? table(rows) : change.events;
  if (events !== null) writeFileSync(join(folder, 'events.csv'), events);
  writeFileSync(join(folder, 'schema.json'), JSON.stringify({ ...schema, ...change.schema }));
  return { schema: join(folder, 'schema.json'), out: join(folder, 'data') };
}

/** What the schema has to be changed for; of everything else it is the data. */
const ofTheSchema = [
  'FILE_MISSING',
  'COLUMN_MISSING',
  'BAD_DELIMITER',
  'SCHEMA_INVALID',
  'LABEL_LEAK',
  'KEYS_DISJOINT',
];

async function refused(change: Parameters<typeof project>[0], code: string, ...words: string[]): Promise<void> {
  const { schema, out } = project(change);
  const before = readdirSync(join(out, '..')).sort();
  const { code: exit, stdout, stderr } = await larr('prepare', '--schema', schema, '--out', out, '--json');
  expect(exit).toBe(ofTheSchema.includes(code) ? 2 : 1);
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
  test('a row that is too long, by its own line', () =>
    refused({ events: table(rows.with(40, 'u1,s1,0,5,extra,columns')) }, 'UNREADABLE', 'line 42', 'Columns: 4'));
  test('a quotation mark that is not closed', () =>
    refused({ events: table(rows.with(20, 'u1,s1,0,"5')) }, 'UNREADABLE', 'line 22', 'not closed'));
  test('a column that stands twice in the header', () =>
    refused({ events: table(rows).replace('price', 'click') }, 'BAD_HEADER', '"click"'));
  test('semicolons instead of commas, with what to write', () =>
    refused({ events: table(rows).replaceAll(',', ';') }, 'BAD_DELIMITER', '"delimiter": ";"'));
  test.each([
    ['Latin-1 in a small file', 100, 'latin1', 'café'],
    ['Latin-1 far down a large file', 200_000, 'latin1', 'café'],
  ] as const)('%s, with the line and the byte', (_, many, encoding, word) => {
    const lines = Array.from({ length: many }, (_, i) => `u${i % 7},s${i % 5},${i % 3 ? 0 : 1},${i}`);
    const at = many - 10;
    lines[at] = `${word},s1,0,1`;
    const text = table(lines);
    const byte = Buffer.byteLength(text.slice(0, text.indexOf('é')), 'latin1') + 1;
    return refused({ events: Buffer.from(text, encoding) }, 'BAD_ENCODING', `line ${at + 2}, byte ${byte}`);
  });
  test('UTF-16', () =>
    refused({ events: Buffer.from(`\ufeff${table(rows)}`, 'utf16le') }, 'BAD_ENCODING', 'UTF-16', 'iconv'));
  test('a binary file that is called .csv', () =>
    refused(
      { events: Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) % 256)) },
      'NOT_TEXT',
      'is not text',
    ));
  test('a Parquet file that is called .csv', () =>
    refused({ events: Buffer.concat([Buffer.from('PAR1'), Buffer.alloc(2000, 7)]) }, 'NOT_TEXT', 'Parquet'));
  test('a label among the features', () =>
    refused(
      { schema: { features: { categorical: [{ name: 'seen', value: 'events.click' }] } } },
      'SCHEMA_INVALID',
      '"seen"',
      'labels.click',
    ));
  test('a copy of a label among the features', () =>
    refused(
      {
        schema: { features: { categorical: [{ name: 'seen', value: 'events.seen' }] } },
        events: table(rows.map((row) => `${row},${row.split(',')[2] === '1' ? 'yes' : 'no'}`)).replace(
          'price',
          'price,seen',
        ),
      },
      'LABEL_LEAK',
      '"seen"',
    ));
  test('a table of POIs that the events do not name', () =>
    refused(
      { schema: { tables: { events: 'events.csv', pois: { path: 'events.csv', key: 'price' } } } },
      'KEYS_DISJOINT',
      '"price"',
    ));
  test('a zero byte in a value, by its row', () =>
    refused({ events: table(rows.with(8, 'u1,s\0,0,1')) }, 'BAD_VALUE', 'events.csv', 'row 9', '"shop"', 'zero byte'));
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
    { args: ['train', '--data', 'x', '--out', 'y', '--model', 'ple', '--device', 'tpu'] },
    { args: ['pretrain', '--data', 'x', '--out', 'y', '--config', 'nowhere.json'] },
    { args: ['prepare', '--schema', 'x', '--out', 'y', '--memory', 'lots'] },
    { args: ['world', '--out', 'x', '--device', 'cuda'] },
    // Options that would mean nothing to a command are none of it.
    { args: ['doctor', '--device', 'cpu'] },
    { args: ['serve', '--bundle', 'x', '--seed', '1'] },
    { args: ['export', '--run', 'x', '--data', 'y', '--out', 'z', '--config', 'c.json'] },
    { args: ['evaluate', '--run', 'x', '--data', 'y', '--seed', '1'] },
    { args: ['evaluate', '--run', 'x', '--data', 'y', '--split', 'random'] },
    { args: ['init', '--events', 'x', '--device', 'cpu'] },
  ])('$args', async ({ args }) => {
    const { code, stdout, stderr } = await larr(...args);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).not.toBe('');
  });
});

test.each(['pretrain', 'finetune', 'embed', 'train', 'compare', 'demo'])(
  '%s refuses an --out that another process is writing, by its number',
  async (command) => {
    const folder = temporaryDirectory();
    const lock = lockDirectory(folder, 'the directory');
    const needed = { demo: [], pretrain: ['--data', 'x'], train: ['--data', 'x', '--model', 'ple'] }[command];
    const args = needed ?? ['--data', 'x', ...(command === 'compare' ? [] : ['--model', 'y'])];
    const { code, stderr } = await larr(command, ...args, '--out', folder);
    lock.release();
    expect(code).toBe(2);
    expect(stderr).toMatch(new RegExp(`${folder} is in use by process ${process.pid} of LARR since.*IN_USE`));
    expect(readdirSync(folder)).toEqual([]);
  },
);

test.each([
  ['UNKNOWN_COMMAND', ['no-such-command']],
  ['UNKNOWN_OPTION', ['doctor', '--colour']],
  ['MISSING_MANDATORY_OPTION_VALUE', ['world']],
  ['INVALID_ARGUMENT', ['world', '--out', 'x', '--seed', 'x']],
])('with --json, wrong usage is a document too: %s', async (code, args) => {
  const ended = await larr(...args, '--json');
  expect(ended.code).toBe(2);
  expect(JSON.parse(ended.stdout)).toEqual({ error: { code, message: expect.stringMatching(/\w/) } });
  expect(ended.stderr).not.toBe('');
});

describe('an output that cannot be a directory is wrong usage, told before any work', () => {
  const folder = temporaryDirectory();
  writeFileSync(join(folder, 'file'), 'mine');
  const commands = {
    world: ['--scale', 'small'],
    import: ['frappe', '--in', folder],
    prepare: ['--schema', 'schema.json'],
    pretrain: ['--data', folder],
    finetune: ['--data', folder, '--model', folder],
    embed: ['--data', folder, '--model', folder],
    train: ['--data', folder, '--model', 'ple'],
    compare: ['--data', folder, '--models', 'ple'],
    export: ['--run', folder, '--data', folder],
    demo: [],
  };
  test.each(Object.entries(commands))('%s', async (command, args) => {
    for (const [out, named] of [
      [join(folder, 'file'), 'is a file'],
      [join(folder, 'file', 'below', 'it'), `${join(folder, 'file')} is a file`],
    ] as const) {
      const { code, stdout, stderr } = await larr(command, ...args, '--out', out, '--json');
      expect([code, JSON.parse(stdout).error.code]).toEqual([2, 'OUT_NOT_A_DIRECTORY']);
      expect(stderr).toContain(named);
      expect(stderr).not.toContain('    at ');
      expect(readFileSync(join(folder, 'file'), 'utf8')).toBe('mine');
    }
  });
  test('init, whose output is a file', async () => {
    const below = await larr('init', '--events', 'x.csv', '--out', join(folder, 'file', 'schema.json'), '--json');
    expect([below.code, JSON.parse(below.stdout).error.code]).toEqual([2, 'OUT_NOT_A_DIRECTORY']);
    const place = await larr('init', '--events', 'x.csv', '--out', folder, '--json');
    expect([place.code, JSON.parse(place.stdout).error.code]).toEqual([2, 'OUT_NOT_A_FILE']);
  });
});

describe('a configuration that is wrong', () => {
  const folder = temporaryDirectory();
  const file = join(folder, 'config.json');
  const wrong = {
    train: { batchsize: 1, epochs: -1, larr: { heads: 'many' } },
    pretrain: { tokens: 1.5 },
    finetun: {},
    prepare: { memoryLimit: 'lots' },
  };
  writeFileSync(file, JSON.stringify(wrong));
  test.each([
    ['train', ['--data', folder, '--model', 'ple']],
    ['compare', ['--data', folder, '--models', 'ple']],
    ['pretrain', ['--data', folder]],
    ['finetune', ['--data', folder, '--model', folder]],
    ['embed', ['--data', folder, '--model', folder]],
    ['world', []],
    ['import', ['frappe', '--in', folder]],
  ])('is wrong usage of %s, told with all that is wrong', async (command, args) => {
    const out = join(folder, 'out');
    const { code, stdout } = await larr(command, ...args, '--out', out, '--config', file, '--json');
    const { error } = JSON.parse(stdout);
    expect([code, error.code]).toEqual([2, 'CONFIG_INVALID']);
    for (const problem of [
      'train: there is no setting "batchsize" here. Did you mean "batchSize"?',
      /train\.epochs: .*-1/,
      'train.larr.heads: "many" is not a number.',
      'pretrain.tokens: 1.5 is not a whole number.',
      'there is no setting "finetun" here. Did you mean "finetune"?',
      'prepare.memoryLimit: ',
    ])
      expect(error.message).toMatch(problem);
    expect(existsSync(out)).toBe(false);
  });

  test('settings that do not go together are named', async () => {
    const config = join(temporaryDirectory(), 'config.json');
    const decoder = { hiddenSize: 30, heads: 4, keyValueHeads: 3 };
    writeFileSync(config, JSON.stringify({ pretrain: { decoder }, finetune: { batchSize: 1 } }));
    const { code, stdout } = await larr('pretrain', '--data', 'x', '--out', 'y', '--config', config, '--json');
    const { error } = JSON.parse(stdout);
    expect([code, error.code]).toEqual([2, 'CONFIG_INVALID']);
    expect(error.message).toMatch(/pretrain\.decoder\.hiddenSize: .*hiddenSize 30 .*heads 4/);
    expect(error.message).toMatch(/pretrain\.decoder\.keyValueHeads: .*3 .*heads 4/);
    expect(error.message).toMatch(/finetune\.batchSize: /);
  });

  test('vectors of another width than stage 2 will make are told before stage 1', async () => {
    const { schema, out } = project();
    expect((await larr('prepare', '--schema', schema, '--out', out)).code).toBe(0);
    const config = join(out, '..', 'config.json');
    const run = join(out, '..', 'run');
    for (const [larrSettings, code] of [
      [{ vectorDim: 64 }, 'VECTOR_DIM'],
      [{ heads: 3 }, 'HEADS'],
    ]) {
      writeFileSync(config, JSON.stringify({ train: { larr: larrSettings } }));
      const ended = await larr('train', '--data', out, '--model', 'larr', '--out', run, '--config', config, '--json');
      expect([ended.code, JSON.parse(ended.stdout).error.code]).toEqual([2, code]);
      expect(existsSync(run)).toBe(false);
    }
  });
});

test('prepare says what is true of it when it is stopped, and leaves nothing', async () => {
  const { schema, out } = project({
    schema: {
      tables: {
        events: {
          query: `SELECT 'u' || (i % 1000) AS user, 's' || (i * i % 777) AS shop, (i * 31 % 10 < 3)::INT AS click, sum(i) OVER (ORDER BY i) AS price FROM range(60000000) t(i)`,
        },
      },
    },
  });
  const { child, ended } = start(['prepare', '--schema', schema, '--out', out, '--json']);
  await new Promise<void>((told) => child.stderr!.on('data', (text: string) => text.includes('reading') && told()));
  child.kill('SIGINT');
  const { code, stdout, stderr } = await ended;
  expect(code).toBe(1);
  expect(JSON.parse(stdout).error).toMatchObject({
    code: 'INTERRUPTED',
    message: expect.stringMatching(/starts over/),
  });
  expect(stderr).not.toContain('goes on');
  expect(readdirSync(join(out, '..')).sort()).toEqual(['events.csv', 'schema.json']);
}, 60_000);

test('init names the next step so that it can be pasted', async () => {
  const folder = join(temporaryDirectory(), "Anna's tables");
  mkdirSync(folder);
  writeFileSync(join(folder, 'events.csv'), table(rows).replaceAll(',', ';'));
  const { code, stderr } = await larr(
    'init',
    '--events',
    join(folder, 'events.csv'),
    '--out',
    join(folder, 'schema.json'),
  );
  expect(code).toBe(0);
  const command = /larr (prepare --schema .* --check)/.exec(stderr)![1]!;
  const pasted = spawnSync('sh', ['-c', `"$0" "$1" ${command}`, process.execPath, program], { encoding: 'utf8' });
  expect([pasted.status, pasted.stderr]).toEqual([0, expect.stringContaining('Nothing was written')]);
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
  expect(code).toBe(2);
  expect(JSON.parse(stdout).error.message).toContain(folder);
  expect(existsSync(join(folder, 'run'))).toBe(false);
});

test.each([
  ['DATASET_MISSING', ['train', '--data', 'nowhere', '--model', 'ple', '--out', 'y']],
  ['SPLIT_UNKNOWN', ['train', '--split', 'nowhere', '--model', 'ple', '--out', 'y']],
  ['NO_VECTORS', ['train', '--model', 'larr', '--vectors', 'nowhere', '--out', 'y']],
  ['NOT_TRAINED', ['evaluate', '--run', 'nowhere']],
  ['MISSING_FILE', ['finetune', '--model', 'nowhere', '--out', 'y']],
  ['FILE_MISSING', ['prepare', '--schema', 'nowhere.json', '--check']],
  ['FILE_MISSING', ['init', '--events', 'nowhere.csv', '--out', 'y']],
  ['BUNDLE_MISSING', ['serve', '--bundle', 'nowhere', '--port', '0']],
])('what a command names and is not there is wrong usage, whatever it is: %s, %j', async (code, args) => {
  const { schema, out } = project();
  const needsData = ['train', 'evaluate', 'finetune'].includes(args[0]!) && !args.includes('--data');
  if (needsData) expect((await larr('prepare', '--schema', schema, '--out', out)).code).toBe(0);
  const there = args.map((arg) =>
    /^(nowhere(\.\w+)?|y)$/.test(arg) && args[1] !== '--split' ? join(out, '..', arg) : arg,
  );
  const ended = await larr(...there, ...(needsData ? ['--data', out] : []), '--json');
  expect([ended.code, JSON.parse(ended.stdout).error.code]).toEqual([2, code]);
  expect(ended.stderr).not.toContain('    at ');
  // One line says it, once.
  expect(ended.stderr.split(code)).toHaveLength(2);
});
