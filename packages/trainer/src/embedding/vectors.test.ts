import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToyDataset } from '../../test/toy-dataset.js';
import { pretrain } from '../pretraining/pretrain.js';
import { embedDataset, embedShare } from './vectors.js';

const POIS = 2000;
const decoder = { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 48, vocabularySize: 400 };
let root: string;
let dataset: string;
let model: string;
let whole: string;

beforeAll(async () => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-vectors-'));
  dataset = join(root, 'data');
  model = join(root, 'stage1');
  whole = join(root, 'whole');
  await makeToyDataset(dataset, { pois: POIS });
  await pretrain({ dataset, output: model, config: { decoder, tokens: 500, tokensPerStep: 500 } });
  const { pois } = await embedDataset({ dataset, model, output: whole });
  expect(pois.computed).toBe(POIS);
}, 60_000);
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Embeds in a process of its own, a tenth of a second a batch, and kills it once it has saved three batches of POIs. */
async function killedRun(output: string): Promise<void> {
  const script = `
    import { embedDataset } from '@larr/trainer';
    await embedDataset({
      ...${JSON.stringify({ dataset, model, output })},
      saveSeconds: 0,
      onProgress: () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100),
    });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    // Inside the package, its own name is found.
    cwd: import.meta.dirname,
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  const ended = once(child, 'exit');
  const partial = join(output, 'pois.partial');
  while (child.exitCode === null && !existsSync(join(partial, '00002.safetensors'))) await setTimeout(5);
  child.kill('SIGKILL');
  expect((await ended)[1]).toBe('SIGKILL');
  expect(existsSync(join(output, 'vectors.json'))).toBe(false);
}

const bytes = (directory: string) => readFileSync(join(directory, 'pois.safetensors'));

describe('embedding that was killed', () => {
  let killed: string;
  beforeAll(async () => {
    killed = join(root, 'killed');
    await killedRun(killed);
  }, 60_000);
  const copy = (name: string) => {
    const output = join(root, name);
    cpSync(killed, output, { recursive: true });
    return output;
  };

  it('goes on after what it had saved, and ends with the bytes of an unbroken run', async () => {
    const output = copy('resumed');
    const { pois } = await embedDataset({ dataset, model, output });
    expect(pois.vectors).toBe(POIS);
    expect(pois.computed).toBeGreaterThan(0);
    expect(pois.computed).toBeLessThan(0.8 * POIS);
    expect(bytes(output).equals(bytes(whole))).toBe(true);
    expect(existsSync(join(output, 'pois.partial'))).toBe(false);
  });

  it('computes again what a damaged shard held', async () => {
    const intact = (await embedDataset({ dataset, model, output: copy('intact') })).pois.computed;
    const output = copy('damaged');
    const shard = join(output, 'pois.partial', '00001.safetensors');
    const damaged = readFileSync(shard);
    damaged[damaged.length - 3]! ^= 1;
    writeFileSync(shard, damaged);
    const { pois } = await embedDataset({ dataset, model, output });
    expect(pois.computed).toBeGreaterThan(intact);
    expect(bytes(output).equals(bytes(whole))).toBe(true);
  });

  it('says of finished vectors that another model is about to make them over, and nothing where it is the same', async () => {
    const output = join(root, 'made over');
    const own = join(root, 'own');
    cpSync(model, own, { recursive: true });
    const told: string[] = [];
    const embed = (change: object) =>
      embedDataset({ dataset, model: own, output, onNotice: (line) => told.push(line), ...change });
    await embed({});
    await embed({});
    expect(told).toEqual([]);
    await embed({ model, seed: 2 });
    expect(told.splice(0)).toEqual([
      expect.stringMatching(/made over holds finished vectors of another model, .*own: all/),
    ]);
    await embed({ model, seed: 2, precision: 'bf16' });
    expect(told.splice(0)).toEqual([
      expect.stringMatching(/finished vectors in f32, not in bf16: all .*another --out/),
    ]);
    await embed({ model, seed: 3, precision: 'bf16' });
    expect(told.splice(0)).toEqual([
      expect.stringMatching(/vectors of .*stage1 in another state, or by another seed: all/),
    ]);
  });

  it('takes nothing over from another model', async () => {
    const output = copy('other');
    const { pois } = await embedDataset({ dataset, model, output, seed: 2 });
    expect(pois.computed).toBe(POIS);
    expect(bytes(output).equals(bytes(whole))).toBe(false);
  });

  it('saves what it has when it is stopped', async () => {
    const output = join(root, 'stopped');
    const abort = new AbortController();
    const run = embedDataset({
      dataset,
      model,
      output,
      signal: abort.signal,
      onProgress: ({ step }) => {
        if (step > 500) abort.abort(new Error('enough'));
      },
    });
    await expect(run).rejects.toThrow('enough');
    expect(readdirSync(join(output, 'pois.partial'))).toEqual(['00000.safetensors']);
    const { pois } = await embedDataset({ dataset, model, output });
    expect(pois.computed).toBeLessThan(POIS - 400);
    expect(bytes(output).equals(bytes(whole))).toBe(true);
  });
});

describe('embedding in shares', () => {
  const share = (output: string, index: number, count = 3) =>
    embedShare({ dataset, model, output, shard: { index, count } });

  it('computes every text once, and whoever is last puts together the bytes of one run alone', async () => {
    const output = join(root, 'shares');
    const parts = [await share(output, 0), await share(output, 2), await share(output, 1)];
    expect(parts.map(({ merged }) => merged !== null)).toEqual([false, false, true]);
    const computed = parts.map(({ computed }) => computed.pois);
    expect(computed.reduce((a, b) => a + b)).toBe(POIS);
    for (const count of computed) expect(count).toBeGreaterThan(0.15 * POIS);
    expect(parts[2]!.merged!.pois).toEqual({ vectors: POIS, computed: 0 });
    expect(bytes(output).equals(bytes(whole))).toBe(true);
    expect(readdirSync(output).filter((name) => /partial|shares/.test(name))).toEqual([]);
    // Done again, nothing is computed.
    expect((await share(output, 1)).computed.pois).toBe(0);
  });

  it('goes on without what a lost process had not computed: a run alone completes it', async () => {
    const output = join(root, 'lost');
    const { computed, merged } = await share(output, 1, 2);
    expect(merged).toBeNull();
    expect(existsSync(join(output, 'vectors.json'))).toBe(false);
    const { pois } = await embedDataset({ dataset, model, output });
    expect(pois.computed).toBe(POIS - computed.pois);
    expect(bytes(output).equals(bytes(whole))).toBe(true);
  });

  it('runs in processes at the same time', async () => {
    const output = join(root, 'processes');
    const script = (index: number) => `
      import { embedShare } from '@larr/trainer';
      const { merged } = await embedShare({ ...${JSON.stringify({ dataset, model, output })}, shard: { index: ${index}, count: 2 } });
      process.stdout.write(String(merged !== null));`;
    const outcomes = await Promise.all(
      [0, 1].map(async (index) => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', script(index)], {
          cwd: import.meta.dirname,
          stdio: ['ignore', 'pipe', 'inherit'],
          env: { ...process.env, OMP_NUM_THREADS: '1' },
        });
        let said = '';
        child.stdout.on('data', (data) => {
          said += data;
        });
        await once(child, 'close');
        return said;
      }),
    );
    expect(outcomes.filter((said) => said === 'true')).toHaveLength(1);
    expect(bytes(output).equals(bytes(whole))).toBe(true);
  });

  it('refuses the same share twice at once', async () => {
    const output = join(root, 'twice');
    const first = share(output, 0);
    await expect(share(output, 0)).rejects.toMatchObject({ code: 'IN_USE' });
    await first;
  });
});
