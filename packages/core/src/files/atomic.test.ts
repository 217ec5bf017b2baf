import { mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildDirectoryAtomic, writeFileAtomic } from '../index.js';
import { mustNotHold } from './output-directory.js';

const folder = () => mkdtemp(join(tmpdir(), 'larr-atomic-'));

test('a directory is replaced only when its build succeeds', async () => {
  const parent = await folder();
  const target = join(parent, 'data');
  const mark = (d: string) => writeFile(join(d, 'dataset.json'), '{"format": "larr-dataset"}');
  await buildDirectoryAtomic(target, async (d) => {
    await mark(d);
    await writeFile(join(d, 'a'), 'one');
  });
  await expect(
    buildDirectoryAtomic(target, async (d) => {
      await writeFile(join(d, 'a'), 'two');
      throw new Error('stop');
    }),
  ).rejects.toThrow('stop');
  expect(await readFile(join(target, 'a'), 'utf8')).toBe('one');
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
  await writeFile(join(parent, '.data.retired-4194999-abc123', 'a'), 'kept');
  await writeFile(join(parent, '.data.retired-4194999-abc123', 'dataset.json'), '{"format": "larr-dataset"}');
  await expect(
    buildDirectoryAtomic(join(parent, 'data'), async () => {
      throw new Error('stop');
    }),
  ).rejects.toThrow('stop');
  expect(await readdir(parent)).toEqual(['data']);
  expect(await readFile(join(parent, 'data', 'a'), 'utf8')).toBe('kept');
});

test('a file is written whole, with its folder, and leaves no temporary file', async () => {
  const parent = await folder();
  await writeFileAtomic(join(parent, 'deep', 'x.json'), '{}');
  expect(await readdir(join(parent, 'deep'))).toEqual(['x.json']);
});
