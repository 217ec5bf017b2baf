import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cpp, typescript } from '../operators/generate.mjs';
import { functions, methods } from '../operators/operators.mjs';
import * as torch from './index.js';
import { manualSeed, type Tensor, type TensorArray, TensorError, tensor, tidy } from './index.js';

type Callable = (...args: unknown[]) => unknown;
interface Sample {
  sample: 'normal' | 'positive' | 'unit' | 'distinct' | 'values' | 'index' | 'mask' | 'groups';
  shape?: number[];
  values?: number[];
  constant?: boolean;
}
interface Operator {
  name: string;
  returns?: string;
  noGradient?: string;
  samples: unknown[][];
}

const all: { operator: Operator; isMethod: boolean }[] = [
  ...(methods as Operator[]).map((operator) => ({ operator, isMethod: true })),
  ...(functions as Operator[]).map((operator) => ({ operator, isMethod: false })),
];

function call(name: string, isMethod: boolean, args: unknown[]): unknown {
  if (!isMethod) return (torch as unknown as Record<string, Callable>)[name]!(...args);
  const [self, ...rest] = args as [Tensor, ...unknown[]];
  return (self as unknown as Record<string, Callable>)[name]!(...rest);
}

/** Random numbers of our own, so that a sample does not hang on LibTorch's. */
function stream(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

function values(sample: Sample, random: () => number): number[] {
  if (sample.values) return sample.values;
  const n = sample.shape!.reduce((product, size) => product * size, 1);
  const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
  switch (sample.sample) {
    case 'positive':
      return Array.from({ length: n }, () => 0.5 + 1.5 * random());
    case 'unit':
      return Array.from({ length: n }, () => 0.1 + 0.8 * random());
    case 'distinct': {
      const order = Array.from({ length: n }, (_, i) => ({ i, key: random() })).sort((a, b) => a.key - b.key);
      return order.map(({ i }) => (i + 0.5 - n / 2) * (4 / n));
    }
    default:
      return Array.from({ length: n }, normal);
  }
}

const isSample = (x: unknown): x is Sample => typeof x === 'object' && x !== null && 'sample' in x;
const whole: Partial<Record<Sample['sample'], torch.DType>> = { index: 'i64', mask: 'bool', groups: 'i32' };

/** The arguments of a sample with every sample tensor replaced; floats, in the order found, come from `floats`. */
function build(value: unknown, make: (sample: Sample) => Tensor): unknown {
  if (isSample(value)) return make(value);
  if (Array.isArray(value)) return value.map((item) => build(item, make));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, build(item, make)]));
  }
  return value;
}

const shapeOf = (sample: Sample) => sample.shape ?? [sample.values!.length];

/** Σ of all float results, each element with a weight of its own, so that no gradient is hidden by symmetry. */
function weighed(result: unknown): Tensor {
  const random = stream(7);
  let total: Tensor | undefined;
  for (const out of (Array.isArray(result) ? result : [result]) as Tensor[]) {
    if (out.dtype !== 'f64') continue;
    const weights = tensor(
      Array.from({ length: out.numel }, () => 0.5 + random()),
      out.shape,
      { dtype: 'f64' },
    );
    const term = out.mul(weights).sum();
    total = total ? total.add(term) : term;
  }
  if (!total) throw new Error('the operator gave no f64 tensor');
  return total;
}

