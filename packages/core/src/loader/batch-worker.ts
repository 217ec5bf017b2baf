// A thread of the loader: reads windows of some of the columns, one ahead, and sends shuffled batches as the other side asks for them.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { bytesPerSample, type SampleShape, type Samples, samplesOver } from '../dataset/samples.js';
import { DuckdbSession } from '../duckdb/session.js';
import { LarrError } from '../errors.js';
import { epochWindows, rowOrder, type Window } from './epoch-order.js';
import { listBlocks, readWindow } from './read-window.js';
import { copyRows, shuffleRows } from './shuffle.js';

/** What the thread is started with. */
export interface BatchWorkerSetup {
  directory: string;
  files: string[];
  rows: number;
  shape: SampleShape;
  batchSize: number;
  windowRows: number;
  /** null: the order of the files. */
  seed: number | null;
  epoch: number;
  /** Rows of the epoch that are passed over. */
  row: number;
}

/** Main thread → loader: send one more batch, or stop. */
export type ToBatchWorker = 'more' | 'stop';
/** Loader → main thread. A batch's buffer changes hands. */
export type FromBatchWorker =
  | { kind: 'batch'; rows: number; buffer: ArrayBuffer }
  | { kind: 'end' }
  | { kind: 'failed'; code: string; message: string };

class Requests {
  #open = 0;
  #stopped = false;
  #wake: (() => void) | null = null;
  constructor(port: MessagePort) {
    port.on('message', (message: ToBatchWorker) => {
      if (message === 'stop') this.#stopped = true;
      else this.#open++;
      this.#wake?.();
    });
  }
  /** Resolves when a batch is asked for: true, or false when the loader shall stop. */
  async next(): Promise<boolean> {
    while (this.#open === 0 && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#open--;
    return !this.#stopped;
  }
}

async function serve(setup: BatchWorkerSetup, port: MessagePort, requests: Requests): Promise<void> {
  const { shape, seed, epoch } = setup;
  using db = await DuckdbSession.open({ threads: 2 });
  // About a row group: DuckDB's threads go on decoding while this one shuffles. The default of 1 MB has them wait after a few chunks.
  await db.run("SET streaming_buffer_size = '16MB'");
  const blocks = await listBlocks(db, setup.directory, setup.files, setup.rows);
  const windows = epochWindows(blocks, setup.windowRows, seed, epoch);
  let w = windows.findIndex(({ start, rows }) => setup.row < start + rows);
  if (w < 0) return;
  // Two windows take turns: one is read while the other is handed out. Fresh memory for each cost a fifth of the reading.
  const largest = Math.max(...windows.map(({ rows }) => rows)) * bytesPerSample(shape);
  const memory = [new ArrayBuffer(largest), new ArrayBuffer(windows.length > 1 ? largest : 0)] as const;
  const read = (window: Window, turn: number) => {
    const samples = readWindow(db, setup.directory, shape, window, memory[turn % 2]!).then(async (samples) => {
      if (seed !== null) await shuffleRows(samples, rowOrder(window, seed, epoch));
      return samples;
    });
    // Its failure is met when the window's turn comes.
    samples.catch(() => {});
    return samples;
  };

  let row = setup.row;
  let batch: Samples | null = null;
  let buffer = new ArrayBuffer(0);
  let filled = 0;
  const firstTurn = w;
  let ahead = read(windows[w]!, 0);
  for (; w < windows.length; w++) {
    const window = windows[w]!;
    const samples = await ahead;
    const following = windows[w + 1];
    if (following !== undefined) ahead = read(following, w + 1 - firstTurn);
    while (row < window.start + window.rows) {
      if (batch === null) {
        if (!(await requests.next())) {
          // Reading on another thread ends before the database closes.
          await ahead.catch(() => {});
          return;
        }
        const size = Math.min(setup.batchSize, setup.rows - row);
        buffer = new ArrayBuffer(size * bytesPerSample(shape));
        batch = samplesOver(shape, size, buffer);
        filled = 0;
      }
      const count = Math.min(batch.rows - filled, window.start + window.rows - row);
      copyRows(samples, batch, row - window.start, count, filled);
      row += count;
      filled += count;
      if (filled < batch.rows) break;
      port.postMessage({ kind: 'batch', rows: batch.rows, buffer } satisfies FromBatchWorker, [buffer]);
      batch = null;
    }
  }
}

const port = parentPort!;
const requests = new Requests(port);
try {
  await serve(workerData as BatchWorkerSetup, port, requests);
  port.postMessage({ kind: 'end' } satisfies FromBatchWorker);
} catch (error) {
  const known = error instanceof LarrError;
  port.postMessage({
    kind: 'failed',
    code: known ? error.code : 'LOADER_FAILED',
    message: error instanceof Error ? error.message : String(error),
  } satisfies FromBatchWorker);
}
port.close();
