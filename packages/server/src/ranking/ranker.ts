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

/** Rows of one request that are worth a thread of their own: fewer are scored sooner than they are taken apart. */
const LEAST_PIECE = 128;

interface Waiting {
  job: RankerJob;
  /** when it came, milliseconds */
  since: number;
  /** when its run began */
  started: number;
  /** scores of its rows, as they come */
  scores: RankerScores | null;
  /** rows that are still computed */
  left: number;
  settle: { resolve: (result: { scores: RankerScores; waited: number }) => void; reject: (reason: Error) => void };
}

/** Rows of one request that a thread computes. */
interface Piece {
  of: Waiting;
  from: number;
  to: number;
}

/** A thread, and what it computes now; null while it has nothing to do. */
interface RankerThread {
  worker: Worker;
  running: Piece[] | null;
}

/**
 * The ONNX ranker in threads of its own, each with one core. While others wait, a thread takes whole requests, several small ones in one run; where one
 * request comes alone, idle threads share its rows. How many rows may wait, and how long, is bounded.
 */
export class Ranker {
  readonly #threads: RankerThread[];
  readonly #limits: QueueLimits;
  readonly #onBatch: (rows: number) => void;
  #waiting: Waiting[] = [];
  #queuedRows = 0;
  #broken: Error | null = null;
  #onIdle: (() => void) | null = null;

