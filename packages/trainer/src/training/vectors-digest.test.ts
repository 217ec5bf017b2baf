import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { vectorsDigest } from './vectors-digest.js';

const directory = mkdtempSync(join(tmpdir(), 'larr-digest-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('vectors are told by the bytes of their files', async () => {
  writeFileSync(join(directory, 'scene.json'), '[]');
  writeFileSync(join(directory, 'scene.safetensors'), 'scenes');
  writeFileSync(join(directory, 'pois.safetensors'), 'pois');
  const digest = await vectorsDigest(directory);
  const bytes = 'scene.json[]scene.safetensorsscenespois.safetensorspois';
  expect(digest).toBe(createHash('sha256').update(bytes).digest('hex'));
  writeFileSync(join(directory, 'pois.safetensors'), 'poiz');
  expect(await vectorsDigest(directory)).not.toBe(digest);
});

test('a file beyond 2 GiB, which cannot be read at once, has a digest', async () => {
  // Four million POIs of 128 numbers are as large; this one is a hole that takes no room.
  writeFileSync(join(directory, 'pois.safetensors'), '');
  truncateSync(join(directory, 'pois.safetensors'), 2 ** 31 + 8);
  expect(await vectorsDigest(directory)).toMatch(/^[0-9a-f]{64}$/);
});
