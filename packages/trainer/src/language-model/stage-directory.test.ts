import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { finetune } from '../embedding/finetune.js';
import { type PretrainOptions, pretrain } from '../pretraining/pretrain.js';

const decoder = { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 48, vocabularySize: 400 };
const config = { decoder, tokens: 4000, tokensPerStep: 500 };
let root: string;
let dataset: string;
const at = (name: string) => join(root, name);
const weights = (name: string) => readFileSync(join(at(name), 'model.safetensors'));

beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-stage-'));
  dataset = at('data');
  await makeToyDataset(dataset, { cold: true });
  await pretrain({ dataset, output: at('stage1'), config });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const refused = (run: Promise<unknown>, words: RegExp) =>
  expect(run).rejects.toMatchObject({
    code: 'CHECKPOINT_MISMATCH',
    message: expect.stringMatching(new RegExp(`${words.source}.*another --out`, 's')),
  });

describe('the directory of a finished stage', () => {
  const again = (change: Partial<PretrainOptions>) => pretrain({ dataset, output: at('stage1'), config, ...change });

  it('is left as it is by another seed, other settings, another split or other data, told what differs', async () => {
    const before = weights('stage1');
    await refused(again({ seed: 2 }), /stage 1 of another run \(seed: 1 there, 2 now\)/);
    await refused(
      again({ config: { ...config, decoder: { ...decoder, layers: 2 } } }),
      /decoder\.layers: 1 there, 2 now/,
    );
    await refused(again({ split: 'cold' }), /split: "random" there, "cold" now/);
    await makeToyDataset(at('other'), { pois: 91, cold: true });
    await refused(again({ dataset: at('other') }), /data: /);
    expect(weights('stage1').equals(before)).toBe(true);
  });

  it('is read back where only what is told and saved differs', async () => {
    let steps = 0;
    const told = { logEvery: 1, evaluateEvery: 3, checkpointEvery: 5 };
    await again({ config: { ...config, ...told }, onProgress: () => steps++ });
    expect(steps).toBe(0);
  });

  it('of one stage is not taken for the other, nor one that nothing is recorded of', async () => {
    await refused(
      finetune({ dataset, model: at('stage1'), output: at('stage1') }),
      /not recorded as one of "larr finetune"/,
    );
    cpSync(at('stage1'), at('foreign'), { recursive: true });
    for (const file of ['run.json', 'stage.json']) rmSync(join(at('foreign'), file));
    await refused(pretrain({ dataset, output: at('foreign'), config }), /not recorded as one of "larr pretrain"/);
    cpSync(at('stage1'), at('damaged'), { recursive: true });
    writeFileSync(join(at('damaged'), 'stage.json'), '{"identity": "');
    await refused(pretrain({ dataset, output: at('damaged'), config }), /damaged/);
  });
});

it('a checkpoint is kept for the run that wrote it, which goes on also when it is told and saved otherwise', async () => {
  const stopped = (change: Partial<PretrainOptions>, stopAt: number) => {
    const abort = new AbortController();
    return pretrain({
      dataset,
      output: at('stopped'),
      config: { ...config, logEvery: 1 },
      signal: abort.signal,
      onProgress: ({ step }) => {
        if (step === stopAt) abort.abort(new Error('enough'));
      },
      ...change,
    });
  };
  await expect(stopped({}, 3)).rejects.toThrow('enough');
  const checkpoint = () => readFileSync(join(at('stopped'), 'checkpoint.safetensors'));
  const before = checkpoint();
  await refused(stopped({ seed: 2 }, 1), /seed: 1 there, 2 now/);
  await refused(stopped({ config: { ...config, learningRate: 1e-3 } }, 1), /learningRate: 0.003 there, 0.001 now/);
  expect(checkpoint().equals(before)).toBe(true);
  const notices: string[] = [];
  await pretrain({
    dataset,
    output: at('stopped'),
    config: { ...config, logEvery: 2, evaluateEvery: 3, checkpointEvery: 2 },
    onNotice: (notice) => notices.push(notice),
  });
  expect(notices.join()).toContain('from step 3');
  expect(weights('stopped').equals(weights('stage1'))).toBe(true);
});
