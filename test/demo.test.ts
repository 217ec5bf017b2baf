import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { larr, root, start } from './larr.js';

/** A language model small enough for seconds; everything else is the demo as users run it. */
const smallest = {
  pretrain: {
    tokens: 40_000,
    checkpointEvery: 5,
    decoder: { hiddenSize: 32, layers: 1, heads: 2, keyValueHeads: 1, feedForwardSize: 64, vocabularySize: 600 },
  },
  finetune: { steps: 60, checkpointEvery: 10, dimension: 128, heldOutPois: 50, heldOutUsers: 30 },
  train: { batchSize: 256, epochs: 2, checkpointSeconds: 0.2 },
};
const folder = mkdtempSync(join(tmpdir(), 'larr-demo-'));
const config = join(folder, 'config.json');
const demo = (out: string) => ['demo', '--scale', 'tiny', '--config', config, '--threads', '2', '--out', out, '--json'];
const figures = (text: string) =>
  JSON.parse(text).models.map(({ name, perSeed }: { name: string; perSeed: { seconds: number }[] }) => ({
    name,
    perSeed: perSeed.map((row) => ({ ...row, seconds: 0 })),
  }));

beforeAll(() => writeFileSync(config, JSON.stringify(smallest)));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the demo', { timeout: 300_000 }, () => {
  const out = join(folder, 'run');
  let first = '';

  test('goes from nothing to a table, a report and a bundle', async () => {
    const { code, stdout, stderr } = await larr(...demo(out));
    expect(code, stderr).toBe(0);
    first = stdout;
    const result = JSON.parse(stdout);
    expect(result.dataset).toBe('food-delivery-world');
    expect(result.seeds).toEqual([1]);
    expect(result.models.map((model: { name: string }) => model.name)).toEqual(['ple', 'larr']);
    for (const model of result.models) {
      for (const figure of ['ctrAuc', 'ctrLogloss', 'ctcvrAuc', 'ctrGauc', 'ctcvrGauc', 'seconds'])
        expect(Number.isFinite(model[figure]), `${model.name} ${figure}`).toBe(true);
      expect(result.oracle.ctrAuc).toBeGreaterThan(model.ctrAuc);
    }
    expect(readFileSync(result.report, 'utf8')).toContain('<svg');
    expect(existsSync(join(result.bundle, 'manifest.json'))).toBe(true);
  });

  test('every run directory says what it was made with, by figures and as a page', () => {
    for (const directory of ['.', 'stage1', 'stage2', 'vectors', 'models/ple-seed1', 'models/larr-seed1']) {
      const read = (file: string) => readFileSync(join(out, directory, file), 'utf8');
      const { command, config, seed, versions, dataset, sittings } = JSON.parse(read('run.json'));
      expect(command[0], directory).toBe('demo');
      expect(Object.keys(config).length, directory).toBeGreaterThan(0);
      expect([seed].flat(), directory).toEqual([1]);
      expect(Object.keys(versions)).toEqual(expect.arrayContaining(['larr', 'node', 'libtorch', 'commit']));
      expect(dataset.contentDigest).toMatch(/^[0-9a-f]{64}$/);
      expect(sittings.map(({ outcome }: { outcome: string }) => outcome)).toEqual(['finished']);
      const lines = read('metrics.jsonl').trim().split('\n');
      for (const line of lines) expect(Object.keys(JSON.parse(line)).length).toBeGreaterThan(0);
      expect(read('report.html')).not.toMatch(/https?:|src=|href=|@import|url\(|<script/);
    }
  });

  test('another world is refused before anything is touched', async () => {
    const { code, stdout } = await larr(...demo(out), '--seed', '2');
    expect(code).toBe(2);
    expect(JSON.parse(stdout).error.code).toBe('RUN_OF_OTHER_DATA');
    expect(JSON.parse(readFileSync(join(out, 'world.json'), 'utf8')).seed).toBe(1);
  });

  test('a model measured again has the figures of the table', async () => {
    const run = join(out, 'models', 'larr-seed1');
    const { code, stdout } = await larr('evaluate', '--run', run, '--data', join(out, 'data'), '--json');
    expect(code).toBe(0);
    const { metrics, slices } = JSON.parse(stdout);
    expect(metrics.ctcvrAuc).toBeCloseTo(JSON.parse(first).models[1].ctcvrAuc, 6);
    expect(slices.length).toBeGreaterThan(20);
  });

  test('run again, has nothing left to do and says the same', async () => {
    const started = performance.now();
    const { code, stdout } = await larr(...demo(out));
    expect(code).toBe(0);
    expect(figures(stdout)).toEqual(figures(first));
    expect(JSON.parse(stdout).models[1].seconds).toBe(JSON.parse(first).models[1].seconds);
    expect(performance.now() - started).toBeLessThan(60_000);
  });

  test('killed in every stage, goes on and ends with the same figures', async () => {
    const again = join(folder, 'killed');
    const stages = [/stage 1: \d/, /stage 2: \d/, /vectors: \d/, /ple #1: \d/, /larr #1: \d/];
    for (const [i, stage] of stages.entries()) {
      const { child, ended } = start(demo(again));
      const by = i % 2 === 0 ? 'SIGKILL' : 'SIGINT';
      let seen = '';
      let sent = false;
      child.stderr!.on('data', (text: string) => {
        seen += text;
        if (!sent && stage.test(seen)) sent = child.kill(by);
      });
      const { code, signal } = await ended;
      expect(sent, `${stage} was seen in:\n${seen}`).toBe(true);
      if (by === 'SIGKILL') expect(signal).toBe('SIGKILL');
      else expect(code).toBe(1);
    }
    const { code, stdout, stderr } = await larr(...demo(again));
    expect(code, stderr).toBe(0);
    expect(figures(stdout)).toEqual(figures(first));
  });

  test('its bundle is served and ranks', async () => {
    const { child, ended } = start([
      'serve',
      '--bundle',
      join(out, 'bundle'),
      '--port',
      '0',
      '--threads',
      '1',
      '--json',
    ]);
    const ready = await new Promise<{ url: string }>((resolve, reject) => {
      let text = '';
      child.stdout!.on('data', (chunk: string) => {
        text += chunk;
        if (text.endsWith('\n')) resolve(JSON.parse(text));
      });
      ended.then(({ stderr }) => reject(new Error(stderr)));
    });
    try {
      const status = await new Promise((resolve) => get(`${ready.url}/readyz`, (reply) => resolve(reply.statusCode)));
      expect(status).toBe(200);
      const bundle = join(out, 'bundle');
      const features = JSON.parse(readFileSync(join(bundle, 'features.json'), 'utf8'));
      expect(features.categorical.length).toBeGreaterThan(10);
      const reply = await fetch(`${ready.url}/v1/rank`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          user: 'nobody',
          scene: { time: '2026-01-10 19:30:00', weather: 'heavy rain', temperature: 6 },
          candidates: ['a new place', 'another'],
        }),
      });
      const answer = (await reply.json()) as { ranked: { pCtr: number; pCtcvr: number }[] };
      expect(reply.status, JSON.stringify(answer)).toBe(200);
      expect(answer.ranked).toHaveLength(2);
      for (const { pCtr, pCtcvr } of answer.ranked) {
        expect(pCtr).toBeGreaterThan(0);
        expect(pCtcvr).toBeLessThanOrEqual(pCtr);
      }
      const [example] = /^curl -s localhost:8080[\s\S]*?\n\}'$/m.exec(readFileSync(join(root, 'README.md'), 'utf8'))!;
      const shown = execFileSync('bash', ['-ec', example.replace('localhost:8080', new URL(ready.url).host)]);
      expect(JSON.parse(String(shown)).ranked).toHaveLength(3);
    } finally {
      child.kill('SIGTERM');
    }
    expect((await ended).code).toBe(0);
  });
});
