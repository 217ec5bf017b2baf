import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RunDirectory } from './run-directory.js';

let outside: string;
let root: string;
beforeEach(() => {
  outside = mkdtempSync(join(tmpdir(), 'larr-runs-'));
  root = join(outside, 'runs');
  mkdirSync(root);
});
afterEach(() => rmSync(outside, { recursive: true, force: true }));

function run(path: string, record: object = {}, metrics?: string): string {
  const directory = join(root, path);
  mkdirSync(directory, { recursive: true });
  const base = {
    format: 'larr-run-record',
    version: 1,
    stage: 'train',
    startedAt: '2026-01-01T00:00:00Z',
    sittings: [],
  };
  writeFileSync(join(directory, 'run.json'), JSON.stringify({ ...base, ...record }));
  if (metrics !== undefined) writeFileSync(join(directory, 'metrics.jsonl'), metrics);
  return directory;
}
const lines = (count: number): string => Array.from({ length: count }, (_, i) => `{"step":${i}}\n`).join('');

describe('a directory of runs', () => {
  it('lists the runs below it, the latest first, each by its path', async () => {
    run('old', { startedAt: '2026-01-01T00:00:00Z', finishedAt: '2026-01-01T00:05:00Z' });
    run('demo/models/larr-seed1', {
      startedAt: '2026-02-01T00:00:00Z',
      seed: 1,
      config: { model: 'larr' },
      dataset: { name: 'world' },
      sittings: [{ startedAt: '2026-02-01T00:00:00Z', endedAt: null, outcome: 'running', error: null }],
    });
    mkdirSync(join(root, 'empty'));
    const runs = await (await RunDirectory.open(root)).list();
    expect(runs).toMatchObject([
      {
        id: 'demo~models~larr-seed1',
        path: 'demo/models/larr-seed1',
        model: 'larr',
        dataset: 'world',
        seeds: [1],
        outcome: 'running',
      },
      { id: 'old', finishedAt: '2026-01-01T00:05:00Z', metrics: false, report: false },
    ]);
  });

  it('is itself a run where it holds one', async () => {
    run('.');
    expect((await (await RunDirectory.open(root)).list()).map(({ id }) => id)).toEqual(['runs']);
  });

  it('reads metrics row by row, without the line that is still being written', async () => {
    run('a', {}, '{"step":1}\nnot json\n{"step":2}\n{"ste');
    const runs = await RunDirectory.open(root);
    expect(await runs.metrics('a', 100)).toEqual({ rows: [{ step: 1 }, { step: 2 }], total: 3 });
    expect(await runs.metrics('nothing', 100)).toBeNull();
  });

  it('gives evenly spaced rows of a long file, and its last one', async () => {
    run('a', {}, lines(100_001));
    const { rows, total } = (await (await RunDirectory.open(root)).metrics('a', 1000))!;
    expect(total).toBe(100_001);
    expect(rows.length).toBeLessThanOrEqual(1001);
    expect(rows.length).toBeGreaterThan(900);
    expect(rows.at(-1)).toEqual({ step: 100_000 });
    const steps = rows.slice(0, -1).map(({ step }) => step as number);
    expect(new Set(steps.slice(1).map((step, i) => step - steps[i]!)).size).toBe(1);
  });

  it('tells no path of the machine', async () => {
    run('a', {
      command: ['train', '--out', '/home/someone/secret/run', '--data=/srv/data/world'],
      config: { vectors: '/srv/private/vectors', learningRate: 0.001 },
      dataset: { name: 'world', directory: '/srv/data/world' },
      inputs: { vectors: { path: '/srv/private/vectors', sha256: 'x' } },
      sittings: [
        { startedAt: 'x', endedAt: 'y', outcome: 'failed', error: 'cannot read /srv/private/vectors/a.bin: gone' },
      ],
    });
    const found = (await (await RunDirectory.open(root)).run('a'))!;
    expect(JSON.stringify(found)).not.toMatch(/srv|home|private|secret/);
    expect(found.command).toEqual(['train', '--out', '…/run', '--data=…/world']);
    expect(found.config).toEqual({ vectors: '…/vectors', learningRate: 0.001 });
    expect(found.error).toBe('cannot read …/a.bin: gone');
  });

  it('takes fields of other types for missing', async () => {
    run('a', { seed: 'one', config: 3, dataset: [], sittings: 'none', versions: null, command: 'x', startedAt: 5 });
    expect(await (await RunDirectory.open(root)).run('a')).toMatchObject({
      seeds: [],
      startedAt: null,
      sittings: [],
      command: [],
    });
  });
});

describe('nothing outside the directory is reachable', () => {
  const secret = { format: 'larr-run-record', version: 1, stage: 'secret', sittings: [] };

  it('by an id that is a path', async () => {
    mkdirSync(join(outside, 'other'));
    writeFileSync(join(outside, 'other', 'run.json'), JSON.stringify(secret));
    writeFileSync(join(outside, 'other', 'report.html'), 'secret');
    run('a');
    const runs = await RunDirectory.open(root);
    for (const id of [
      '../other',
      '..~other',
      '../../etc',
      '/etc',
      '.',
      '..',
      'a/../../other',
      '%2e%2e~other',
      '',
      'a\0',
    ]) {
      expect(await runs.run(id)).toBeNull();
      expect(await runs.report(id)).toBeNull();
      expect(await runs.metrics(id, 10)).toBeNull();
    }
  });

  it('by links of folders or of files, those put there after the walk too', async () => {
    mkdirSync(join(outside, 'other'));
    writeFileSync(join(outside, 'other', 'run.json'), JSON.stringify(secret));
    writeFileSync(join(outside, 'other', 'metrics.jsonl'), '{"secret":1}\n');
    symlinkSync(join(outside, 'other'), join(root, 'linked'));
    const a = run('a');
    symlinkSync(join(outside, 'other', 'metrics.jsonl'), join(a, 'metrics.jsonl'));
    const b = run('b', {}, lines(2));
    mkdirSync(join(root, 'c'));
    symlinkSync(join(outside, 'other', 'run.json'), join(root, 'c', 'run.json'));
    const runs = await RunDirectory.open(root);
    expect((await runs.list()).map(({ id }) => id).sort()).toEqual(['a', 'b']);
    expect(await runs.metrics('a', 10)).toBeNull();
    rmSync(b, { recursive: true });
    symlinkSync(join(outside, 'other'), b);
    expect(await runs.run('b')).toBeNull();
    expect(await runs.metrics('b', 10)).toBeNull();
  });

  it('and files of unreasonable size are not there', async () => {
    const a = run('a');
    writeFileSync(join(a, 'report.html'), '');
    truncateSync(join(a, 'report.html'), 64 << 20);
    const runs = await RunDirectory.open(root);
    expect(await runs.report('a')).toBeNull();
    expect(await runs.run('a')).toMatchObject({ report: false });
  });
});

it('says that a directory is missing', async () => {
  await expect(RunDirectory.open(join(outside, 'nowhere'))).rejects.toMatchObject({ code: 'RUNS_MISSING' });
});
