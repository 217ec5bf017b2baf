// run.json: what a run directory was made with, and when.
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Dataset, LarrError, writeFileAtomic } from '@larr/core';
import { getNumThreads, versions } from '@larr/torch';

/** One time that a run was worked on: a stopped run has several. */
export interface Sitting {
  startedAt: string;
  /** null while it runs, and for ever where the process was killed */
  endedAt: string | null;
  outcome: 'running' | 'finished' | 'stopped' | 'failed';
  /** why it stopped or failed */
  error: string | null;
}

/** What a run depends on, as its stage knows it. */
export interface RunDescription {
  stage: 'abtest' | 'pretrain' | 'finetune' | 'embed' | 'train' | 'compare' | 'ablate' | 'sweep' | 'tune';
  /** Digest of everything that decides the run's numbers. */
  identity: string;
  /** The configuration in full: defaults, the dataset's recommendation and the user's settings put together. */
  config: unknown;
  seed: number | readonly number[];
  device: string;
  /** How many worked together, each on such a device; left out where one did. */
  processes?: number | undefined;
  dataset: RunDataset;
  /** What earlier stages wrote and this one read, by what it is to this run. */
  inputs: Record<string, RunInput>;
}

export interface RunDataset {
  directory: string;
  name: string;
  split: string;
  schemaDigest: string;
  contentDigest: string;
}

export interface RunInput {
  path: string;
  sha256: string;
}

/** `run.json` of a run directory. */
export interface RunRecord extends RunDescription {
  format: 'larr-run-record';
  version: 1;
  /** Arguments of the process of the latest sitting: of `larr`, those after its name. */
  command: string[];
  threads: number;
  versions: RunVersions;
  startedAt: string;
  /** null until the run is finished */
  finishedAt: string | null;
  sittings: Sitting[];
}

export interface RunVersions {
  larr: string;
  node: string;
  libtorch: string;
  /** of the CUDA runtime; null without CUDA */
  cuda: string | null;
  /** of the sources, where they lie in a git work tree; `modified` where files that it tracks were changed since */
  commit: string | null;
  modified: boolean | null;
}

const FILE = 'run.json';

/**
 * Does the work of one sitting and keeps `run.json` in `directory`: written before, so that a killed run has it too, and again
 * when the work is finished, stopped or failed. Sittings of the same run are added up; another run's are forgotten.
 *
 * @param signal tells a run that was stopped from one that failed
 * @param unchanged whether a finished run that was asked for again found nothing to do; its record is then put back
 * @returns what `work` returns, and the record of the finished run
 */
export async function recordRun<T>(
  directory: string,
  description: RunDescription,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
  unchanged: (result: T) => Promise<boolean> = async () => false,
): Promise<{ result: T; record: RunRecord; unchanged: boolean }> {
  const before = await readRecord(directory);
  const same = before?.identity === description.identity && before.stage === description.stage ? before : null;
  const startedAt = new Date().toISOString();
  const sitting: Sitting = { startedAt, endedAt: null, outcome: 'running', error: null };
  const { stage, seed, device, processes, dataset, inputs, identity, config } = description;
  const record: RunRecord = {
    format: 'larr-run-record',
    version: 1,
    stage,
    command: process.argv.slice(2),
    seed,
    device,
    ...(processes !== undefined && { processes }),
    threads: getNumThreads(),
    versions: await runVersions(),
    dataset,
    inputs,
    startedAt: same?.startedAt ?? startedAt,
    finishedAt: null,
    sittings: [...(same?.sittings ?? []), sitting],
    identity,
    config,
  };
  const write = (what: RunRecord) => writeFileAtomic(join(directory, FILE), `${JSON.stringify(what, null, 2)}\n`);
  await write(record);
  try {
    const result = await work();
    if (same?.finishedAt && (await unchanged(result))) {
      await write(same);
      return { result, record: same, unchanged: true };
    }
    sitting.endedAt = record.finishedAt = new Date().toISOString();
    sitting.outcome = 'finished';
    await write(record);
    return { result, record, unchanged: false };
  } catch (error) {
    sitting.endedAt = new Date().toISOString();
    const stopped = signal?.aborted || (error instanceof LarrError && error.code === 'INTERRUPTED');
    sitting.outcome = stopped ? 'stopped' : 'failed';
    sitting.error = error instanceof Error ? error.message : String(error);
    await write(record);
    throw error;
  }
}

/** A run's record; null where there is none, or none that can be read. */
export async function readRecord(directory: string): Promise<RunRecord | null> {
  try {
    const record = JSON.parse(await readFile(join(directory, FILE), 'utf8')) as RunRecord;
    return record.format === 'larr-run-record' && Array.isArray(record.sittings) ? record : null;
  } catch {
    return null;
  }
}

/** What a run record says of its dataset. */
export function runDataset({ directory, manifest, splitName }: Dataset): RunDataset {
  const { name, schemaDigest, contentDigest } = manifest;
  return { directory, name, split: splitName, schemaDigest, contentDigest };
}

let known: Promise<RunVersions> | null = null;

/** Asked once a process: the sources do not change under it. */
export function runVersions(): Promise<RunVersions> {
  known ??= findVersions();
  return known;
}

async function findVersions(): Promise<RunVersions> {
  const { version } = createRequire(import.meta.url)('@larr/trainer/package.json') as { version: string };
  const { libtorch, cuda } = versions();
  return { larr: version, node: process.versions.node, libtorch, cuda, ...(await sourceCommit()) };
}

async function sourceCommit(): Promise<Pick<RunVersions, 'commit' | 'modified'>> {
  const git = async (...args: string[]) =>
    (await promisify(execFile)('git', ['-C', import.meta.dirname, ...args], { timeout: 5000 })).stdout.trim();
  try {
    // Installed as a dependency, the package can lie in somebody else's work tree, which says nothing of it.
    await git('ls-files', '--error-unmatch', '../../package.json');
    const commit = await git('rev-parse', 'HEAD');
    return { commit, modified: (await git('status', '--porcelain', '--untracked-files=no')) !== '' };
  } catch {
    return { commit: null, modified: null };
  }
}
