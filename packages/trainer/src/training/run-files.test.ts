import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveSafetensors, tensor } from '@larr/torch';
import { afterAll, expect, test } from 'vitest';
import { loadCheckpoint } from './checkpoint.js';
import { readRunFile } from './run-files.js';

const root = mkdtempSync(join(tmpdir(), 'larr-run-files-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test.each(['{"model": "pl', '', 'null', '[]'])('a damaged result.json (%j) is named, with what to do', async (text) => {
  const path = join(root, 'result.json');
  writeFileSync(path, text);
  const read = readRunFile(path);
  await expect(read).rejects.toMatchObject({ code: 'RUN_CORRUPT', message: expect.stringContaining(`Remove ${path}`) });
  writeFileSync(path, '{"model": "ple"}');
  expect(await readRunFile(path)).toEqual({ model: 'ple' });
});

test('a checkpoint that was cut short is named, with what to do', () => {
  const path = join(root, 'last.safetensors');
  const t = tensor([1, 2, 3], [3]);
  saveSafetensors(path, { 'model.x': t });
  t.dispose();
  truncateSync(path, 70);
  expect(() => loadCheckpoint(path, 'id', {} as never, null)).toThrow(
    expect.objectContaining({
      code: 'CHECKPOINT_CORRUPT',
      message: expect.stringMatching(/remove .*last\.safetensors: the same command/),
    }),
  );
});
