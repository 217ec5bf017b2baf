import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { byRank, launchedBy, mpirun, noMpirun } from '../../../torch/test/mpirun.js';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { finetune } from '../embedding/finetune.js';
import { pretrain } from '../pretraining/pretrain.js';
import { readRecord } from '../report/run-record.js';
import { shareOf } from './several-processes.js';

const stages = fileURLToPath(new URL('../../test/stages.mjs', import.meta.url));
const larr = fileURLToPath(new URL('../../bin/larr.mjs', import.meta.url));

let root: string;
let dataset: string;
let alone: { pretrain: string; finetune: string };

const stage1 = {
  decoder: {
    hiddenSize: 32,
    layers: 1,
    heads: 2,
    keyValueHeads: 1,
    feedForwardSize: 48,
    contextLength: 64,
    vocabularySize: 400,
  },
  tokens: 4500,
  tokensPerStep: 300,
  learningRate: 1e-2,
  evaluateEvery: 10,
  checkpointEvery: 4,
  logEvery: 1,
};
const stage2 = {
  dimension: 16,
  steps: 6,
  batchSize: 10,
  learningRate: 3e-3,
  heldOutPois: 30,
  heldOutUsers: 10,
  evaluateEvery: 4,
  checkpointEvery: 5,
  logEvery: 1,
};

