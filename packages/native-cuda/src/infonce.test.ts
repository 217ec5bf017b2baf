import { expect, test } from 'vitest';
import { type InfoNceOptions, infoNce, infoNceSync, KernelError } from './index.js';
import { randomSource } from './random.fixture.js';

/** The loss by its definition, in float64. */
function lossOf({ q, k, batch, dim, scale, groups }: InfoNceOptions): number {
  const s = (i: number, j: number) => {
    let dot = 0;
    for (let x = 0; x < dim; x++) dot += (q[i * dim + x] as number) * (k[j * dim + x] as number);
    return scale * dot;
  };
  const logSum = (terms: number[]) => {
    const top = Math.max(...terms);
    return top + Math.log(terms.reduce((sum, t) => sum + Math.exp(t - top), 0));
  };
  const all = Array.from({ length: batch }, (_, i) => i);
  let loss = 0;
  for (const i of all) {
    const kept = all.filter((j) => i === j || !groups || groups[i] !== groups[j]);
    loss += logSum(kept.map((j) => s(i, j))) + logSum(kept.map((j) => s(j, i))) - 2 * s(i, i);
  }
  return loss / (2 * batch);
}

function problem(seed: number, batch: number, dim: number, groups?: Int32Array): InfoNceOptions {
  const random = randomSource(seed);
  return { q: random.normals(batch * dim, 0.5), k: random.normals(batch * dim, 0.5), batch, dim, scale: 2, groups };
}

test('the loss is the definition, with and without groups', async () => {
  for (const groups of [undefined, Int32Array.from({ length: 37 }, (_, i) => i % 9), new Int32Array(37).fill(3)]) {
    const p = problem(1, 37, 21, groups);
    const { loss } = await infoNce(p);
    expect(loss).toBeCloseTo(lossOf(p), 6);
    expect((await infoNce({ ...p, dtype: 'bf16' })).loss).toBeCloseTo(lossOf(p), 2);
  }
  // Every negative left out: nothing to learn.
  expect((await infoNce(problem(1, 37, 21, new Int32Array(37)))).loss).toBe(0);
});

test('gradients of q, k and scale are the slopes of the loss', () => {
  const p = problem(2, 9, 5, Int32Array.of(1, 2, 3, 1, 4, 5, 6, 2, 7));
  const { dq, dk, dscale } = infoNceSync(p);
  const h = 1e-3;
  const slope = (set: (delta: number) => void) => {
    set(h);
    const up = lossOf(p);
    set(-2 * h);
    const down = lossOf(p);
    set(h);
    return (up - down) / (2 * h);
  };
  for (const [array, gradient] of [
    [p.q, dq],
    [p.k, dk],
  ] as const) {
    for (let i = 0; i < array.length; i++) {
      const measured = slope((delta) => {
        array[i] = (array[i] as number) + delta;
      });
      expect(Math.abs(measured - ((gradient as Float32Array)[i] as number))).toBeLessThan(2e-5);
    }
  }
  const measured = slope((delta) => {
    p.scale += delta;
  });
  expect(Math.abs(measured - dscale)).toBeLessThan(1e-5);
});

test('promise and sync forms give the same bits, and again the same', async () => {
  const p = problem(3, 300, 64);
  const first = await infoNce(p);
  expect(infoNceSync(p)).toEqual(first);
  expect(await infoNce(p)).toEqual(first);
});

test('without backward there are no gradients and the same loss', async () => {
  const p = problem(4, 65, 16);
  const forward = await infoNce({ ...p, backward: false });
  const both = await infoNce(p);
  expect(forward.dq).toBeNull();
  expect(forward.dk).toBeNull();
  expect(forward.loss).toBe(both.loss);
  expect(forward.lseRow).toEqual(both.lseRow);
});

test('the event loop goes on while a call runs', async () => {
  const p = problem(5, 2048, 128);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  await infoNce(p);
  await infoNce(p);
  clearInterval(timer);
  expect(ticks).toBeGreaterThan(2);
});

