import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  arange,
  cat,
  cudaAvailable,
  embedding,
  eye,
  full,
  getNumThreads,
  getRngState,
  init,
  manualSeed,
  ones,
  onesLike,
  rand,
  randint,
  randn,
  randnLike,
  randperm,
  scalar,
  setNumThreads,
  setRngState,
  Tensor,
  TensorError,
  tensor,
  tidy,
  versions,
  zeros,
  zerosLike,
} from './index.js';

const thrown = (fn: () => unknown): TensorError => {
  try {
    fn();
  } catch (error) {
    if (error instanceof TensorError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

describe('tensors from data', () => {
  it('take the dtype of their typed array and give the same back', () => {
    const arrays = {
      f32: new Float32Array([1.5, -2]),
      f64: new Float64Array([1e-300, 2]),
      i64: new BigInt64Array([2n ** 62n, -1n]),
      i32: new Int32Array([-7, 7]),
      bool: new Uint8Array([1, 0]),
      bf16: new Uint16Array([0x3f80, 0xc000]),
    };
    for (const [dtype, data] of Object.entries(arrays)) {
      const t = tensor(data, [2]);
      expect(t.dtype).toBe(dtype);
      expect(t.toArray()).toEqual(data);
    }
    expect([...tensor(arrays.bf16, [2]).toFloat32Array()]).toEqual([1, -2]);
  });

  it('own their memory: a later write to the array changes nothing', () => {
    const data = new Float32Array([1, 2]);
    const t = tensor(data, [2]);
    data[0] = 9;
    expect([...t.toFloat32Array()]).toEqual([1, 2]);
  });

  it('read a part of a larger buffer', () => {
    expect([...tensor(new Int32Array([1, 2, 3, 4]).subarray(1, 3), [2]).toArray()]).toEqual([2, 3]);
  });

  it('hold whole numbers up to 2⁵³ exactly when given as numbers', () => {
    expect(tensor([2 ** 53 - 1], [1], { dtype: 'i64' }).toArray()).toEqual(new BigInt64Array([2n ** 53n - 1n]));
  });

  it('refuse a shape of another size, telling both', () => {
    const error = thrown(() => tensor([1, 2, 3], [2, 2]));
    expect(error.operator).toBe('fromTypedArray');
    expect(error.message).toMatch(/3 elements.*\[2, 2\].*4/);
  });

  it('convert: i64 + whole number stays i64, + a fraction becomes f32', () => {
    const i = arange(3);
    expect(i.dtype).toBe('i64');
    expect(i.add(2).dtype).toBe('i64');
    expect(i.mul(0.5).dtype).toBe('f32');
    expect(i.div(2).dtype).toBe('f32');
    expect(i.to('bf16').to({ dtype: 'f64', device: 'cpu' }).dtype).toBe('f64');
  });

  it('are made filled, ordered and random', () => {
    expect([...zeros([2]).toFloat32Array(), ...ones([1]).toFloat32Array(), ...full([1], 3).toFloat32Array()]).toEqual([
      0, 0, 1, 3,
    ]);
    expect(scalar(2.5).shape).toEqual([]);
    expect([...arange(1, 6, 2).toArray()].map(Number)).toEqual([1, 3, 5]);
    expect([...arange(0, 1, 0.25).toFloat32Array()]).toEqual([0, 0.25, 0.5, 0.75]);
    expect([...eye(2).toFloat32Array()]).toEqual([1, 0, 0, 1]);
    expect([...randperm(50).toArray()].map(Number).sort((a, b) => a - b)).toEqual([...Array(50).keys()]);
    const drawn = randint(-2, 3, [1000]).toArray();
    expect(new Set([...drawn].map(Number))).toEqual(new Set([-2, -1, 0, 1, 2]));
    const normal = randn([20_000]);
    expect(Math.abs(normal.mean().item())).toBeLessThan(0.05);
    expect(Math.abs(normal.variance().item() - 1)).toBeLessThan(0.05);
    expect(rand([100]).amax().item()).toBeLessThan(1);
    const like = randnLike(zeros([2, 3], { dtype: 'f64' }));
    expect([like.dtype, like.shape, zerosLike(like).sum().item(), onesLike(like).sum().item()]).toEqual([
      'f64',
      [2, 3],
      0,
      6,
    ]);
  });
});

describe('errors', () => {
  it('carry the operator and the shapes', () => {
    const error = thrown(() => randn([2, 3]).matmul(randn([4, 5])));
    expect(error.code).toBe('TENSOR_OPERATOR');
    expect(error.operator).toBe('matmul');
    expect(error.shapes).toEqual([
      [2, 3],
      [4, 5],
    ]);
    expect(error.message).toContain('[2, 3], [4, 5]');
  });

  it('tell the shapes of tensors in a list', () => {
    expect(thrown(() => cat([zeros([2, 3]), zeros([2, 4])], 0)).shapes).toEqual([
      [2, 3],
      [2, 4],
    ]);
  });

  it('name the argument that is wrong', () => {
    const x = zeros([2]);
    // @ts-expect-error: a string is no tensor
    expect(thrown(() => x.add('1')).message).toMatch(/other must be a tensor or a number, not a string/);
    expect(thrown(() => x.sum(0.5)).message).toMatch(/dims must be a whole number/);
    // @ts-expect-error: a list with something else in it
    expect(thrown(() => cat([x, 3])).message).toMatch(/tensors\[1\] must be a tensor/);
    expect(thrown(() => x.to('f16' as 'f32')).message).toMatch(/'f16' is no dtype/);
    // @ts-expect-error: no such reduction
    expect(thrown(() => x.mseLoss(x, { reduction: 'avg' })).message).toMatch(/'none', 'mean' or 'sum'/);
    // @ts-expect-error: not made by `new`
    expect(thrown(() => new Tensor()).message).toMatch(/not by `new`/);
  });

  it('tell a foreign object and a disposed tensor apart', () => {
    const x = zeros([2]);
    const gone = zeros([2]);
    gone.dispose();
    expect(gone.disposed).toBe(true);
    expect(thrown(() => x.add(gone)).code).toBe('TENSOR_DISPOSED');
    expect(thrown(() => gone.shape).code).toBe('TENSOR_DISPOSED');
    expect(thrown(() => gone.add(1)).operator).toBe('add');
    expect(thrown(() => x.add({} as Tensor)).code).toBe('TENSOR_ARGUMENT');
    gone.dispose(); // twice is allowed
  });

  it('tell an index out of range', () => {
    expect(thrown(() => zeros([2, 3]).sum(5)).code).toBe('TENSOR_INDEX');
    expect(thrown(() => embedding(zeros([2, 3]), tensor([7], [1], { dtype: 'i64' }))).operator).toBe('embedding');
  });

  it('tell a lack of memory and go on', () => {
    expect(thrown(() => zeros([2 ** 45])).code).toBe('TENSOR_MEMORY');
    expect(zeros([2]).sum().item()).toBe(0);
  });

  it.skipIf(cudaAvailable())('tell a device that is not there', () => {
    expect(thrown(() => zeros([2], { device: 'cuda' })).code).toBe('TENSOR_DEVICE');
    expect(thrown(() => zeros([2]).to({ device: 'gpu' })).message).toMatch(/'gpu' is no device/);
  });

  it('refuse item() of many elements', () => {
    expect(thrown(() => zeros([2]).item()).message).toMatch(/one element/);
  });
});

describe('autograd', () => {
  it('adds up over backward calls until the gradient is set to null', () => {
    const x = tensor([3], [1], { requiresGrad: true });
    x.square().sum().backward();
    x.square().sum().backward();
    expect(x.grad!.item()).toBe(12);
    x.grad = null;
    expect(x.grad).toBeNull();
    x.grad = tensor([5], [1]);
    expect(x.grad!.item()).toBe(5);
    expect(thrown(() => (x.grad = tensor([1, 2], [2]))).message).toMatch(/shape, dtype and device/);
  });

  it('takes the gradient of a tensor of several elements', () => {
    const x = tensor([1, 2], [2], { requiresGrad: true });
    x.square().backward(tensor([1, 10], [2]));
    expect([...x.grad!.toFloat32Array()]).toEqual([2, 40]);
  });

  it('goes through conversions and sums to a leaf', () => {
    const x = tensor([2], [1], { dtype: 'f64', requiresGrad: true });
    x.to('f32').mul(3).to('f64').sum().backward();
    expect(x.grad!.dtype).toBe('f64');
    expect(x.grad!.item()).toBe(3);
  });

  it('gives embeddings sparse gradients that read as dense ones', () => {
    const table = zeros([3, 2]).requiresGrad_();
    embedding(table, tensor([2, 0, 2], [3], { dtype: 'i32' }), { sparse: true })
      .sum()
      .backward();
    expect(table.grad!.sparse).toBe(true);
    expect([...table.grad!.toFloat32Array()]).toEqual([1, 1, 0, 0, 2, 2]);
  });
});

describe('random numbers', () => {
  it('are the same after the same seed', () => {
    manualSeed(5);
    const first = randn([8]).toFloat32Array();
    manualSeed(5);
    expect(randn([8]).toFloat32Array()).toEqual(first);
    expect(randn([8]).toFloat32Array()).not.toEqual(first);
  });

  it('go on exactly from a saved state, dropout too', () => {
    manualSeed(1);
    randn([3]);
    const state = getRngState();
    const draw = () => [
      ...randn([4]).toFloat32Array(),
      ...ones([64]).dropout(0.5, true).toFloat32Array(),
      ...randperm(9).toArray(),
    ];
    const first = draw();
    setRngState(state);
    expect(draw()).toEqual(first);
    expect(thrown(() => setRngState(new Uint8Array(3))).code).toBe('TENSOR_ARGUMENT');
  });
});

describe('initialisers', () => {
  it('draw within their bounds', () => {
    const w = zeros([64, 32]);
    expect(init.xavierUniform_(w).abs().amax().item()).toBeLessThanOrEqual(Math.sqrt(6 / 96));
    expect(w.abs().amax().item()).toBeGreaterThan(0.9 * Math.sqrt(6 / 96));
    expect(init.kaimingUniform_(w).abs().amax().item()).toBeLessThanOrEqual(Math.sqrt(6 / 32));
    expect(Math.abs(init.normal_(w, 0.02).variance().item() - 0.0004)).toBeLessThan(0.0001);
    expect(init.uniform_(w, 2, 3).amin().item()).toBeGreaterThanOrEqual(2);
    expect(thrown(() => init.xavierUniform_(zeros([3]))).message).toMatch(/fewer than two dims/);
  });

  it('make rows or columns orthonormal', () => {
    for (const shape of [
      [4, 7],
      [7, 4],
    ]) {
      const w = init.orthogonal_(zeros(shape, { dtype: 'f64' }), 2);
      const gram = shape[0]! < shape[1]! ? w.mm(w.transpose(0, 1)) : w.transpose(0, 1).mm(w);
      expect(
        gram
          .sub(eye(4, { dtype: 'f64' }).mul(4))
          .abs()
          .amax()
          .item(),
      ).toBeLessThan(1e-12);
    }
  });

  it('write to leaves that require gradients', () => {
    const w = zeros([2, 2]).requiresGrad_();
    init.normal_(w, 1);
    expect(w.requiresGrad).toBe(true);
  });
});

describe('a tensor as text', () => {
  it('shows dtype, shape and values', () => {
    expect(String(tensor([1, 2.5, -3, 1e10], [2, 2]))).toBe(
      'Tensor f32 [2, 2]\n[[1, 2.5],\n [-3, 1.0000e+10]]'.replace('1.0000e+10', '1e+10'),
    );
    expect(inspect(tensor([true, false]))).toBe('Tensor bool [2]\n[true, false]');
    expect(String(scalar(3, { dtype: 'i64', requiresGrad: false }))).toBe('Tensor i64 []\n3');
    expect(String(ones([1]).requiresGrad_())).toContain('requires grad');
  });

  it('shows the ends alone of a large one, and says so of a disposed one', () => {
    const large = arange(5000);
    expect(String(large)).toBe('Tensor i64 [5000]\n[0, 1, 2, …, 4997, 4998, 4999]');
    large.dispose();
    expect(String(large)).toBe('Tensor (disposed)');
  });
});

describe('this LibTorch', () => {
  it('says what it is', () => {
    expect(versions().libtorch).toMatch(/^2\.\d+\.\d+/);
    expect(versions().cpuCapability).toMatch(/^[A-Z0-9]+/);
    expect(versions().cuda === null).toBe(
      !versions().build.includes('USE_CUDA=1') && !versions().build.includes('USE_CUDA=ON'),
    );
  });

  it('keeps the number of threads', () => {
    const before = getNumThreads();
    setNumThreads(1);
    expect(getNumThreads()).toBe(1);
    setNumThreads(before);
    expect(thrown(() => setNumThreads(0)).code).toBe('TENSOR_ARGUMENT');
  });

  it('is found under tidy too', () => {
    expect(tidy(() => zeros([1]).device)).toBe('cpu');
  });
});
