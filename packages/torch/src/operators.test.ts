import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cpp, typescript } from '../operators/generate.mjs';
import type * as torch from './index.js';
import { manualSeed, type Tensor, type TensorArray, TensorError, tensor, tidy } from './index.js';
import { all, build, call, shapeOf, stream, values, weighed, whole } from './operators.fixture.js';

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
