import { mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildDirectoryAtomic, writeFileAtomic } from '../index.js';
import { mustBeDirectory, mustBeReplaceable, mustNotHold } from './output-directory.js';

const folder = () => mkdtemp(join(tmpdir(), 'larr-atomic-'));

test('a directory is replaced only when its build succeeds', async () => {
  const parent = await folder();
  const target = join(parent, 'data');
  const mark = (d: string) => writeFile(join(d, 'dataset.json'), '{"format": "larr-dataset"}');
  await buildDirectoryAtomic(target, async (d) => {
    await mark(d);
    await writeFile(join(d, 'schema.json'), 'one');
  });
  await expect(
    buildDirectoryAtomic(target, async (d) => {
      await writeFile(join(d, 'schema.json'), 'two');
      throw new Error('stop');
    }),
  ).rejects.toThrow('stop');
  expect(await readFile(join(target, 'schema.json'), 'utf8')).toBe('one');
  await buildDirectoryAtomic(target, (d) => writeFile(join(d, 'b'), 'three'));
  expect(await readdir(target)).toEqual(['b']);
  expect(await readdir(parent)).toEqual(['data']);
});

test('an empty directory and a bundle are replaced, anything else is refused before any work', async () => {
  const parent = await folder();
  const target = join(parent, 'out');
  await mkdir(target);
  const bundle = (d: string) => writeFile(join(d, 'manifest.json'), '{"format": "larr-bundle"}');
  await buildDirectoryAtomic(target, bundle);
  await buildDirectoryAtomic(target, bundle);
  const strangers = {
    photos: ['holiday.jpg', 'x'],
    'a web app': ['manifest.json', '{"name": "app"}'],
    'no JSON': ['dataset.json', 'larr-dataset'],
  };
  for (const [name, [file, text]] of Object.entries(strangers)) {
    const path = join(parent, name);
    await mkdir(path);
    await writeFile(join(path, file!), text!);
    let worked = false;
    await expect(
      buildDirectoryAtomic(path, async () => {
        worked = true;
      }),
    ).rejects.toMatchObject({ code: 'OUT_NOT_OURS', message: expect.stringContaining(path) });
    expect(worked).toBe(false);
    expect(await readFile(join(path, file!), 'utf8')).toBe(text);
  }
  await writeFile(join(parent, 'file'), 'x');
  for (const path of [join(parent, 'file'), join(parent, 'file', 'below', 'it')])
    await expect(buildDirectoryAtomic(path, bundle)).rejects.toMatchObject({
      code: 'OUT_NOT_A_DIRECTORY',
      message: expect.stringContaining(join(parent, 'file')),
    });
  await symlink(join(parent, 'nowhere'), join(parent, 'dangling'));
  await expect(buildDirectoryAtomic(join(parent, 'dangling'), bundle)).rejects.toMatchObject({
    code: 'OUT_NOT_A_DIRECTORY',
  });
  expect((await readdir(parent)).filter((name) => name.startsWith('.'))).toEqual([]);
});

test('a dataset or bundle with something else in it is not replaced, and that is named', async () => {
  const parent = await folder();
  const write = async (directory: string, files: Record<string, string>) => {
    for (const [file, text] of Object.entries(files)) {
      await mkdir(join(parent, directory, file, '..'), { recursive: true });
      await writeFile(join(parent, directory, file), text);
    }
  };
  await write('data', {
    'dataset.json': '{"format": "larr-dataset"}',
    'schema.json': '{}',
    'tables/events.parquet': '',
    'texts/pois.parquet': '',
    'splits/time/train/part-00000.parquet': '',
    'splits/time/vocabulary/user.json': '[]',
    'splits/time/texts/users.parquet': '',
    'store/pairs.parquet': '',
  });
  await write('bundle', {
    'manifest.json': '{"format": "larr-bundle", "files": {"store/users.parquet": {}}}',
    'store/users.parquet': '',
  });
  await mustBeReplaceable(join(parent, 'data'), 'larr-dataset');
  await mustBeReplaceable(join(parent, 'bundle'), 'larr-bundle');
  await write('data', { 'run1/model.safetensors': 'x', 'splits/time/notes.txt': 'x', 'texts/users/a.txt': 'x' });
  await write('bundle', { 'serve.log': 'x', 'store/more.parquet': 'x' });
  for (const [directory, foreign] of [
    ['data', 'run1/, splits/time/notes.txt, texts/users/.'],
    ['bundle', 'serve.log, store/more.parquet.'],
  ] as const)
    await expect(buildDirectoryAtomic(join(parent, directory), async () => {})).rejects.toMatchObject({
      code: 'OUT_NOT_OURS',
      message: expect.stringContaining(foreign),
    });
  expect(await readFile(join(parent, 'data', 'run1', 'model.safetensors'), 'utf8')).toBe('x');
});

test('no output lies in a dataset or bundle, through links neither', async () => {
  const parent = await folder();
  for (const [directory, file, format] of [
    ['data', 'dataset.json', 'larr-dataset'],
    ['bundle', 'manifest.json', 'larr-bundle'],
  ] as const) {
    const out = join(parent, directory);
    await mkdir(out);
    await writeFile(join(out, file), JSON.stringify({ format }));
    await symlink(out, join(parent, `to-${directory}`));
    for (const inside of [join(out, 'run1'), join(out, 'a', 'b'), join(parent, `to-${directory}`, 'run1')])
      await expect(mustBeDirectory(inside)).rejects.toMatchObject({ code: 'OUT_INSIDE' });
    await mustBeDirectory(out);
    await mustBeDirectory(`${out}-run1`);
  }
});

test('an output that holds an input is refused, through links and patterns too', async () => {
  const parent = await folder();
  await mkdir(join(parent, 'data', 'tables'), { recursive: true });
  await symlink(join(parent, 'data'), join(parent, 'link'));
  const out = join(parent, 'data');
  for (const input of ['data/tables/events.csv', 'data', 'link/tables/*.csv', 'data/none/x.csv'])
    await expect(mustNotHold(out, [join(parent, input)])).rejects.toMatchObject({ code: 'OUT_HOLDS_INPUT' });
  await mustNotHold(join(out, 'out'), [join(out, 'tables'), join(out, '*.csv'), join(parent, 'data2')]);
});

test('what a killed run left behind is removed, and its retired original put back', async () => {
  const parent = await folder();
  // No process has this number.
  await mkdir(join(parent, '.data.building-4194999-abc123'));
  await mkdir(join(parent, '.data.retired-4194999-abc123'));
  await writeFile(join(parent, '.data.retired-4194999-abc123', 'schema.json'), 'kept');
  await writeFile(join(parent, '.data.retired-4194999-abc123', 'dataset.json'), '{"format": "larr-dataset"}');
  await expect(
    buildDirectoryAtomic(join(parent, 'data'), async () => {
      throw new Error('stop');
    }),
  ).rejects.toThrow('stop');
  expect(await readdir(parent)).toEqual(['data']);
  expect(await readFile(join(parent, 'data', 'schema.json'), 'utf8')).toBe('kept');
});

test('a file is written whole, with its folder, and leaves no temporary file', async () => {
  const parent = await folder();
  await writeFileAtomic(join(parent, 'deep', 'x.json'), '{}');
  expect(await readdir(join(parent, 'deep'))).toEqual(['x.json']);
});
