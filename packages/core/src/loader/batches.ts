import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import {
  bytesPerSample,
  joinSamples,
  type SampleShape,
  type Samples,
  samplesOver,
  shareColumns,
} from '../dataset/samples.js';
import { ConfigError, DataError } from '../errors.js';
import type { BatchWorkerSetup, FromBatchWorker, ToBatchWorker } from './batch-worker.js';

export interface BatchOptions {
  /** Rows per batch; the last of an epoch has what is left. */
  batchSize: number;
  /** Seed of the order; null keeps the order of the files (for validation and test). */
  seed: number | null;
  /** Number of the pass, from 0: every epoch has an order of its own. Default 0. */
  epoch?: number;
  /** Where to go on in the epoch's order: the rows taken so far, as `SampleBatch.next` tells. Default 0. */
  row?: number;
  /** Rows that are in memory and shuffled together; default 524,288. At least one row group (122,880 rows) always is. */
  windowRows?: number;
  /** Batches made ahead of the one in use; default 4. */
  prefetch?: number;
  /** Threads that read and shuffle, each some of the columns; default 2. */
  threads?: number;
}

/** A batch and where the epoch goes on after it. */
export interface SampleBatch {
  /** The batch owns its memory; it may be kept. */
  samples: Samples;
  /** Rows of the epoch up to and including this batch: the `row` that resumes after it. */
  next: number;
}

/** A part as the loader sees it. */
export interface BatchSource {
  directory: string;
  files: string[];
  rows: number;
  shape: SampleShape;
}

const defaultWindowRows = 524_288;
const defaultPrefetch = 4;

/** The most memory, in bytes, that the batches of a part take: two windows, and the batches ahead and in use. */
export function batchMemory(shape: SampleShape, options: BatchOptions): number {
  const windows = 2 * Math.max(options.windowRows ?? defaultWindowRows, 122_880);
  return bytesPerSample(shape) * (windows + options.batchSize * ((options.prefetch ?? defaultPrefetch) + 2));
}

/**
 * One epoch of a part in shuffled batches, made on other threads while the caller works on the one before. Memory is that
 * of `batchMemory`, however large the part is.
 *
 * The order follows from the dataset, `seed`, `epoch` and `windowRows` alone: starting again with `row` gives the very batches
 * that an uninterrupted run would have given. Every row comes once. Leaving the loop early stops the threads.
 * @throws ConfigError `BAD_OPTION`; DataError `DATASET_CORRUPT`
 */
export async function* streamBatches(source: BatchSource, options: BatchOptions): AsyncGenerator<SampleBatch, void> {
  const { directory, files, rows } = source;
  const setup = {
    directory,
    files,
    rows,
    batchSize: whole('batchSize', options.batchSize, 1),
    windowRows: whole('windowRows', options.windowRows ?? defaultWindowRows, 1),
    seed: options.seed === null ? null : whole('seed', options.seed, 0),
    epoch: whole('epoch', options.epoch ?? 0, 0),
    row: whole('row', options.row ?? 0, 0),
  };
  const threads = whole('threads', options.threads ?? 2, 1);
  const prefetch = whole('prefetch', options.prefetch ?? defaultPrefetch, 1);
  if (setup.row > rows)
    throw new ConfigError('BAD_OPTION', `row ${setup.row} lies beyond the ${rows} rows of the part.`);
  const readers = shareColumns(source.shape, threads).map((shape) => startReader({ ...setup, shape }));
  let next = setup.row;
  try {
    for (let i = 0; i < prefetch; i++) for (const reader of readers) reader.ask('more');
    for (;;) {
      const shares: Samples[] = [];
      for (const { take, shape } of readers) {
        const message = await take();
        if (message.kind === 'end') return;
        if (message.kind === 'failed') throw new DataError(message.code, message.message, { file: directory });
        shares.push(samplesOver(shape, message.rows, message.buffer));
      }
      for (const reader of readers) reader.ask('more');
      const samples = joinSamples(shares);
      next += samples.rows;
      yield { samples, next };
    }
  } finally {
    for (const reader of readers) reader.ask('stop');
    await Promise.all(readers.map((reader) => reader.ended));
  }
}

interface Reader {
  shape: SampleShape;
  ask(message: ToBatchWorker): void;
  /** Its next message, once it is there. */
  take(): Promise<FromBatchWorker>;
  ended: Promise<void>;
}

function startReader(setup: BatchWorkerSetup): Reader {
  // A worker is always the built file: threads do not load TypeScript, also where tests run this module from its source.
  const file = createRequire(import.meta.url).resolve('@larr/core/batch-worker');
  const worker = new Worker(file, { workerData: setup });
  const arrived: FromBatchWorker[] = [];
  let wake: (() => void) | null = null;
  const arrive = (message: FromBatchWorker) => {
    arrived.push(message);
    wake?.();
  };
  worker.on('message', arrive);
  worker.on('error', (error) => arrive({ kind: 'failed', code: 'LOADER_FAILED', message: String(error) }));
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', () => {
      arrive({ kind: 'failed', code: 'LOADER_FAILED', message: 'the loader thread has stopped' });
      resolve();
    });
  });
  return {
    shape: setup.shape,
    ask: (message) => worker.postMessage(message),
    async take() {
      while (arrived.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return arrived.shift()!;
    },
    ended,
  };
}

function whole(name: string, value: number, least: number): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new ConfigError('BAD_OPTION', `${name} is ${value}; it must be a whole number of at least ${least}.`);
}
