import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { ApiError } from '../api/errors.js';

export interface SearchSetup {
  /** the ONNX graph's bytes */
  graph: Uint8Array;
  /** POI vectors in a mapped file: [pois, dimension] f32 from byteOffset on */
  file: string;
  byteOffset: number;
  pois: number;
  dimension: number;
  threads: number;
}

export type ToSearch = { kind: 'search'; id: number; query: Float32Array } | { kind: 'stop' };
export type FromSearch =
  | { kind: 'found'; id: number; similarities: Float32Array }
  | { kind: 'failed'; id: number; message: string };

/** Searches that may wait: each reads every POI's vector. */
const MOST_WAITING = 64;

/** Exact search over POI vectors, in a thread that begins with the first question. */
export class Search {
  readonly #setup: SearchSetup;
  #worker: Worker | null = null;
  readonly #waiting = new Map<number, { resolve: (found: Float32Array) => void; reject: (reason: Error) => void }>();
  #next = 0;

  constructor(setup: SearchSetup) {
    this.#setup = setup;
  }

  get dimension(): number {
    return this.#setup.dimension;
  }

  get pois(): number {
    return this.#setup.pois;
  }

  /**
   * Cosine of every POI's vector with the query [dimension], by POI number; 0 where a POI has none.
   * @throws ApiError OVERLOADED (503) where too many wait
   */
  similarities(query: Float32Array): Promise<Float32Array> {
    if (this.#waiting.size >= MOST_WAITING)
      throw new ApiError(503, 'OVERLOADED', 'too many searches wait already; try again in a moment', undefined, 1);
    this.#worker ??= this.#start();
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker!.postMessage({ kind: 'search', id, query } satisfies ToSearch);
    });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker === null) return;
    // Its end is waited for, and must not find the process ended for want of work.
    worker.ref();
    const exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage({ kind: 'stop' } satisfies ToSearch);
    await exited;
  }

  #start(): Worker {
    const worker = new Worker(createRequire(import.meta.url).resolve('@larr/server/search-worker'), {
      workerData: this.#setup,
    });
    worker.on('message', (message: FromSearch) => {
      const { resolve, reject } = this.#waiting.get(message.id)!;
      this.#waiting.delete(message.id);
      if (message.kind === 'found') resolve(message.similarities);
      else reject(new Error(message.message));
    });
    const fail = (error: Error): void => {
      this.#worker = null;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    };
    worker.on('error', fail);
    worker.on('exit', () => fail(new Error('the search has stopped')));
    worker.unref();
    return worker;
  }
}
