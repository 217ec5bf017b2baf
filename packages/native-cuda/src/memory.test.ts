import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { gatherRows, mapFile } from './index.js';

const dir = mkdtempSync(join(tmpdir(), 'larr-map-'));
afterAll(() => rmSync(dir, { recursive: true }));

test('gatherRows copies rows, zeros for -1, and refuses others', () => {
  const table = Float32Array.of(1, 2, 3, 4, 5, 6);
  expect(gatherRows(table, 2, Int32Array.of(2, -1, 0))).toEqual(Float32Array.of(5, 6, 0, 0, 1, 2));
  expect(() => gatherRows(table, 2, Int32Array.of(0, 3))).toThrow('rows[1] = 3 is neither -1 nor a row from 0 to 2');
  expect(() => gatherRows(table, 4, Int32Array.of(0))).toThrow('whole rows of width 4');
  expect(gatherRows(new Float32Array(0), 4, new Int32Array(0))).toEqual(new Float32Array(0));
  for (const gone of [new Float32Array(6), new Int32Array(1)]) {
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    const call = () =>
      gone instanceof Int32Array ? gatherRows(table, 2, gone) : gatherRows(gone, 2, Int32Array.of(-1));
    expect(call).toThrow(expect.objectContaining({ code: 'DETACHED' }));
  }
});

test('a mapped file reads as its bytes, and writing into the map leaves the file alone', async () => {
  const path = join(dir, 'bytes');
  writeFileSync(
    path,
    Uint8Array.from({ length: 10_000 }, (_, i) => i % 251),
  );
  const bytes = new Uint8Array(mapFile(path));
  expect(bytes.length).toBe(10_000);
  expect(bytes[9_999]).toBe(9_999 % 251);
  bytes[0] = 99;
  expect((await readFile(path))[0]).toBe(0);
  writeFileSync(join(dir, 'empty'), '');
  expect(mapFile(join(dir, 'empty')).byteLength).toBe(0);
});

test('what cannot be mapped says which file and why', () => {
  expect(() => mapFile(join(dir, 'missing'))).toThrow(/cannot open .*missing: No such file/);
  expect(() => mapFile(dir)).toThrow(/cannot map/);
});
