// The declared operators and their samples, as the tests call them.
import { functions, methods } from '../operators/operators.mjs';
import * as torch from './index.js';
import { type Tensor, tensor } from './index.js';

type Callable = (...args: unknown[]) => unknown;
export interface Sample {
  sample: 'normal' | 'positive' | 'unit' | 'distinct' | 'values' | 'index' | 'mask' | 'groups';
  shape?: number[];
  values?: number[];
  constant?: boolean;
}
export interface Operator {
  name: string;
  returns?: string;
  noGradient?: string;
  samples: unknown[][];
}

/** Every declared operator. */
export const all: { operator: Operator; isMethod: boolean }[] = [
  ...(methods as Operator[]).map((operator) => ({ operator, isMethod: true })),
  ...(functions as Operator[]).map((operator) => ({ operator, isMethod: false })),
];

export function call(name: string, isMethod: boolean, args: unknown[]): unknown {
  if (!isMethod) return (torch as unknown as Record<string, Callable>)[name]!(...args);
  const [self, ...rest] = args as [Tensor, ...unknown[]];
  return (self as unknown as Record<string, Callable>)[name]!(...rest);
}

/** Random numbers of our own, so that a sample does not hang on LibTorch's. */
export function stream(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
}

export function values(sample: Sample, random: () => number): number[] {
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
/** Samples of whole numbers and truth values; the others are floats. */
export const whole: Partial<Record<Sample['sample'], torch.DType>> = { index: 'i64', mask: 'bool', groups: 'i32' };

/** The arguments of a sample with every sample tensor replaced; floats, in the order found, come from `floats`. */
export function build(value: unknown, make: (sample: Sample) => Tensor): unknown {
  if (isSample(value)) return make(value);
  if (Array.isArray(value)) return value.map((item) => build(item, make));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, build(item, make)]));
  }
  return value;
}

export const shapeOf = (sample: Sample) => sample.shape ?? [sample.values!.length];

/** Σ of all float results (of `dtype`), each element with a weight of its own, so that no gradient is hidden by symmetry. */
export function weighed(result: unknown, dtype: torch.DType = 'f64'): Tensor {
  const random = stream(7);
  let total: Tensor | undefined;
  for (const out of (Array.isArray(result) ? result : [result]) as Tensor[]) {
    if (out.dtype !== dtype) continue;
    const weights = tensor(
      Array.from({ length: out.numel }, () => 0.5 + random()),
      out.shape,
      { dtype, device: out.device },
    );
    const term = out.mul(weights).sum();
    total = total ? total.add(term) : term;
  }
  if (!total) throw new Error(`the operator gave no tensor of dtype ${dtype}`);
  return total;
}
