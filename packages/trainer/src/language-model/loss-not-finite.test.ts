import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ones } from '@larr/torch';
import { afterAll, describe, expect, it } from 'vitest';
import { stageSettings } from '../../test/stage-settings.js';
import { runStageLoop } from './stage-loop.js';

const root = mkdtempSync(join(tmpdir(), 'larr-stage-loop-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** What a stage says whose loss is no number in step `lost`, counted from 1. */
async function refusal(lost: number, checkpointEvery: number): Promise<string> {
  const weight = ones([3]);
  const output = join(root, `${lost} ${checkpointEvery}`);
  mkdirSync(output);
  const cursor = { step: 0, seconds: 0, flops: 0 };
  const error = await runStageLoop({
    name: 'Stage 1',
    output,
    identity: 'x',
    steps: 6,
    device: 'cpu',
    job: null,
    config: stageSettings({ learningRate: 0.01, logEvery: 100, evaluateEvery: 100, checkpointEvery }),
    smaller: '',
    parameters: { weight },
    beginning: cursor,
    step: ({ step }) => {
      weight.sum().backward();
      return { loss: step + 1 === lost ? Number.NaN : 1, tokens: 1, flops: 1 };
    },
    line: () => ({ loss: 1 }),
    evaluate: async () => ({}),
    signal: undefined,
    onProgress: () => {},
    onNotice: undefined,
  }).catch((thrown: unknown) => thrown);
  weight.dispose();
  expect(error).toMatchObject({ code: 'LOSS_NOT_FINITE' });
  return (error as Error).message;
}

describe('a loss that is no number', () => {
  it('before anything was learnt is told of the model that was given, not of a checkpoint or the learning rate', async () => {
    const message = await refusal(1, 1);
    expect(message).toMatch(/loss of step 1 .*before anything was learnt.*may be damaged/);
    expect(message).not.toMatch(/checkpoint|learningRate/);
  });

  it('later names a checkpoint where there is one, and none where there is none', async () => {
    expect(await refusal(4, 2)).toMatch(/step 4 .*last good checkpoint is kept in .*Lower learningRate/);
    const message = await refusal(4, 100);
    expect(message).toMatch(/step 4 .*Lower learningRate/);
    expect(message).not.toMatch(/checkpoint/);
  });
});