describe('gradients against central differences in f64', () => {
  for (const { operator, isMethod } of all) {
    const { name } = operator;
    it(`${name}: has samples`, () => {
      expect(operator.samples?.length ?? 0).toBeGreaterThan(0);
    });
    operator.samples?.forEach((sample, n) => {
      const evaluate = (floats: number[][], requiresGrad: boolean) => {
        let next = 0;
        const leaves: Tensor[] = [];
        const args = sample.map((argument) =>
          build(argument, (s) => {
            const dtype = whole[s.sample];
            if (dtype) return tensor(values(s, stream(0)), shapeOf(s), { dtype });
            const leaf = tensor(floats[next++]!, shapeOf(s), {
              dtype: 'f64',
              requiresGrad: requiresGrad && !s.constant,
            });
            leaves.push(leaf);
            return leaf;
          }),
        );
        manualSeed(3); // dropout draws the same each time
        return { leaves, result: call(name, isMethod, args) };
      };
      const drawn: number[][] = [];
      const random = stream(1000 + n);
      for (const argument of sample) {
        build(argument, (s) => {
          if (!whole[s.sample]) drawn.push(values(s, random));
          return undefined as unknown as Tensor;
        });
      }

      if (operator.noGradient !== undefined) {
        it(`${name} #${n}: asks for no gradient (${operator.noGradient})`, () => {
          tidy(() => {
            if (operator.returns === 'this') {
              expect(() => evaluate(drawn, true)).toThrow(TensorError);
              return;
            }
            const { result } = evaluate(drawn, true);
            for (const out of (Array.isArray(result) ? result : [result]) as Tensor[])
              expect(out.requiresGrad).toBe(false);
          });
        });
        return;
      }

      it(`${name} #${n}`, () => {
        expect(drawn.length).toBeGreaterThan(0);
        tidy(() => {
          const { leaves, result } = evaluate(drawn, true);
          weighed(result).backward();
          leaves.forEach((leaf, l) => {
            if (!leaf.requiresGrad) return;
            const analytic = leaf.grad ? (leaf.grad.toArray() as Float64Array) : new Float64Array(leaf.numel);
            analytic.forEach((gradient, i) => {
              const step = 1e-6;
              const at = (x: number) =>
                tidy(() =>
                  weighed(
                    evaluate(
                      drawn.map((d, m) => (m === l ? d.with(i, x) : d)),
                      false,
                    ).result,
                  ).item(),
                );
              const x = drawn[l]![i]!;
              const numeric = (at(x + step) - at(x - step)) / (2 * step);
              expect(
                Math.abs(gradient - numeric),
                `input ${l}, element ${i}: ${gradient} against ${numeric}`,
              ).toBeLessThan(2e-6 * Math.max(1, Math.abs(numeric)));
            });
          });
        });
      });
    });
  }
});

describe('values against those of PyTorch (test/reference/operators.py)', () => {
  interface Encoded {
    tensor: (number | boolean)[];
    shape: number[];
    dtype: torch.DType;
  }
  const cases = JSON.parse(readFileSync(new URL('../test/reference/operators.json', import.meta.url), 'utf8')) as {
    operator: string;
    arguments: unknown[];
    result: Encoded | Encoded[];
  }[];
  const isMethod = new Map(all.map(({ operator, isMethod }) => [operator.name, isMethod]));
  const decode = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(decode);
    if (typeof value !== 'object' || value === null) return value;
    if ('options' in value) {
      return Object.fromEntries(Object.entries(value.options as object).map(([key, item]) => [key, decode(item)]));
    }
    const encoded = value as Encoded;
    return tensor(encoded.tensor.map(Number), encoded.shape, { dtype: encoded.dtype });
  };
  cases.forEach((reference, n) => {
    it(`${reference.operator} (case ${n})`, () => {
      tidy(() => {
        const result = call(reference.operator, isMethod.get(reference.operator)!, reference.arguments.map(decode));
        const outputs = (Array.isArray(result) ? result : [result]) as Tensor[];
        const wanted = Array.isArray(reference.result) ? reference.result : [reference.result];
        expect(outputs.length).toBe(wanted.length);
        outputs.forEach((output, i) => {
          const { tensor: expected, shape, dtype } = wanted[i]!;
          expect(output.shape).toEqual(shape);
          expect(output.dtype).toBe(dtype);
          const got = output.toArray() as TensorArray;
          expected.forEach((value, j) => {
            expect(Math.abs(Number(got[j]) - Number(value))).toBeLessThan(1e-12 * Math.max(1, Math.abs(Number(value))));
          });
        });
      });
    });
  });
});

describe('the one list of operators', () => {
  it('is what the committed TypeScript was written from', () => {
    expect(readFileSync(new URL('./operators.generated.ts', import.meta.url), 'utf8')).toBe(typescript());
  });

  it('is what the built addon was written from', () => {
    const built = new URL('../build/generated/operators.generated.inc', import.meta.url);
    expect(readFileSync(built, 'utf8')).toBe(cpp());
  });

  it('names no operator twice', () => {
    const names = all.map(({ operator }) => operator.name);
    expect(new Set(names).size).toBe(names.length);
  });
});
