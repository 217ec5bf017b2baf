import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { LaneEnded, type RankerLane, type RankerLanes } from './ranker-lane.js';
import type { FromRanker, RankerJob, RankerScores, RankerSetup, ToRanker } from './ranker-messages.js';

/** Lanes of onnxruntime, each a thread with one core that loads the graph. Rejects with the runtime's reason where one cannot. */
export async function onnxLanes(setup: RankerSetup, threads: number): Promise<RankerLanes> {
  // A worker is always the built file: threads do not load TypeScript, also where tests run this module from its source.
  const file = createRequire(import.meta.url).resolve('@larr/server/ranker-worker');
  const starting = Array.from({ length: threads }, () => OnnxLane.start(file, setup));
  try {
    return { kind: 'onnx', lanes: await Promise.all(starting), cut: true, keptBytes: () => 0 };
  } catch (error) {
    for (const one of await Promise.allSettled(starting)) if (one.status === 'fulfilled') await one.value.close();
    throw error;
  }
}

class OnnxLane implements RankerLane {
  readonly #worker: Worker;
  #running: { resolve: (scores: RankerScores) => void; reject: (reason: Error) => void } | null = null;
  #ended: LaneEnded | null = null;
  #onEnd: ((reason: LaneEnded) => void) | null = null;

  private constructor(worker: Worker) {
    this.#worker = worker;
    worker.on('message', (message: FromRanker) => {
      const running = this.#running;
      this.#running = null;
      if (message.kind === 'failed') running?.reject(new Error(message.message));
      else if (message.kind === 'scores') running?.resolve(message.scores);
    });
    worker.on('error', (error) => this.#end(error instanceof Error ? error : new Error(String(error))));
    worker.on('exit', () => this.#end(new LaneEnded('the ranker has stopped')));
  }

  static async start(file: string, setup: RankerSetup): Promise<OnnxLane> {
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
    return new OnnxLane(worker);
  }

  score(jobs: RankerJob[]): Promise<RankerScores> {
    if (this.#ended !== null) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#running = { resolve, reject };
      const asked = jobs.map((job) => ({ ...job, kept: null }));
      this.#worker.postMessage({ kind: 'batch', jobs: asked } satisfies ToRanker, jobs.flatMap(ownBuffers));
    });
  }

  onEnd(listener: (reason: LaneEnded) => void): void {
    this.#onEnd = listener;
  }

  async close(): Promise<void> {
    if (this.#ended !== null) return;
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.postMessage({ kind: 'stop' } satisfies ToRanker);
    await exited;
  }

  #end(error: Error): void {
    // an error ends the thread too: the first reason is the one to tell
    this.#ended ??= error instanceof LaneEnded ? error : new LaneEnded(error.message, { cause: error });
    this.#running?.reject(this.#ended);
    this.#running = null;
    this.#onEnd?.(this.#ended);
  }
}

/**
 * Buffers that a job gives away. Not z: the scene encoder pins the buffer it has written, which then cannot be transferred, and it is
 * small (one vector a scene), so it is copied.
 */
function ownBuffers(job: RankerJob): ArrayBuffer[] {
  const { context, contextIds, ids, contextDense, dense, behaviour, history, poi } = job;
  const arrays = [context, contextIds, ids, contextDense, dense, behaviour, history, poi];
  return arrays.flatMap((array) => (array === null ? [] : [array.buffer as ArrayBuffer]));
}