  private constructor(workers: Worker[], limits: QueueLimits, onBatch: (rows: number) => void) {
    this.#limits = limits;
    this.#onBatch = onBatch;
    this.#threads = workers.map((worker) => ({ worker, running: null }));
    for (const thread of this.#threads) {
      thread.worker.on('message', (message: FromRanker) => this.#receive(thread, message));
      thread.worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))));
      thread.worker.on('exit', () => this.#fail(new Error('the ranker has stopped')));
    }
  }

  /** Starts the threads, each of which loads the graph. Rejects with the runtime's reason when one cannot. */
  static async start(
    setup: RankerSetup,
    threads: number,
    limits: QueueLimits,
    onBatch: (rows: number) => void,
  ): Promise<Ranker> {
    // A worker is always the built file: threads do not load TypeScript, also where tests run this module from its source.
    const file = createRequire(import.meta.url).resolve('@larr/server/ranker-worker');
    const starting = Array.from({ length: threads }, () => startWorker(file, setup));
    try {
      return new Ranker(await Promise.all(starting), limits, onBatch);
    } catch (error) {
      for (const one of await Promise.allSettled(starting))
        if (one.status === 'fulfilled') one.value.postMessage({ kind: 'stop' } satisfies ToRanker);
      throw error;
    }
  }

  /** Whether a thread has ended: nothing will be scored any more. */
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
      const since = performance.now();
      this.#waiting.push({ job, since, started: 0, scores: null, left: job.rows, settle: { resolve, reject } });
      this.#queuedRows += job.rows;
      // Let the requests of this turn of the event loop come together.
      if (this.#threads.some(({ running }) => running === null)) setImmediate(() => this.#runNext());
    });
  }

  /** Answers what waits, then ends the threads. */
  async close(): Promise<void> {
    if (this.#waiting.length > 0 || this.#threads.some(({ running }) => running !== null))
      await new Promise<void>((resolve) => (this.#onIdle = resolve));
    if (this.#broken !== null) return;
    const exited = this.#threads.map(({ worker }) => new Promise((resolve) => worker.once('exit', resolve)));
    for (const { worker } of this.#threads) worker.postMessage({ kind: 'stop' } satisfies ToRanker);
    await Promise.all(exited);
  }

  #runNext(): void {
    if (this.#broken !== null) return;
    this.#dropLate();
    for (;;) {
      const idle = this.#threads.filter(({ running }) => running === null);
      if (idle.length === 0 || this.#waiting.length === 0) break;
      const batch = this.#takeBatch(Math.ceil(this.#queuedRows / idle.length));
      const [first] = batch;
      const rows = batch.reduce((sum, { job }) => sum + job.rows, 0);
      const share = this.#waiting.length > 0 ? 1 : Math.min(idle.length, Math.floor(rows / LEAST_PIECE));
      if (batch.length > 1 || share < 2) {
        this.#run(
          idle[0]!,
          batch.map((one) => ({ of: one, from: 0, to: one.job.rows })),
        );
        continue;
      }
      for (let i = 0; i < share; i++) {
        const [from, to] = [Math.floor((i * rows) / share), Math.floor(((i + 1) * rows) / share)];
        this.#run(idle[i]!, [{ of: first!, from, to }]);
      }
    }
    if (this.#waiting.length === 0 && this.#threads.every(({ running }) => running === null)) this.#onIdle?.();
  }

  /** Refuses what has waited too long. */
  #dropLate(): void {
    const now = performance.now();
    while (this.#waiting[0] !== undefined && now - this.#waiting[0].since > this.#limits.deadlineMs)
      this.#take().settle.reject(overloaded());
  }

  /** Requests for one thread: as many as make `rows`, one at least. */
  #takeBatch(rows: number): Waiting[] {
    const most = Math.min(this.#limits.batchRows, Math.max(rows, LEAST_PIECE));
    const now = performance.now();
    const batch: Waiting[] = [];
    let taken = 0;
    while (this.#waiting[0] !== undefined && (batch.length === 0 || taken + this.#waiting[0].job.rows <= most)) {
      const next = this.#take();
      next.started = now;
      taken += next.job.rows;
      batch.push(next);
    }
    return batch;
  }

  #take(): Waiting {
    const next = this.#waiting.shift()!;
    this.#queuedRows -= next.job.rows;
    return next;
  }

  #run(thread: RankerThread, pieces: Piece[]): void {
    this.#onBatch(pieces.reduce((sum, { from, to }) => sum + to - from, 0));
    thread.running = pieces;
    const jobs = pieces.map(({ of, from, to }) => (to - from === of.job.rows ? of.job : pieceOf(of.job, from, to)));
    try {
      thread.worker.postMessage({ kind: 'batch', jobs } satisfies ToRanker, jobs.flatMap(ownBuffers));
    } catch (error) {
      thread.running = null;
      for (const { of } of pieces) of.settle.reject(error as Error);
    }
  }

  #receive(thread: RankerThread, message: FromRanker): void {
    const pieces = thread.running ?? [];
    thread.running = null;
    if (message.kind === 'failed') {
      for (const { of } of pieces) of.settle.reject(new Error(message.message));
    } else if (message.kind === 'scores') {
      let at = 0;
      for (const piece of pieces) {
        put(piece, message.scores, at);
        at += piece.to - piece.from;
      }
    }
    this.#runNext();
  }

  #fail(error: Error): void {
    // an error ends the thread too: the first reason is the one to tell
    this.#broken ??= error;
    const running = this.#threads.flatMap((thread) => thread.running ?? []).map(({ of }) => of);
    for (const { settle } of [...running, ...this.#waiting]) settle.reject(error);
    for (const thread of this.#threads) thread.running = null;
    this.#waiting = [];
    this.#queuedRows = 0;
    this.#onIdle?.();
  }
}

async function startWorker(file: string, setup: RankerSetup): Promise<Worker> {
  const worker = new Worker(file, { workerData: setup });
  await new Promise<void>((resolve, reject) => {
    const exited = (code: number): void => reject(new Error(`the ranker ended with code ${code} before it was ready`));
    worker.once('message', () => {
      worker.off('error', reject).off('exit', exited);
      resolve();
    });
    worker.once('error', reject);
    worker.once('exit', exited);
  });
  return worker;
}

/** Takes a piece's scores, which begin at `at`, and answers its request once they are all there. */
function put({ of, from, to }: Piece, { pCtr, pCtcvr }: RankerScores, at: number): void {
  const rows = to - from;
  const { job, settle, since, started } = of;
  const own = { pCtr: pCtr.subarray(at, at + rows), pCtcvr: pCtcvr?.subarray(at, at + rows) ?? null };
  of.left -= rows;
  if (rows === job.rows) of.scores = own;
  else {
    of.scores ??= {
      pCtr: new Float32Array(job.rows),
      pCtcvr: pCtcvr === null ? null : new Float32Array(job.rows),
    };
    of.scores.pCtr.set(own.pCtr, from);
    if (own.pCtcvr !== null) of.scores.pCtcvr!.set(own.pCtcvr, from);
  }
  if (of.left === 0) settle.resolve({ scores: of.scores, waited: (started - since) / 1000 });
}

/** Some rows of a job, with copies of its contexts. */
function pieceOf(job: RankerJob, from: number, to: number): RankerJob {
  const part = <T extends Int32Array | Float32Array>(matrix: T | null): T | null => {
    if (matrix === null) return null;
    const width = matrix.length / job.rows;
    return matrix.slice(from * width, to * width) as T;
  };
  const copy = <T extends Int32Array | Float32Array>(matrix: T | null): T | null =>
    matrix === null ? null : (matrix.slice() as T);
  return {
    rows: to - from,
    contexts: job.contexts,
    context: part(job.context)!,
    contextIds: copy(job.contextIds),
    ids: part(job.ids),
    contextDense: copy(job.contextDense),
    dense: part(job.dense),
    z: job.z,
    behaviour: copy(job.behaviour),
    history: copy(job.history),
    poi: part(job.poi),
  };
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
