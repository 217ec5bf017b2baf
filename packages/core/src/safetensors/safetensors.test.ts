import { mkdtemp, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DataError, encodeSafetensors, readSafetensors, tensorPlaces, writeSafetensors } from '../index.js';

const folder = () => mkdtemp(join(tmpdir(), 'larr-safetensors-'));

// Made with the Python package: safetensors.numpy.save({"a": np.arange(6, dtype=np.float32).reshape(2, 3),
// "b": np.array([-1, 2], dtype=np.int64)}, metadata={"k": "v"}).hex()
const fromPython =
  '90000000000000007b225f5f6d657461646174615f5f223a7b226b223a2276227d2c2262223a7b226474797065223a22493634222c227368617065223a5b325d2c22646174615f6f666673657473223a5b302c31365d7d2c2261223a7b226474797065223a22463332222c227368617065223a5b322c335d2c22646174615f6f666673657473223a5b31362c34305d7d7d20202020202020ffffffffffffffff0200000000000000000000000000803f0000004000004040000080400000a040';

test('a file of the Python package is read', async () => {
  const path = join(await folder(), 'python.safetensors');
  await writeFile(path, Buffer.from(fromPython, 'hex'));
  const { tensors, metadata } = await readSafetensors(path);
  expect(metadata).toEqual({ k: 'v' });
  expect(tensors.a).toEqual({ dtype: 'F32', shape: [2, 3], data: Float32Array.of(0, 1, 2, 3, 4, 5) });
  expect(tensors.b).toEqual({ dtype: 'I64', shape: [2], data: BigInt64Array.of(-1n, 2n) });
});

test('what is written is read back, in the same bytes each time, with tensors aligned', async () => {
  const directory = await folder();
  const path = join(directory, 'x.safetensors');
  const tensors = {
    odd: { shape: [3], data: Uint8Array.of(1, 0, 1), dtype: 'BOOL' as const },
    half: { shape: [1, 2], data: Uint16Array.of(0x3f80, 0x4000), dtype: 'BF16' as const },
    wide: { shape: [], data: Float64Array.of(Math.PI) },
    empty: { shape: [0, 4], data: new Float32Array() },
  };
  await writeSafetensors(path, tensors, { note: 'é' });
  const read = await readSafetensors(path);
  expect(read.metadata).toEqual({ note: 'é' });
  expect(read.tensors.wide!.data).toEqual(Float64Array.of(Math.PI));
  expect(read.tensors.half).toEqual({ dtype: 'BF16', shape: [1, 2], data: Uint16Array.of(0x3f80, 0x4000) });
  expect(read.tensors.odd!.data).toEqual(Uint8Array.of(1, 0, 1));
  expect(read.tensors.empty!.shape).toEqual([0, 4]);
  expect(await readdir(directory)).toEqual(['x.safetensors']);
});

test('a file that is cut off or not one is refused with its name', async () => {
  const path = join(await folder(), 'cut.safetensors');
  await writeSafetensors(path, { a: { shape: [100], data: new Float32Array(100) } });
  await truncate(path, 200);
  await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'SAFETENSORS_CORRUPT', file: path });
  await writeFile(path, 'not a tensor file at all');
  await expect(readSafetensors(path)).rejects.toThrow(DataError);
  await expect(readSafetensors(`${path}.none`)).rejects.toMatchObject({ code: 'FILE_MISSING' });
});

test('the places of tensors are where a reader of the bytes finds them, and a header that points elsewhere is refused', async () => {
  const path = join(await folder(), 'places.safetensors');
  await writeSafetensors(path, {
    table: { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
    ids: { shape: [3], data: BigInt64Array.of(7n, 8n, 9n) },
  });
  const { table, ids } = await tensorPlaces(path);
  const bytes = await readFile(path);
  expect(table).toMatchObject({ dtype: 'F32', shape: [2, 2], bytes: 16 });
  expect([0, 1, 2, 3].map((i) => bytes.readFloatLE(table!.byteOffset + 4 * i))).toEqual([1, 2, 3, 4]);
  expect(bytes.readBigInt64LE(ids!.byteOffset + 16)).toBe(9n);

  const header = (entry: object) => {
    const json = Buffer.from(JSON.stringify({ t: entry }));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(json.length));
    return Buffer.concat([length, json, Buffer.alloc(16)]);
  };
  for (const entry of [
    { dtype: 'F32', shape: [8], data_offsets: [0, 32] },
    { dtype: 'F32', shape: [8], data_offsets: [0, 16] },
    { dtype: 'F32', shape: [-1, -4], data_offsets: [0, 16] },
    { dtype: 'F32', shape: [4], data_offsets: [-16, 0] },
    { dtype: 'F32', shape: [4] },
    { dtype: 'F3', shape: [4], data_offsets: [0, 16] },
  ]) {
    await writeFile(path, header(entry));
    await expect(tensorPlaces(path)).rejects.toMatchObject({ code: 'SAFETENSORS_CORRUPT', file: path });
    await expect(readSafetensors(path)).rejects.toMatchObject({ code: 'SAFETENSORS_CORRUPT' });
  }
});

test('a shape that does not fit its data is refused', async () => {
  await expect(
    writeSafetensors(join(await folder(), 'a'), { a: { shape: [2, 2], data: new Float32Array(3) } }),
  ).rejects.toThrow(/shape \[2,2\]/);
});

test('what is written is the bytes of the encoded file, and no copy of the tensors is made for it', async () => {
  const path = join(await folder(), 'large.safetensors');
  const data = Float32Array.from({ length: 12_000_000 }, (_, i) => i);
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }, 1);
  await writeSafetensors(path, { data: { shape: [data.length], data } });
  clearInterval(watch);
  expect(most).toBeGreaterThanOrEqual(0);
  expect(most).toBeLessThan(8 << 20);
  expect(Buffer.compare(await readFile(path), encodeSafetensors({ data: { shape: [data.length], data } }))).toBe(0);
});