test('wrong arrays are refused by name and shape', async () => {
  const good = problem(6, 4, 3);
  const refusal = async (change: object) => {
    const error = await infoNce({ ...good, ...change } as InfoNceOptions).catch((e) => e);
    expect(error).toBeInstanceOf(KernelError);
    return `${error.code}: ${error.message}`;
  };
  expect(await refusal({ q: new Float32Array(11) })).toBe(
    'BAD_SHAPE: q must hold 12 elements, [batch, dim] = [4, 3], got 11',
  );
  expect(await refusal({ k: new Float64Array(12) })).toBe(
    'BAD_ARGUMENT: k must be a Float32Array [batch, dim] = [4, 3], got Float64Array',
  );
  expect(await refusal({ k: [1, 2] })).toContain('got an array');
  expect(await refusal({ q: null })).toContain('got null');
  expect(await refusal({ groups: new Int32Array(3) })).toBe(
    'BAD_SHAPE: groups must hold 4 elements, [batch] = [4], got 3',
  );
  expect(await refusal({ groups: new Uint32Array(4) })).toContain('groups must be a Int32Array');
  for (const batch of [0, 1.5, Number.NaN, 2 ** 31, 4n, '4', undefined])
    expect(await refusal({ batch })).toBe(
      `BAD_ARGUMENT: batch must be a whole number from 1 to 2147483647, got ${batch}`,
    );
  // What no memory holds is refused for the array that is there, not asked for.
  expect(await refusal({ batch: 2 ** 26, dim: 64 })).toBe(
    'BAD_SHAPE: q must hold 4294967296 elements, [batch, dim] = [67108864, 64], got 12',
  );
  expect(await refusal({ groups: null })).toContain('groups must be a Int32Array [batch] = [4], got null');
  expect(await refusal({ scale: Number.POSITIVE_INFINITY })).toContain('scale must be a finite number');
  expect(await refusal({ scale: Number.NaN })).toBe('BAD_ARGUMENT: scale must be a finite number, got NaN');
  expect(await refusal({ dtype: 'f16' })).toBe("BAD_ARGUMENT: dtype must be 'f32' or 'bf16', got f16");
  for (const options of [undefined, null, 7])
    await expect(infoNce(options as unknown as InfoNceOptions)).rejects.toMatchObject({
      code: 'BAD_ARGUMENT',
      message: expect.stringContaining('options must be an object'),
    });
  // A subclass or a property may say what it likes of its length.
  class Boastful extends Float32Array {
    override get length() {
      return 12;
    }
  }
  expect(await refusal({ q: new Boastful(2) })).toBe('BAD_ARGUMENT: q holds 2 elements, needs 12');
  const gone = new Float32Array(12);
  structuredClone(gone.buffer, { transfer: [gone.buffer] });
  expect(await refusal({ q: gone })).toBe(
    'DETACHED: q ([batch, dim] = [4, 3]) is detached: its memory was transferred away',
  );
});

test('arrays of a running call cannot be transferred away from under it', async () => {
  const p = problem(7, 1500, 64);
  const before = Float32Array.from(p.q);
  const running = infoNce(p);
  try {
    structuredClone(p.q.buffer, { transfer: [p.q.buffer as ArrayBuffer] });
  } catch {
    // newer versions of Node refuse aloud; Node 20 copies
  }
  expect(p.q.length).toBe(before.length);
  expect((await running).loss).toBe(infoNceSync({ ...p, q: before }).loss);
});

test('a resizable buffer is refused: its pages could go while a call runs', async () => {
  const p = problem(7, 4, 3);
  const Resizable = ArrayBuffer as unknown as new (bytes: number, options: object) => ArrayBuffer;
  const q = new Float32Array(new Resizable(48, { maxByteLength: 96 }));
  q.set(p.q);
  await expect(infoNce({ ...p, q })).rejects.toMatchObject({
    code: 'BAD_ARGUMENT',
    message: expect.stringContaining('q ([batch, dim] = [4, 3]) lies in a resizable ArrayBuffer'),
  });
});

test('groups may be any int32, and one array both sides', () => {
  const p = problem(10, 4, 3, Int32Array.of(-2147483648, 2147483647, -2147483648, 0));
  expect(infoNceSync(p).loss).toBeCloseTo(lossOf(p), 6);
  const same = { ...p, k: p.q };
  expect(infoNceSync(same).loss).toBeCloseTo(lossOf(same), 6);
});

test('memory of WebAssembly that grows while a call runs stays where it is', async () => {
  const p = problem(11, 1500, 64);
  const module = new WebAssembly.Memory({ initial: 8, maximum: 200 });
  const q = new Float32Array(module.buffer, 0, p.q.length);
  q.set(p.q);
  const running = infoNce({ ...p, q });
  module.grow(100);
  expect((await running).loss).toBe(infoNceSync(p).loss);
});

test('views into shared and offset buffers work', async () => {
  const p = problem(8, 20, 8);
  const shared = new Float32Array(new SharedArrayBuffer(4 * 200), 40, 160);
  shared.set(p.q);
  expect((await infoNce({ ...p, q: shared })).loss).toBe(infoNceSync(p).loss);
});

test('values that are not finite give NaN, not a number that looks right', () => {
  const p = problem(9, 70, 16);
  p.q[5] = Number.POSITIVE_INFINITY;
  const { loss, dq } = infoNceSync(p);
  expect(loss).toBeNaN();
  expect((dq as Float32Array)[0]).toBeNaN();
  // numbers that f32 has none for: a scale, a score
  const { loss: ofScale, dscale } = infoNceSync({ ...problem(9, 70, 16), scale: 1e30 });
  expect([ofScale, dscale]).toEqual([Number.NaN, Number.NaN]);
  expect(infoNceSync({ ...problem(9, 70, 16), scale: 1e28 }).loss).toBeGreaterThan(1e27);
});