interface Line {
  step: number;
  loss?: number;
}
const losses = (directory: string): Line[] =>
  readFileSync(join(directory, 'metrics.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
    .filter(({ loss }) => loss !== undefined)
    .map(({ step, loss }) => ({ step, loss: loss! }));

/** The same steps, and their losses but for rounding: Adam divides a gradient by its own size, so that it grows from step to step. */
function expectSame(directory: string, wanted: string): void {
  const [got, expected] = [losses(directory), losses(wanted)];
  expect(got.map(({ step }) => step)).toEqual(expected.map(({ step }) => step));
  for (const [i, { step, loss }] of got.entries()) {
    const exact = expected[i]!.loss!;
    expect(Math.abs(loss! - exact)).toBeLessThan((step === 1 ? 2e-6 : 3e-4) * Math.max(1, exact));
  }
}

interface Told {
  rank: number;
  pid?: number;
  told?: number;
  error?: string;
  result?: { tokens: number; steps: number; peak: { source: string } | null };
}
const run = async (processes: number, ...list: { stage: string; options: object; interrupted?: number }[]) => {
  const done = await mpirun(processes, [stages, JSON.stringify(list)]);
  if (done.status !== 0) throw new Error(done.stderr);
  return byRank<Told>(done).filter(({ pid }) => pid === undefined);
};

beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-processes-'));
  dataset = join(root, 'data');
  await makeToyDataset(dataset);
  alone = { pretrain: join(root, 'stage1'), finetune: join(root, 'stage2') };
  await pretrain({ dataset, output: alone.pretrain, config: stage1 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('shares rows as evenly as they divide', () => {
  const shares = (count: number, size: number) =>
    Array.from({ length: size }, (_, rank) => shareOf(count, { rank, size } as Parameters<typeof shareOf>[1]));
  expect(shares(7, 3)).toEqual([
    [0, 2],
    [2, 4],
    [4, 7],
  ]);
  expect(shares(1, 2)).toEqual([
    [0, 0],
    [0, 1],
  ]);
  expect(shareOf(7, null)).toEqual([0, 7]);
});

describe.skipIf(noMpirun !== null)(launchedBy('training in several processes'), () => {
  it('stage 1 has the losses of one process, and one of them writes and tells', async () => {
    const processes = 3;
    const output = join(root, 'shared');
    const options = { dataset, output, config: { ...stage1, accumulate: 2 } };
    // The second time it is finished, and says so everywhere.
    const told = await run(processes, { stage: 'pretrain', options }, { stage: 'pretrain', options });
    expectSame(output, alone.pretrain);
    expect(told).toHaveLength(2 * processes);
    for (const { rank, told: lines, result } of told) {
      expect(result).toEqual(told[0]!.result);
      if (rank > 0) expect(lines).toBe(0);
    }
    expect(told[0]!.told).toBe(told[0]!.result!.steps);
    expect(told[0]!.result!.peak!.source).toContain(`${processes} × measured`);
    const record = (await readRecord(output))!;
    expect(record.processes).toBe(processes);
    expect(record.sittings).toHaveLength(1);
  });

  it('leaves the parameters with the same bits everywhere, however they began', async () => {
    const told = await run(3, { stage: 'loop', options: { output: join(root, 'loop') } });
    const bits = told.map(({ result }) => result as unknown as string[]);
    expect(bits[0]).toHaveLength(4);
    expect(bits[1]).toEqual(bits[0]);
    expect(bits[2]).toEqual(bits[0]);
  });

  it('killed in the middle, stage 1 goes on in another number of processes', async () => {
    const output = join(root, 'killed');
    const options = { dataset, output, config: stage1 };
    let alive = true;
    const killed = await mpirun(2, [stages, JSON.stringify([{ stage: 'pretrain', options }])], (stdout, stderr) => {
      if (!alive || !stderr.includes('step 10 of')) return;
      alive = false;
      process.kill(byRank<Told>({ stdout })[1]!.pid!, 'SIGKILL');
    });
    expect(killed.status).not.toBe(0);
    expect(existsSync(join(output, 'checkpoint.safetensors'))).toBe(true);
    await run(3, { stage: 'pretrain', options });
    expectSame(output, alone.pretrain);
    expect((await readRecord(output))!.sittings).toHaveLength(2);
  });

  it('interrupted in one process, all save and stop, and go on later', async () => {
    const output = join(root, 'interrupted');
    const options = { dataset, output, config: stage1 };
    const told = await run(2, { stage: 'pretrain', options, interrupted: 1 }, { stage: 'pretrain', options });
    expect(told.map(({ rank, error }) => [rank, error])).toEqual([
      [0, 'another process was interrupted'],
      [0, undefined],
      [1, 'stopped here'],
      [1, undefined],
    ]);
    expectSame(output, alone.pretrain);
    expect((await readRecord(output))!.sittings.map(({ outcome }) => outcome)).toEqual(['stopped', 'finished']);
  });

  it('stage 2 has the losses of one process: the batch is that of all', async () => {
    const variants = {
      whole: {},
      pieces: { microBatch: 3 },
      last: { pooling: 'last' as const, similarity: 'distance' as const, temperature: 1, initialTemperature: 1 },
      lastPieces: { pooling: 'last' as const, microBatch: 2, asymmetric: true },
    };
    const options = (name: keyof typeof variants, size: number) => ({
      dataset,
      model: alone.pretrain,
      output: join(root, `${name}-${size}`),
      config: { ...stage2, ...variants[name] },
    });
    const names = Object.keys(variants) as (keyof typeof variants)[];
    for (const name of names) await finetune(options(name, 1));
    await run(2, ...names.map((name) => ({ stage: 'finetune', options: options(name, 2) })));
    for (const name of names) expectSame(options(name, 2).output, options(name, 1).output);
  });

  it('stage 2 with fewer pairs than processes has some without, and adapters drop out alike when it is taken again', async () => {
    const options = (name: string, config: object) => ({
      stage: 'finetune',
      options: {
        dataset,
        model: alone.pretrain,
        output: join(root, name),
        config: { ...stage2, batchSize: 2, ...config },
      },
    });
    const lora = { lora: { rank: 2, dropout: 0.3 }, batchSize: 8, microBatch: 2 };
    await finetune(options('few-1', {}).options as Parameters<typeof finetune>[0]);
    await run(3, options('few-3', {}), options('dropped', lora), options('dropped-again', lora));
    expectSame(join(root, 'few-3'), join(root, 'few-1'));
    expect(losses(join(root, 'dropped-again'))).toEqual(losses(join(root, 'dropped')));
  });
});

describe.skipIf(noMpirun !== null)(launchedBy('larr in several processes'), () => {
  const told = (stderr: string) => stderr.split('\n').filter((line) => line.startsWith('larr: '));

  it('ends with the error of one of them, told once', async () => {
    const damaged = join(root, 'damaged');
    cpSync(dataset, damaged, { recursive: true });
    writeFileSync(join(damaged, 'corpus', 'general.jsonl'), '{"text": 3}\n');
    const config = join(root, 'larr.json');
    writeFileSync(config, JSON.stringify({ pretrain: stage1 }));
    const command = (data: string, out: string) => [larr, 'pretrain', '--data', data, '--config', config, '--out', out];
    // Rank 1 reads other files than rank 0.
    const out = join(root, 'unequal');
    const [one, all] = await Promise.all([
      mpirun(1, [...command(dataset, out), ':', '-n', '1', process.execPath, ...command(damaged, out)]),
      mpirun(2, command(join(root, 'nowhere'), join(root, 'nothing'))),
    ]);
    expect(one.status).toBe(1);
    expect(told(one.stderr)).toEqual([
      'larr: process 1 of 2 failed:',
      expect.stringMatching(/general\.jsonl, line 1.*\[BAD_CORPUS\]$/),
    ]);
    expect(all.status).toBe(2);
    expect(told(all.stderr)).toEqual([expect.stringMatching(/nowhere is not a dataset.*\[DATASET_MISSING\]$/)]);
  });

  it('refuses what is done by one process, and prints one result of what is done together', async () => {
    const config = join(root, 'short.json');
    writeFileSync(config, JSON.stringify({ pretrain: { ...stage1, tokens: 600 } }));
    const output = join(root, 'by-command');
    const [refused, done] = await Promise.all([
      mpirun(2, [larr, 'train', '--data', dataset, '--model', 'ple', '--out', join(root, 'none'), '--json']),
      mpirun(2, [larr, 'pretrain', '--data', dataset, '--config', config, '--out', output, '--json']),
    ]);
    expect(refused.status).toBe(2);
    expect(told(refused.stderr)).toEqual([expect.stringMatching(/larr train runs in one process.*\[ONE_PROCESS\]$/)]);
    expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'ONE_PROCESS' } });
    expect(done.status).toBe(0);
    expect(JSON.parse(done.stdout)).toMatchObject({ steps: 2 });
    expect(done.stderr.match(/stage 1: 100 %/g)).toHaveLength(1);
  });
});
