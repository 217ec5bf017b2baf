import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Dataset, openDataset } from '@larr/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { requireRoomForFile, requireRoomForTexts } from './heap-room.js';

let directory: string;
let dataset: Dataset;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-room-'));
  await makeToyDataset(join(directory, 'data'));
  dataset = await openDataset(join(directory, 'data'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('texts that the heap cannot hold', () => {
  it('are refused before they are read, with what they take and how to make room', async () => {
    await requireRoomForTexts('finetune', dataset, ['pois', 'users']);
    await requireRoomForTexts('pretrain', dataset, ['pois'], 90_000);
    await expect(requireRoomForTexts('pretrain', dataset, ['pois'], 30_000)).rejects.toMatchObject({
      code: 'TOO_MANY_TEXTS',
      message: expect.stringMatching(/90 pois in .*data takes some .* GiB .*--max-old-space-size=1 /),
    });
    // Stage 2 holds a POI's texts as tokens too.
    await expect(requireRoomForTexts('finetune', dataset, ['pois'], 90_000)).rejects.toThrow('90 pois');
    const path = join(directory, 'data', 'corpus', 'dishes.jsonl');
    requireRoomForFile(path);
    expect(() => requireRoomForFile(path, 100)).toThrow(/dishes\.jsonl takes some/);
    requireRoomForFile(join(directory, 'none.jsonl'), 100);
  });

  it('are more than one directory of vectors has room for', async () => {
    const many = { ...dataset, manifest: { ...dataset.manifest, pois: 17_000_000 } };
    await expect(requireRoomForTexts('embed', many, ['pois'])).rejects.toMatchObject({
      code: 'TOO_MANY_TEXTS',
      message: expect.stringMatching(/17,000,000 pois: at most 16,000,000/),
    });
  });
});
