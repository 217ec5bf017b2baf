import { manualSeed, noGrad, randn, type Tensor, tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import { createExtraction, extract } from './extraction.js';
import { Parameters } from './parameters.js';

type Matrix = number[][];

const matrix = (t: Tensor): Matrix => {
  const [rows, columns] = t.shape as [number, number];
  const flat = t.contiguous().toFloat32Array();
  return Array.from({ length: rows }, (_, i) => Array.from(flat.subarray(i * columns, (i + 1) * columns)));
};

/** PLE as its paper writes it, row by row and expert by expert in plain JavaScript numbers. */
function reference(
  p: Parameters,
  x: Matrix,
  o: { tasks: number; sharedExperts: number; taskExperts: number; levels: number[][] },
) {
  const experts = o.tasks * o.taskExperts + o.sharedExperts;
  const group = (e: number) => Math.min(o.tasks, Math.floor(e / o.taskExperts));
  const value = (name: string) => p.dense.get(name)!;
  return x.map((row) => {
    let streams: Matrix = Array.from({ length: o.tasks + 1 }, () => row);
    o.levels.forEach((hidden, l) => {
      const outputs = Array.from({ length: experts }, (_, e) => {
        let h = streams[group(e)]!;
        hidden.forEach((width, i) => {
          const w = value(`extraction.${l}.expert.${i}.weight`);
          const b = value(`extraction.${l}.expert.${i}.bias`).toFloat32Array();
          const fused = l === 0 && i === 0;
          const weight = matrix(fused ? w.narrow(0, e * width, width) : w.select(0, e).transpose(0, 1)); // [out, in]
          h = weight.map((line, j) =>
            Math.max(
              0,
              line.reduce((s, c, k) => s + c * h[k]!, b[e * width + j]!),
            ),
          );
        });
        return h;
      });
      const gates = l === o.levels.length - 1 ? o.tasks : o.tasks + 1;
      const w = value(`extraction.${l}.gate.weight`);
      streams = Array.from({ length: gates }, (_, g) => {
        const weight = matrix(l === 0 ? w.narrow(0, g * experts, experts) : w.select(0, g).transpose(0, 1)); // [experts, in]
        const seen = outputs.map((_, e) => g === o.tasks || group(e) === g || group(e) === o.tasks);
        const exps = weight.map((line, e) =>
          seen[e] ? Math.exp(line.reduce((s, c, k) => s + c * streams[g]![k]!, 0)) : 0,
        );
        const total = exps.reduce((a, b) => a + b);
        return outputs[0]!.map((_, j) => outputs.reduce((s, out, e) => s + (exps[e]! / total) * out[j]!, 0));
      });
    });
    return streams;
  });
}

for (const options of [
  { tasks: 2, sharedExperts: 2, taskExperts: 2, levels: [[6, 5], [4]] },
  { tasks: 2, sharedExperts: 1, taskExperts: 3, levels: [[6], [5, 4], [3]] },
  { tasks: 1, sharedExperts: 2, taskExperts: 2, levels: [[4]] },
]) {
  test(`extraction equals the formula, expert by expert: ${JSON.stringify(options)}`, () => {
    manualSeed(11);
    const p = new Parameters('cpu');
    const net = createExtraction(p, 'extraction', 7, options);
    noGrad(() =>
      tidy(() => {
        for (const t of p.dense.values()) t.copy_(randn(t.shape).mul(0.5)); // biases too must count
        const x = randn([3, 7]);
        const expected = reference(p, matrix(x), options);
        const got = extract(net, x, false).map(matrix);
        expect(got).toHaveLength(options.tasks);
        expected.forEach((streams, row) => {
          for (let k = 0; k < options.tasks; k++) {
            streams[k]!.forEach((value, j) => {
              expect(got[k]![row]![j]).toBeCloseTo(value, 4);
            });
          }
        });
      }),
    );
    p.dispose();
  });
}

test('the other tasks’ experts get no gradient from a task of a single level', () => {
  manualSeed(2);
  const p = new Parameters('cpu');
  const net = createExtraction(p, 'extraction', 4, { tasks: 2, sharedExperts: 1, taskExperts: 1, levels: [[3]] });
  tidy(() => {
    extract(net, randn([8, 4]), true)[0]!
      .sum()
      .backward();
  });
  const gradient = p.dense.get('extraction.0.expert.0.weight')!.grad!;
  const norms = [0, 1, 2].map((e) =>
    gradient
      .narrow(0, 3 * e, 3)
      .norm()
      .item(),
  );
  expect(norms[0]).toBeGreaterThan(0);
  expect(norms[1]).toBe(0);
  expect(norms[2]).toBeGreaterThan(0);
  p.dispose();
});
