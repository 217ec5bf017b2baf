import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { ApiError } from '../api/errors.js';
import type { FromRanker, RankerJob, RankerScores, RankerSetup, ToRanker } from './ranker-messages.js';

export interface QueueLimits {
  /** Most rows in one run of the graph: larger ones answer later without being faster. */
  batchRows: number;
  /** Rows that may wait; beyond them a request is refused with 503. */
  queuedRows: number;
  /** Longest wait before a run begins, milliseconds; beyond it a request is refused with 503. */
  deadlineMs: number;
}

export const DEFAULT_QUEUE: QueueLimits = { batchRows: 4096, queuedRows: 65_536, deadlineMs: 2000 };

interface Waiting {
  job: RankerJob;
  /** when it came, milliseconds */
  since: number;
  /** when its run began */
  started: number;
  settle: { resolve: (result: { scores: RankerScores; waited: number }) => void; reject: (reason: Error) => void };
}

/**
 * The ONNX ranker in a thread of its own. Requests that arrive while it computes are answered together in its next run; how many rows
 * may wait, and how long, is bounded.
 */
export class Ranker {
  readonly #worker: Worker;
  readonly #limits: QueueLimits;
  readonly #onBatch: (rows: number) => void;
  #waiting: Waiting[] = [];
  #queuedRows = 0;
  #running: Waiting[] | null = null;
  #broken: Error | null = null;
  #onIdle: (() => void) | null = null;

  private constructor(worker: Worker, limits: QueueLimits, onBatch: (rows: number) => void) {
    this.#worker = worker;
    this.#limits = limits;
    this.#onBatch = onBatch;
    worker.on('message', (message: FromRanker) => this.#receive(message));
    worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    worker.on('exit', () => this.#fail(new Error('the ranker has stopped')));
  }

  /** Starts the thread and loads the graph. Rejects with the runtime's reason when it cannot. */
  static async start(setup: RankerSetup, limits: QueueLimits, onBatch: (rows: number) => void): Promise<Ranker> {
    // A worker is always the built file: threads do not load TypeScript, also where tests run this module from its source.
    const file = createRequire(import.meta.url).resolve('@larr/server/ranker-worker');
    const worker = new Worker(file, { workerData: setup });
    await new Promise<void>((resolve, reject) => {
      const exited = (code: number): void =>
        reject(new Error(`the ranker ended with code ${code} before it was ready`));
      worker.once('message', () => {
        worker.off('error', reject).off('exit', exited);
        resolve();
      });
      worker.once('error', reject);
      worker.once('exit', exited);
    });
    return new Ranker(worker, limits, onBatch);
  }

  /** Whether the thread has ended: nothing will be scored any more. */
  get broken(): boolean {
    return this.#broken !== null;
  }

  /** Rows that wait now. */
  get queuedRows(): number {
    return this.#queuedRows;
  }

  /**
   * Scores one request's rows. `waited`: seconds before its run began.
   * @throws ApiError OVERLOADED (503) when too much waits, or it waited too long
   */
  score(job: RankerJob): Promise<{ scores: RankerScores; waited: number }> {
    if (this.#broken !== null) return Promise.reject(this.#broken);
    if (this.#queuedRows > 0 && this.#queuedRows + job.rows > this.#limits.queuedRows)
      return Promise.reject(overloaded());
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, since: performance.now(), started: 0, settle: { resolve, reject } });
      this.#queuedRows += job.rows;
      if (this.#running === null) setImmediate(() => this.#runNext());
    });
  }

  /** Answers what waits, then ends the thread. */
  async close(): Promise<void> {
    if (this.#waiting.length > 0 || this.#running !== null)
      await new Promise<void>((resolve) => (this.#onIdle = resolve));
    if (this.#broken !== null) return;
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.postMessage({ kind: 'stop' } satisfies ToRanker);
    await exited;
  }

  #runNext(): void {
    if (this.#running !== null || this.#broken !== null) return;
    const now = performance.now();
    const batch: Waiting[] = [];
    let rows = 0;
    while (this.#waiting[0] !== undefined) {
      const next = this.#waiting[0];
      if (now - next.since > this.#limits.deadlineMs) {
        this.#take();
        next.settle.reject(overloaded());
        continue;
      }
      if (batch.length > 0 && rows + next.job.rows > this.#limits.batchRows) break;
      this.#take();
      batch.push(next);
      rows += next.job.rows;
    }
    if (batch.length === 0) {
      this.#onIdle?.();
      return;
    }
    this.#running = batch;
    this.#onBatch(rows);
    for (const waiting of batch) waiting.started = now;
    const jobs = batch.map(({ job }) => job);
    try {
      this.#worker.postMessage({ kind: 'batch', jobs } satisfies ToRanker, jobs.flatMap(ownBuffers));
    } catch (error) {
      this.#running = null;
      for (const { settle } of batch) settle.reject(error as Error);
      this.#runNext();
    }
  }

  #take(): void {
    this.#queuedRows -= this.#waiting.shift()!.job.rows;
  }

  #receive(message: FromRanker): void {
    const batch = this.#running ?? [];
    this.#running = null;
    if (message.kind === 'failed') {
      for (const { settle } of batch) settle.reject(new Error(message.message));
    } else if (message.kind === 'scores') {
      let from = 0;
      for (const { job, settle, since, started } of batch) {
        const to = from + job.rows;
        const { pCtr, pCtcvr } = message.scores;
        const scores = { pCtr: pCtr.subarray(from, to), pCtcvr: pCtcvr?.subarray(from, to) ?? null };
        settle.resolve({ scores, waited: (started - since) / 1000 });
        from = to;
      }
    }
    this.#runNext();
  }

  #fail(error: Error): void {
    // an error ends the thread too: the first reason is the one to tell
    this.#broken ??= error;
    for (const { settle } of [...(this.#running ?? []), ...this.#waiting]) settle.reject(error);
    this.#running = null;
    this.#waiting = [];
    this.#queuedRows = 0;
    this.#onIdle?.();
  }
}

const overloaded = (): ApiError =>
  new ApiError(503, 'OVERLOADED', 'too many requests wait already; try again in a moment', undefined, 1);

/**
 * Buffers that a job gives away. Not z: the scene encoder pins the buffer it has written, which then cannot be transferred, and it is
 * small (one vector a scene), so it is copied.
 */
function ownBuffers({
  context,
  contextIds,
  ids,
  contextDense,
  dense,
  behaviour,
  history,
  poi,
}: RankerJob): ArrayBuffer[] {
  const arrays = [context, contextIds, ids, contextDense, dense, behaviour, history, poi];
  return arrays.flatMap((array) => (array === null ? [] : [array.buffer as ArrayBuffer]));
}
