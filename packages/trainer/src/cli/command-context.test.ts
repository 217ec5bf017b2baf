import { mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveSafetensors, tensor } from '@larr/torch';
import { afterEach, expect, test, vi } from 'vitest';
import { fail } from './command-context.js';

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

test('a tensor file that cannot be written is told of by its own name, with what to do, and by no function of ours', () => {
  const folder = mkdtempSync(join(tmpdir(), 'larr-fail-'));
  const path = join(folder, 'gone', 'weights.safetensors');
  let thrown: unknown;
  try {
    saveSafetensors(path, { w: tensor([1]) });
  } catch (error) {
    thrown = error;
  }
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  fail(thrown, false);
  expect(said.mock.calls).toEqual([
    [
      `larr: cannot create ${path}: No such file or directory. What was there before is as it was; make room there, or write elsewhere (another --out) [TENSOR_FILE]\n`,
    ],
  ]);
  expect(process.exitCode).toBe(1);
  expect(readdirSync(folder)).toEqual([]);
});
