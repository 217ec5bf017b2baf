import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type SplitManifest, writeSafetensors } from '@larr/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ModelInputs } from '../models/inputs.js';
import { loadSemanticVectors } from './semantic-vectors.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'larr-semantic-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const texts = ['rain', 'snow'];
const split = { scene: [{ field: 'weather', token: 'weather', texts: ['', ...texts] }] } as unknown as SplitManifest;

async function load(scene: number[], pois: number[]) {
  const table = (data: number[]) => ({ embeddings: { shape: [data.length / 2, 2], data: Float32Array.from(data) } });
  writeFileSync(join(directory, 'scene.json'), JSON.stringify(texts.map((text) => ({ field: 'weather', text }))));
  await writeSafetensors(join(directory, 'scene.safetensors'), table(scene));
  await writeSafetensors(join(directory, 'pois.safetensors'), table(pois));
  return loadSemanticVectors(directory, split, { pois: 3 } as ModelInputs);
}

it('vectors that are no numbers are refused, by the text that has one', async () => {
  const whole = await load([1, 2, 3, 4], [1, 2, 3, 4, 5, 6]);
  expect([...whole.scene.toFloat32Array()]).toEqual([0, 0, 1, 2, 3, 4]);
  whole.scene.dispose();
  whole.pois.dispose();
  await expect(load([1, 2, 3, Number.NaN], [1, 2, 3, 4, 5, 6])).rejects.toMatchObject({
    code: 'VECTORS_NOT_FINITE',
    message: expect.stringMatching(/scene text "snow"/),
  });
  await expect(load([1, 2, 3, 4], [1, 2, Number.POSITIVE_INFINITY, 4, 5, 6])).rejects.toThrow(/POI number 1 holds/);
});
