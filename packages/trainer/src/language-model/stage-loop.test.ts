import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { manualSeed, ones, randn, type Tensor, tensor, tidy } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stageSettings } from '../../test/stage-settings.js';
import { runStageLoop, type StageCursor } from './stage-loop.js';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'larr-stage-loop-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Run {
  output: string;
  evaluateEvery: number;
  evaluate(step: number): Promise<Record<string, unknown>>;
  /** Steps that were taken, by their numbers. */
  taken: number[];
}

/** Ten steps that lead four numbers to one, a line for every second; a checkpoint after every fourth. */
async function run({ output, evaluateEvery, evaluate, taken }: Run): Promise<number[]> {
  manualSeed(1);
  const w = randn([4]);
  const parameters: Record<string, Tensor> = { w };
  const config = stageSettings({ learningRate: 0.1, logEvery: 2, evaluateEvery, checkpointEvery: 4 });
  let loss = 0;
  try {
    await runStageLoop<StageCursor>({
      name: 'A stage',
      output,
      identity: 'same',
      steps: 10,
      device: 'cpu',
      job: null,
      config,
      smaller: '',
      parameters,
      beginning: { step: 0, seconds: 0, flops: 0 },
      step({ step }) {
        taken.push(step + 1);
        loss = tidy(() => {
          const one = w
            .sub(ones([4]))
            .square()
            .sum();
          one.backward();
          return one.item();
        });
        return { loss, tokens: 1, flops: 1 };
      },
      line: () => ({ loss }),
      evaluate: ({ step }) => evaluate(step),
      signal: undefined,
      onProgress() {},
      onNotice: undefined,
    });
    return Array.from(w.toFloat32Array());
  } finally {
    w.dispose();
  }
}

/** metrics.jsonl without what the clock decides. */
const metrics = (output: string) =>
  readFileSync(join(output, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => {
      const { tokensPerSecond: _, mfu: __, ...rest } = JSON.parse(line) as Record<string, unknown>;
      return rest;
    });

describe('a measurement that fails', () => {
  it.each([
    ['with a checkpoint', 8],
    ['without one', 6],
  ])('costs none of the steps before it: after a step %s', async (name, failing) => {
    const fine = async (step: number) => ({ measured: step });
    const whole = { output: join(root, `whole ${name}`), evaluateEvery: 2, evaluate: fine, taken: [] as number[] };
    const wanted = await run(whole);
    const output = join(root, `broken ${name}`);
    const broken = {
      ...whole,
      output,
      taken: [] as number[],
      async evaluate(step: number) {
        if (step === failing) throw new Error('no');
        return fine(step);
      },
    };
    await expect(run(broken)).rejects.toThrow('no');
    await expect(run(broken)).rejects.toThrow('no');
    expect(broken.taken).toEqual(whole.taken.slice(0, failing));
    expect(await run({ ...broken, evaluate: fine })).toEqual(wanted);
    expect(broken.taken).toEqual(whole.taken);
    expect(metrics(output)).toEqual(metrics(whole.output));
  });

  it('for want of memory is named, and left out by another evaluateEvery', async () => {
    const output = join(root, 'memory');
    const taken: number[] = [];
    const evaluate = async () => {
      tensor([1], [1])
        .expand([2 ** 50])
        .contiguous();
      return {};
    };
    await expect(run({ output, evaluateEvery: 3, evaluate, taken })).rejects.toMatchObject({
      code: 'OUT_OF_MEMORY',
      message: expect.stringMatching(/measured after step 3.*evaluateEvery/),
    });
    await run({ output, evaluateEvery: 100, evaluate, taken });
    expect(taken).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('after the last step finds all steps kept', async () => {
    const output = join(root, 'last');
    const taken: number[] = [];
    const wanted = await run({ output, evaluateEvery: 100, evaluate: async () => ({}), taken });
    expect(existsSync(join(output, 'checkpoint.safetensors'))).toBe(true);
    expect(await run({ output, evaluateEvery: 100, evaluate: async () => ({}), taken })).toEqual(wanted);
    expect(taken).toHaveLength(10);
  });
});
