import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  arange,
  loadSafetensors,
  memoryStats,
  randn,
  saveSafetensors,
  type Tensor,
  TensorError,
  tensor,
  zeros,
} from './index.js';

const folder = mkdtempSync(path.join(tmpdir(), 'larr-safetensors-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (name: string) => path.join(folder, name);

function writeBytes(name: string, bytes: string): string {
  writeFileSync(file(name), bytes);
  return file(name);
}

/** A file of this header and these bytes. */
function write(name: string, header: unknown, bytes: Uint8Array = new Uint8Array(), headerLength?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  writeFileSync(file(name), Buffer.concat([length, json, bytes]));
  return file(name);
}

const failure = (fn: () => unknown): TensorError => {
  try {
    fn();
  } catch (error) {
    if (error instanceof TensorError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('safetensors', () => {
  it('come back as they were saved: every dtype, scalars, empty tensors, views, metadata', () => {
    const saved: Record<string, Tensor> = {
      f32: randn([3, 4]),
      f64: randn([2], { dtype: 'f64' }),
      bf16: randn([5]).to('bf16'),
      i64: arange(7),
      i32: tensor(new Int32Array([-1, 2])),
      bool: tensor([true, false, true]),
      scalar: tensor([2.5], []),
      empty: zeros([0, 4]),
      transposed: randn([2, 3]).transpose(0, 1),
      'ключ "é"': randn([1]),
    };
    const path = file('all.safetensors');
    saveSafetensors(path, saved, { format: 'pt', note: 'ä\n"' });
    const { tensors, metadata } = loadSafetensors(path);
    expect(metadata).toEqual({ format: 'pt', note: 'ä\n"' });
    expect(Object.keys(tensors).sort()).toEqual(Object.keys(saved).sort());
    for (const [name, t] of Object.entries(saved)) {
      expect([name, tensors[name]!.dtype, tensors[name]!.shape]).toEqual([name, t.dtype, t.shape]);
      expect(tensors[name]!.toArray()).toEqual(t.toArray());
    }
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  it('are mapped: loading takes no memory of its own, and writing to them changes no file', () => {
    const path = file('large.safetensors');
    saveSafetensors(path, { w: zeros([32 << 20]) });
    const before = process.memoryUsage.rss();
    const { tensors } = loadSafetensors(path);
    expect(process.memoryUsage.rss() - before).toBeLessThan(16 << 20);
    expect(memoryStats().bytes).toBeGreaterThanOrEqual(128 << 20);
    tensors.w!.narrow(0, 0, 2).fill_(7);
    expect(tensors.w!.sum().item()).toBe(14);
    expect(loadSafetensors(path).tensors.w!.sum().item()).toBe(0);
  });

  it('outlive the file, and survive its replacement', () => {
    const path = file('replaced.safetensors');
    saveSafetensors(path, { w: tensor([1, 2]) });
    const { tensors } = loadSafetensors(path);
    saveSafetensors(path, { w: tensor([3, 4]) });
    expect([...tensors.w!.toFloat32Array()]).toEqual([1, 2]);
    rmSync(path);
    expect([...tensors.w!.toFloat32Array()]).toEqual([1, 2]);
  });

  it('convert floating tensors on request, and leave whole numbers', () => {
    const path = file('convert.safetensors');
    saveSafetensors(path, { w: tensor([1.5]), i: arange(2) });
    const { tensors } = loadSafetensors(path, { dtype: 'bf16' });
    expect([tensors.w!.dtype, tensors.i!.dtype]).toEqual(['bf16', 'i64']);
  });

  it('read f16 as f32, and data at odd places', () => {
    const header = {
      a: { dtype: 'BOOL', shape: [1], data_offsets: [0, 1] },
      h: { dtype: 'F16', shape: [2], data_offsets: [1, 5] },
    };
    const { tensors } = loadSafetensors(write('odd.safetensors', header, new Uint8Array([1, 0x00, 0x3c, 0x00, 0xc0])));
    expect(tensors.h!.dtype).toBe('f32');
    expect([...tensors.h!.toFloat32Array()]).toEqual([1, -2]);
  });

  it('are laid out as the format says, so that others can read them', () => {
    const path = file('layout.safetensors');
    saveSafetensors(path, { b: tensor([1]), a: tensor([true]), c: arange(1) });
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE());
    expect((8 + length) % 8).toBe(0);
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString()) as Record<string, { data_offsets: number[] }>;
    expect([header.c!.data_offsets, header.b!.data_offsets, header.a!.data_offsets]).toEqual([
      [0, 8],
      [8, 12],
      [12, 13],
    ]);
    expect(bytes.length).toBe(8 + length + 13);
  });
});

describe('a damaged safetensors file', () => {
  const f32 = (from: number, to: number, shape = [(to - from) / 4]) => ({
    dtype: 'F32',
    shape,
    data_offsets: [from, to],
  });
  const eight = new Uint8Array(8);
  it.each<[string, () => string, RegExp]>([
    ['shorter than its first number', () => writeBytes('x', 'abc'), /3 bytes, fewer than the 8/],
    ['of a header length beyond the file', () => write('x', {}, eight, 1000n), /length is 1000, but only 10 bytes/],
    ['of an absurd header length', () => write('x', {}, eight, 2n ** 63n), /more than any header has/],
    ['of a header that is no JSON', () => write('x', '{"a":', eight), /no JSON/],
    ['of a header that is no object', () => write('x', '[1]', eight), /no object/],
    ['of tensors that overlap', () => write('x', { a: f32(0, 8), b: f32(4, 8) }, eight), /'b' overlaps/],
    ['of a hole between tensors', () => write('x', { a: f32(0, 0, [0]), b: f32(4, 8) }, eight), /4 bytes before 'b'/],
    ['cut short', () => write('x', { a: f32(0, 16) }, eight), /cut short/],
    ['with bytes left over', () => write('x', { a: f32(0, 4) }, eight), /4 bytes at its end/],
    [
      'of a shape that does not fit its offsets',
      () => write('x', { a: f32(0, 8, [3]) }, eight),
      /12 bytes, but its offsets hold 8/,
    ],
    ['of a negative size', () => write('x', { a: f32(0, 8, [-1, -2]) }, eight), /no valid shape/],
    ['of an overflowing shape', () => write('x', { a: f32(0, 8, [2 ** 40, 2 ** 40]) }, eight), /offsets hold 8/],
    [
      'of offsets that are none',
      () => write('x', { a: { ...f32(0, 8), data_offsets: [0] } }, eight),
      /no valid data_offsets/,
    ],
    [
      'of an unknown dtype',
      () => write('x', { a: { ...f32(0, 8), dtype: 'F8_E4M3' } }, eight),
      /F8_E4M3, which is not supported/,
    ],
    ['of metadata that are no text', () => write('x', { __metadata__: { a: 1 } }), /metadata's 'a' is no text/],
    ['that is not there', () => file('absent'), /cannot open/],
  ])('%s is refused, saying so', (_, make, message) => {
    const path = make();
    const error = failure(() => loadSafetensors(path));
    expect(error.code).toBe(/not supported/.test(String(message)) ? 'TENSOR_DTYPE' : 'TENSOR_FILE');
    expect(error.message).toMatch(message);
    expect(error.message).toContain(path === file('absent') ? 'absent' : '');
  });

  it('is never left behind by a failing save', () => {
    const gone = randn([2]);
    gone.dispose();
    expect(() => saveSafetensors(file('half.safetensors'), { gone })).toThrow(TensorError);
    const failed = failure(() => saveSafetensors(file('no/such/folder/x'), { a: randn([2]), b: randn([3]) }));
    expect(failed.code).toBe('TENSOR_FILE');
    expect(failed.message).toMatch(
      /^saveSafetensors: cannot \w+ \S+\/folder\/x: No such file or directory\. What was there before is as it was; .* elsewhere/,
    );
    expect(readdirSync(folder).filter((name) => name.includes('half') || name.endsWith('.tmp'))).toEqual([]);
  });
});
