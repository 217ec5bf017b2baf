import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { findLibTorch } from '../scripts/find-libtorch.mjs';
import { versions } from './index.js';

const folder = mkdtempSync(path.join(tmpdir(), 'larr-libtorch-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('finding LibTorch', () => {
  it('finds the one that the addon runs on', () => {
    const found = findLibTorch();
    expect(found?.version).toBe(versions().libtorch);
    expect(found?.cuda).toBe(versions().build.includes('USE_CUDA=ON') || versions().build.includes('USE_CUDA=1'));
  });

  it('takes LIBTORCH before all else', () => {
    const found = findLibTorch();
    symlinkSync(found!.directory, path.join(folder, 'linked'));
    expect(findLibTorch({ root: folder, env: { LIBTORCH: path.join(folder, 'linked') } })?.source).toBe('LIBTORCH');
  });

  it('says what is missing from a directory that is none', () => {
    mkdirSync(path.join(folder, 'empty'));
    expect(() => findLibTorch({ env: { LIBTORCH: path.join(folder, 'empty') } })).toThrow(/ATen\.h is missing/);
  });

  it('answers null where none was fetched', () => {
    expect(findLibTorch({ root: path.join(folder, 'empty'), env: {} })).toBeNull();
  });
});
