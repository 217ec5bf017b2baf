import { ApiError } from '../api/errors.js';
import { LaneEnded, type RankerKind, type RankerLane, type RankerLanes } from './ranker-lane.js';
import type { RankerJob, RankerScores } from './ranker-messages.js';

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

/** Rows of one request that a lane computes. */
interface Piece {
  of: Waiting;
  from: number;
  to: number;
}

/** A lane, and what it computes now; null while it has nothing to do. */
interface BusyLane {
  lane: RankerLane;
  running: Piece[] | null;
}

/**
 * The queue before a bundle's ranker. While others wait, a lane takes whole requests, several small ones in one run; where one request comes alone, idle
 * lanes share its rows if that is worth it. How many rows may wait, and how long, is bounded.
 */
export class Ranker {
  readonly kind: RankerKind;
  readonly #lanes: BusyLane[];
  readonly #cut: boolean;
  readonly #keptBytes: () => number;
  readonly #limits: QueueLimits;
  readonly #onBatch: (rows: number) => void;
  #waiting: Waiting[] = [];
  #queuedRows = 0;
  #broken: Error | null = null;
  #onIdle: (() => void) | null = null;

  constructor({ kind, lanes, cut, keptBytes }: RankerLanes, limits: QueueLimits, onBatch: (rows: number) => void) {
    this.kind = kind;
    this.#lanes = lanes.map((lane) => ({ lane, running: null }));
    this.#cut = cut;
    this.#keptBytes = keptBytes;
    this.#limits = limits;
    this.#onBatch = onBatch;
    for (const lane of lanes) lane.onEnd?.((reason) => this.#fail(reason));
  }

  /** Bytes that it keeps of POIs beside the bundle's tables. */
  get keptBytes(): number {
    return this.#keptBytes();
  }

  /** Whether a lane has ended: nothing will be scored any more. */
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
      if (this.#lanes.some(({ running }) => running === null)) setImmediate(() => this.#runNext());
    });
  }

  /** Answers what waits, then ends the lanes. */
  async close(): Promise<void> {
    if (this.#waiting.length > 0 || this.#lanes.some(({ running }) => running !== null))
      await new Promise<void>((resolve) => (this.#onIdle = resolve));
    await Promise.all(this.#lanes.map(({ lane }) => lane.close()));
  }

  #runNext(): void {
    if (this.#broken !== null) return;
    this.#dropLate();
    for (;;) {
      const idle = this.#lanes.filter(({ running }) => running === null);
      if (idle.length === 0 || this.#waiting.length === 0) break;
      const batch = this.#takeBatch(Math.ceil(this.#queuedRows / idle.length));
      const [first] = batch;
      const rows = batch.reduce((sum, { job }) => sum + job.rows, 0);
      const share = this.#waiting.length > 0 || !this.#cut ? 1 : Math.min(idle.length, Math.floor(rows / LEAST_PIECE));
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
    if (this.#waiting.length === 0 && this.#lanes.every(({ running }) => running === null)) this.#onIdle?.();
  }

  /** Refuses what has waited too long. */
  #dropLate(): void {
    const now = performance.now();
    while (this.#waiting[0] !== undefined && now - this.#waiting[0].since > this.#limits.deadlineMs)
      this.#take().settle.reject(overloaded());
  }

  /** Requests for one lane: as many as make `rows`, one at least. */
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

  #run(busy: BusyLane, pieces: Piece[]): void {
    this.#onBatch(pieces.reduce((sum, { from, to }) => sum + to - from, 0));
    busy.running = pieces;
    const jobs = pieces.map(({ of, from, to }) => (to - from === of.job.rows ? of.job : pieceOf(of.job, from, to)));
    const done = (): void => {
      busy.running = null;
      this.#runNext();
    };
    busy.lane.score(jobs).then(
      (scores) => {
        let at = 0;
        for (const piece of pieces) {
          put(piece, scores, at);
          at += piece.to - piece.from;
        }
        done();
      },
      (error: Error) => {
        if (error instanceof LaneEnded) return this.#fail(error);
        for (const { of } of pieces) of.settle.reject(error);
        done();
      },
    );
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    const running = this.#lanes.flatMap(({ running }) => running ?? []).map(({ of }) => of);
    for (const { settle } of [...running, ...this.#waiting]) settle.reject(error);
    for (const busy of this.#lanes) busy.running = null;
    this.#waiting = [];
    this.#queuedRows = 0;
    this.#onIdle?.();
  }
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
    kept: job.kept === null ? null : { poi: part(job.kept.poi)!, version: part(job.kept.version)! },
  };
}

const overloaded = (): ApiError =>
  new ApiError(503, 'OVERLOADED', 'too many requests wait already; try again in a moment', undefined, 1);
