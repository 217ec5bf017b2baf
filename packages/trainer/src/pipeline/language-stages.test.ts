import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { readConfig } from '../cli/command-context.js';
import { vectorsFor } from '../cli/vectors.js';
import { readRecord } from '../report/run-record.js';
import { ensureVectors } from './language-stages.js';

const decoder = { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 48, vocabularySize: 400 };
const config = { pretrain: { decoder, tokens: 500, tokensPerStep: 500 }, finetune: { dimension: 24, steps: 2 } };
let root: string;
let shared: { data: string; out: string; seed: number; device: string };
beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-stages-'));
  shared = { data: join(root, 'data'), out: join(root, 'run'), seed: 1, device: 'cpu' };
  await makeToyDataset(shared.data);
  await ensureVectors({ ...shared, config });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const madeAt = (stage: string) => statSync(join(shared.out, stage, 'model.safetensors')).mtimeMs;

it('a finished run is read back, and never made over by other settings or another seed', async () => {
  const before = [madeAt('stage1'), madeAt('stage2')];
  await ensureVectors({ ...shared, config });
  const refused = async (change: object, words: RegExp) =>
    expect(ensureVectors({ ...shared, config, ...change })).rejects.toMatchObject({
      code: 'CHECKPOINT_MISMATCH',
      message: expect.stringMatching(words),
    });
  // Neither of them changes a number.
  const told = { logEvery: 1, evaluateEvery: 7, checkpointEvery: 9 };
  await ensureVectors({
    ...shared,
    config: { pretrain: { ...config.pretrain, ...told }, finetune: { ...config.finetune, ...told } },
  });
  await refused({ config: { ...config, pretrain: { ...config.pretrain, tokens: 900 } } }, /tokens: 500 there, 900 now/);
  await refused({ config: { ...config, finetune: { ...config.finetune, steps: 3 } } }, /stage2.*steps: 2 there, 3 now/);
  await refused({ seed: 2 }, /seed: 1 there, 2 now/);
  expect([madeAt('stage1'), madeAt('stage2')]).toEqual(before);
});

it('commands that train refuse given vectors that fail their gate unless told to ignore it, and take those they make, saying so', async () => {
  const out = join(root, 'judged');
  cpSync(shared.out, out, { recursive: true });
  const vectors = join(out, 'vectors');
  const check = { name: 'withinCityAuc', verdict: 'failed', value: 0.5, error: 0.01, threshold: 0.6, reason: '0.500' };
  const gate = join(out, 'stage2', 'gate.json');
  writeFileSync(gate, JSON.stringify({ ...JSON.parse(readFileSync(gate, 'utf8')), checks: [check] }));
  cpSync(gate, join(vectors, 'gate.json'));
  const said: string[] = [];
  const context = {
    signal: new AbortController().signal,
    say: (line: string) => said.push(line),
    progress: () => undefined,
  };
  const wanted = { ...shared, out, models: ['larr'], config: { ...readConfig(undefined), ...config } };
  const failed = { code: 'GATE_FAILED', message: expect.stringContaining('withinCityAuc') };
  await expect(vectorsFor({ ...wanted, vectors }, context)).rejects.toMatchObject(failed);
  expect(await vectorsFor({ ...wanted, vectors, ignoreGate: true }, context)).toEqual({ both: vectors });
  expect(await vectorsFor(wanted, context)).toEqual({ both: vectors });
  expect(said.filter((line) => line.includes('taken all the same'))).toHaveLength(2);
});

it('stage 2 of other settings is refused before a missing stage 1 takes its time', async () => {
  const out = join(root, 'half');
  cpSync(join(shared.out, 'stage2'), join(out, 'stage2'), { recursive: true });
  const other = { ...config, finetune: { ...config.finetune, steps: 3 } };
  await expect(ensureVectors({ ...shared, out, config: other })).rejects.toMatchObject({ code: 'CHECKPOINT_MISMATCH' });
  expect(existsSync(join(out, 'stage1'))).toBe(false);
});

it('a stage that was removed is made anew with other settings, and the one before it kept', async () => {
  const before = madeAt('stage1');
  rmSync(join(shared.out, 'stage2'), { recursive: true });
  const other = { ...config, finetune: { ...config.finetune, steps: 3 } };
  await ensureVectors({ ...shared, config: other });
  expect(madeAt('stage1')).toBe(before);
  expect(existsSync(join(shared.out, 'vectors', 'vectors.json'))).toBe(true);
  expect(await readRecord(join(shared.out, 'stage2'))).toMatchObject({ config: { steps: 3 } });
});
