import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TrainingError } from '@larr/core';
import { getNumThreads } from '@larr/torch';
import { afterAll, expect, test } from 'vitest';
import { type RunDescription, type RunRecord, readRecord, recordRun } from './run-record.js';

const root = mkdtempSync(join(tmpdir(), 'larr-record-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const run: RunDescription = {
  stage: 'train',
  identity: 'a',
  config: { epochs: 2 },
  seed: 7,
  device: 'cpu',
  dataset: { directory: 'data', name: 'toy', split: 'time', schemaDigest: '1', contentDigest: '2' },
  inputs: { vectors: { path: 'vectors', sha256: '3' } },
};
const written = (directory: string) => JSON.parse(readFileSync(join(directory, 'run.json'), 'utf8')) as RunRecord;

test('a run says what it was made with before its work begins, and when it was done after', async () => {
  const directory = join(root, 'whole');
  const { result, record } = await recordRun(directory, run, undefined, async () => {
    expect(written(directory)).toMatchObject({ ...run, finishedAt: null, threads: getNumThreads() });
    expect(written(directory).sittings).toMatchObject([{ outcome: 'running', endedAt: null }]);
    return 42;
  });
  expect(result).toBe(42);
  expect(written(directory)).toEqual(record);
  expect(record.sittings).toMatchObject([{ outcome: 'finished', error: null }]);
  expect(Date.parse(record.finishedAt!)).toBeGreaterThanOrEqual(Date.parse(record.startedAt));
  expect(record.versions).toMatchObject({ node: process.versions.node, larr: expect.stringMatching(/^\d+\.\d+/) });
  expect(record.versions.libtorch).toMatch(/^2\.\d+/);
});

test('sittings of one run are told apart: killed, failed, stopped, finished; another run begins anew', async () => {
  const directory = join(root, 'broken');
  const failing = (error: Error, signal?: AbortSignal) =>
    recordRun(directory, run, signal, () => Promise.reject(error)).catch(() => {});
  // As a killed process leaves it.
  let left = '';
  await recordRun(directory, run, undefined, async () => {
    left = readFileSync(join(directory, 'run.json'), 'utf8');
  });
  rmSync(join(directory, 'run.json'));
  const { writeFileAtomic } = await import('@larr/core');
  await writeFileAtomic(join(directory, 'run.json'), left);
  await failing(new Error('no memory'));
  await failing(new TrainingError('INTERRUPTED', 'enough'));
  await failing(new Error('any reason'), AbortSignal.abort());
  const { record } = await recordRun(directory, run, undefined, async () => {});
  expect(record.sittings.map(({ outcome, error }) => [outcome, error])).toEqual([
    ['running', null],
    ['failed', 'no memory'],
    ['stopped', 'enough'],
    ['stopped', 'any reason'],
    ['finished', null],
  ]);
  expect(record.startedAt).toBe(record.sittings[0]!.startedAt);
  const other = await recordRun(directory, { ...run, identity: 'b' }, undefined, async () => {});
  expect(other.record.sittings).toHaveLength(1);
});

test('asked for again with nothing to do, a finished run keeps its record', async () => {
  const directory = join(root, 'again');
  const once = async (changed: boolean) =>
    recordRun(
      directory,
      run,
      undefined,
      async () => changed,
      async (result) => !result,
    );
  const first = await once(false);
  expect(first.unchanged).toBe(false);
  const second = await once(false);
  expect(second.unchanged).toBe(true);
  expect(await readRecord(directory)).toEqual(first.record);
  expect((await once(true)).record.sittings).toHaveLength(2);
});
