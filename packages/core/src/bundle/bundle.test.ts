import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { BundleError, openBundle, writeBundle } from '../index.js';

let parent: string;
let directory: string;
const about = {
  versions: { node: '20' },
  name: 'test',
  model: { name: 'ple', tasks: ['click'] as ['click'] },
  dataset: { name: 'frappe', split: 'random', schemaDigest: '0' },
  metrics: { ctrAuc: 0.9 },
  inputs: {},
  parity: { rows: 0, tolerance: { absolute: 1e-6, relative: 1e-4 } },
};
const files = { 'schema.json': '{"a": 1}', 'store/users.parquet': Uint8Array.of(1, 2, 3) };

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'larr-bundle-'));
  directory = join(parent, 'bundle');
  await writeBundle(directory, files, about);
});
const code = async () => {
  const error = await openBundle(directory).then(
    () => undefined,
    (e) => e,
  );
  expect(error).toBeInstanceOf(BundleError);
  return (error as BundleError).code;
};

test('a bundle opens with what was written', async () => {
  const bundle = await openBundle(directory);
  expect(bundle.manifest.model).toEqual(about.model);
  expect(bundle.manifest.parity).toEqual(about.parity);
  expect(await bundle.json('schema.json')).toEqual({ a: 1 });
  expect(await readFile(bundle.path('store/users.parquet'))).toEqual(Buffer.from([1, 2, 3]));
  expect(() => bundle.path('ranker.onnx')).toThrow(BundleError);
});

test('a missing, a changed, a longer and an extra file are each refused', async () => {
  await rm(join(directory, 'schema.json'));
  expect(await code()).toBe('BUNDLE_FILE_MISSING');
  await writeFile(join(directory, 'schema.json'), '{"a": 2}');
  expect(await code()).toBe('BUNDLE_FILE_CHANGED');
  await writeFile(join(directory, 'schema.json'), '{"a": 1}');
  await openBundle(directory);
  await appendFile(join(directory, 'store/users.parquet'), 'x');
  expect(await code()).toBe('BUNDLE_FILE_CHANGED');
  await writeFile(join(directory, 'store/users.parquet'), Uint8Array.of(1, 2, 3));
  await writeFile(join(directory, 'store/extra'), '');
  expect(await code()).toBe('BUNDLE_FILE_UNKNOWN');
});

test('a manifest that is cut off, of another version, of another kind, or absent is refused', async () => {
  const manifest = join(directory, 'manifest.json');
  const text = await readFile(manifest, 'utf8');
  await writeFile(manifest, text.slice(0, text.length / 2));
  expect(await code()).toBe('BUNDLE_CORRUPT');
  await writeFile(manifest, text.replace('"version": 1', '"version": 2'));
  expect(await code()).toBe('BUNDLE_VERSION');
  await writeFile(manifest, '{"format": "zip"}');
  expect(await code()).toBe('BUNDLE_CORRUPT');
  await rm(manifest);
  expect(await code()).toBe('BUNDLE_MISSING');
});

test('a path that leaves the bundle is refused when writing and when opening', async () => {
  await expect(writeBundle(join(parent, 'b2'), { '../evil': 'x' }, about)).rejects.toMatchObject({
    code: 'BUNDLE_PATH',
  });
  const manifest = join(directory, 'manifest.json');
  await writeFile(manifest, (await readFile(manifest, 'utf8')).replace('"schema.json"', '"../schema.json"'));
  expect(await code()).toBe('BUNDLE_PATH');
});

test('a failed write leaves the old bundle as it was and nothing beside it', async () => {
  await expect(writeBundle(directory, { a: { from: join(parent, 'absent') } }, about)).rejects.toThrow();
  await openBundle(directory);
  expect(await readdir(parent)).toEqual(['bundle']);
});
