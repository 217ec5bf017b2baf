import { describe, expect, it } from 'vitest';
import {
  autocast,
  blockLinear,
  type DType,
  groupedLinear,
  manualSeed,
  mixExperts,
  randn,
  type Tensor,
  tidy,
} from './index.js';

/** Loss and gradients of a function of some tensors, against weights that tell every element of its result apart. */
function gradients(inputs: Tensor[], of: (...given: Tensor[]) => Tensor): { value: number[]; grads: number[][] } {
  return tidy(() => {
    const leaves = inputs.map((t) => t.detach().clone().requiresGrad_());
    const y = of(...leaves);
    const weight = tidy(() => {
      manualSeed(5);
      return randn(y.shape).to(y.dtype);
    });
    y.mul(weight).sum().backward();
    return {
      value: Array.from(y.to('f64').toArray() as Float64Array),
      grads: leaves.map((leaf) => Array.from(leaf.grad!.to('f64').toArray() as Float64Array)),
    };
  });
}

function expectNear(got: number[], wanted: number[], relative: number): void {
  const scale = Math.max(...wanted.map(Math.abs));
  const errors = got.map((x, i) => Math.abs(x - wanted[i]!));
  expect(errors.some(Number.isNaN)).toBe(false);
  expect(Math.max(...errors), 'largest error').toBeLessThanOrEqual(relative * scale);
}

/** Fused in `dtype` against the same composed from LibTorch's operators in f64, on the same rounded numbers. */
function compare(shapes: number[][], dtype: DType, of: (...given: Tensor[]) => Tensor): void {
  tidy(() => {
    manualSeed(3);
    const inputs = shapes.map((shape) => randn(shape).to(dtype));
    const got = gradients(inputs, of);
    const wanted = gradients(
      inputs.map((t) => t.to('f64')),
      of,
    );
    const relative = dtype === 'f32' ? 1e-5 : 0.02;
    expectNear(got.value, wanted.value, relative);
    got.grads.forEach((grad, i) => {
      expectNear(grad, wanted.grads[i]!, relative);
    });
  });
}

describe.each(['f32', 'bf16'] as const)('experts in %s', (dtype) => {
  it.each([
    ['each its own block', [0, 1, 2], true],
    ['some the same block, one read by none', [2, 0, 2], true],
    ['without ReLU', [1, 1, 1], false],
  ] as const)('linear layers side by side, %s', (_, source, relu) => {
    const shapes = [
      [37, 15],
      [3, 5, 4],
      [3, 1, 4],
    ];
    compare(shapes, dtype, (x, weight, bias) => groupedLinear(x, weight, [...source], { bias: bias!, relu }));
  });

  // Wide enough for products of our own, with rows, depths and panels that do not come out even.
  it.each([
    ['each its own block', [0, 1, 2], 16, 64],
    ['some the same block, one read by none', [2, 0, 2], 33, 50],
    ['all the same block', [1, 1, 1], 47, 129],
  ] as const)('wide linear layers side by side, %s', (_, source, inputs, outputs) => {
    const shapes = [
      [203, 3 * inputs],
      [3, inputs, outputs],
      [3, 1, outputs],
    ];
    for (const relu of [true, false]) {
      compare(shapes, dtype, (x, weight, bias) => groupedLinear(x, weight, [...source], { bias: bias!, relu }));
    }
    compare(shapes.slice(0, 2), dtype, (x, weight) => groupedLinear(x, weight, [...source]));
  });

  it.each([
    [33, 16],
    [50, 1],
    [17, 81],
    [64, 117],
  ])('a linear layer %i → %i with ReLU', (inputs, outputs) => {
    compare([[301, inputs], [outputs, inputs], [outputs]], dtype, (x, weight, bias) =>
      blockLinear(x, weight, bias, { relu: true }),
    );
  });

  it('linear layers without a bias', () => {
    compare(
      [
        [9, 6],
        [2, 3, 5],
      ],
      dtype,
      (x, weight) => groupedLinear(x, weight, [1, 0]),
    );
  });

  it.each([1, 7, 128, 131])('mixtures of experts of width %i', (d) => {
    compare(
      [
        [33, 4 * d],
        [33, 2, 4],
      ],
      dtype,
      mixExperts,
    );
  });
});

describe('experts', () => {
  it('are bf16 under autocast, and gradients have the dtype of what they are of', () => {
    tidy(() => {
      const x = randn([8, 6]).requiresGrad_();
      const weight = randn([2, 3, 4]).requiresGrad_();
      const y = autocast(() => groupedLinear(x, weight, [0, 1], { relu: true }), { dtype: 'bf16' });
      expect(y.dtype).toBe('bf16');
      y.sum().backward();
      expect([x.grad!.dtype, weight.grad!.dtype]).toEqual(['f32', 'f32']);
    });
  });

  it('leave out an expert whose weight is 0, whatever it says', () => {
    tidy(() => {
      const experts = randn([5, 8]);
      experts.narrow(1, 4, 4).fill_(Number.POSITIVE_INFINITY);
      const gate = randn([5, 1, 2]);
      gate.narrow(2, 1, 1).fill_(0);
      expect(mixExperts(experts, gate).isfinite().all().item()).toBe(1);
    });
  });

  it('sum a weight’s gradient over many rows in short chains', () => {
    tidy(() => {
      manualSeed(6);
      const [x, g] = [randn([16384, 16]), randn([16384, 24])];
      const weight = randn([24, 16]).requiresGrad_();
      blockLinear(x, weight).mul(g).sum().backward();
      const exact = g.to('f64').transpose(0, 1).matmul(x.to('f64'));
      const error = weight.grad!.to('f64').sub(exact).square().mean().sqrt().item() / Math.sqrt(16384);
      // 3e-7 by LibTorch; 2.3e-6 in one chain of all rows
      expect(error).toBeLessThan(7e-7);
      const wide = randn([33, 9000]);
      const deep = randn([16, 9000]);
      const sums = wide.to('f64').matmul(deep.to('f64').transpose(0, 1));
      const off = blockLinear(wide, deep).to('f64').sub(sums).square().mean().sqrt().item() / Math.sqrt(9000);
      expect(off).toBeLessThan(7e-7);
    });
  });

  it('hand on what is not a number through ReLU, forward and back', () => {
    tidy(() => {
      const x = randn([40, 32]);
      x.narrow(0, 3, 1).fill_(Number.NaN);
      const weight = randn([1, 32, 32]).requiresGrad_();
      for (const of of [
        () => groupedLinear(x, weight, [0], { relu: true }),
        () => blockLinear(x, weight.squeeze(0), null, { relu: true }),
      ]) {
        const y = of();
        expect(y.isnan().to('i64').sum().item()).toBe(32);
        weight.grad = null;
        y.sum().backward();
        expect(weight.grad!.isnan().all().item()).toBe(1);
      }
    });
  });

  it('refuse shapes that do not go together, with what is wrong', () => {
    tidy(() => {
      expect(() => groupedLinear(randn([4, 7]), randn([2, 3, 4]), [0, 1])).toThrow(/do not go together/);
      expect(() => groupedLinear(randn([4, 6]), randn([2, 3, 4]), [0, 2])).toThrow(/block 2 is none of the 2/);
      expect(() => groupedLinear(randn([4, 6]), randn([2, 3, 4]), [0])).toThrow(/a block for each of 2/);
      expect(() => groupedLinear(randn([4, 6]), randn([2, 3, 4]), [0, 1], { bias: randn([3]) })).toThrow(/8 numbers/);
      expect(() => mixExperts(randn([4, 7]), randn([4, 1, 2]))).toThrow(/do not go together/);
    });
  });
});
