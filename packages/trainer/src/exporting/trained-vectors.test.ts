import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryDirectory } from '../../test/synthetic-data.js';
import { vectorsDigest } from '../training/vectors-digest.js';
import { trainedVectors } from './trained-vectors.js';

test('recall takes the vectors that the model was trained with, and no others that lie there now', async () => {
  const run = temporaryDirectory();
  const vectors = temporaryDirectory();
  const said: string[] = [];
  const taken = () => trainedVectors(run, (line) => said.push(line));
  expect(await taken()).toBeNull(); // no record
  writeFileSync(join(vectors, 'pois.safetensors'), 'first');
  writeFileSync(join(vectors, 'vectors.json'), '{}');
  const sha256 = await vectorsDigest(vectors);
  writeFileSync(join(run, 'run.json'), JSON.stringify({ inputs: { vectors: { path: vectors, sha256 } } }));
  expect(await taken()).toBe(vectors);
  expect(said).toEqual([]);
  writeFileSync(join(vectors, 'pois.safetensors'), 'second');
  expect(await taken()).toBeNull();
  expect(said.at(-1)).toMatch(/not those that the model was trained with.*--vectors/);
  rmSync(join(vectors, 'vectors.json'));
  expect(await taken()).toBeNull();
  expect(said.at(-1)).toMatch(/gone/);
});
