import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { buildDirectoryAtomic, writeFileAtomic } from '../index.js';

const folder = () => mkdtemp(join(tmpdir(), 'larr-atomic-'));

test('a directory is replaced only when its build succeeds', async () => {
  const parent = await folder();
  const target = join(parent, 'data');
  await buildDirectoryAtomic(target, (d) => writeFile(join(d, 'a'), 'one'));
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

test('what a killed run left behind is removed, and its retired original put back', async () => {
  const parent = await folder();
  // No process has this number.
  await mkdir(join(parent, '.data.building-4194999-abc123'));
  await mkdir(join(parent, '.data.retired-4194999-abc123'));
  await writeFile(join(parent, '.data.retired-4194999-abc123', 'a'), 'kept');
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
