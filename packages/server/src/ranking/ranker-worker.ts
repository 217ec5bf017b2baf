/**
 * The thread that runs the ONNX ranker. onnxruntime-node computes in the calling thread, so here it keeps the serving thread free to
 * accept, refuse and answer. One batch at a time; the serving thread collects the next one meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { mapFile } from '@larr/native-cuda';
import ort from 'onnxruntime-node';
import type {
  FromRanker,
  RankerJob,
  RankerScores,
  RankerSetup,
  SharedHistories,
  SharedVectors,
  ToRanker,
} from './ranker-messages.js';

const port = parentPort!;
const setup = workerData as RankerSetup;

const session = await ort.InferenceSession.create(setup.onnxFile, {
  intraOpNumThreads: setup.threads,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  // Threads that spin between operators would take the cores that HTTP needs.
  extra: { session: { intra_op: { allow_spinning: '0' } } },
});
const feeds: Record<string, ort.Tensor> = {};
for (const { input, file, byteOffset, rows, dim } of setup.tables) {
  feeds[input] = new ort.Tensor('float32', new Float32Array(mapFile(file), byteOffset, rows * dim), [rows, dim]);
}

port.on('message', async (message: ToRanker) => {
  if (message.kind === 'stop') {
    await session.release();
    port.close();
    return;
  }
  try {
    const scores = await score(message.jobs);
    const transfer = [scores.pCtr.buffer, ...(scores.pCtcvr === null ? [] : [scores.pCtcvr.buffer])] as ArrayBuffer[];
    port.postMessage({ kind: 'scores', scores } satisfies FromRanker, transfer);
  } catch (error) {
    port.postMessage({
      kind: 'failed',
      message: error instanceof Error ? error.message : String(error),
    } satisfies FromRanker);
  }
});
port.postMessage({ kind: 'ready' } satisfies FromRanker);

/** One run over the rows of all jobs, one after another. */
async function score(jobs: RankerJob[]): Promise<RankerScores> {
  const rows = jobs.reduce((sum, job) => sum + job.rows, 0);
  const first = jobs[0]!;
  const fields = first.ids.length / first.rows;
  feeds.ids = wholeNumbers(rows, fields, (put) => {
    for (const job of jobs) for (let i = 0; i < job.ids.length; i++) put(job.ids[i]!);
  });

  if (first.dense !== null) {
    const width = first.dense.length / first.rows;
    feeds.dense = matrix(rows, width, (out) => {
      let offset = 0;
      for (const { dense } of jobs) {
        out.set(dense!, offset);
        offset += dense!.length;
      }
    });
  }
  if (first.scene !== null)
    feeds.z_s = spread(
      rows,
      first.scene.width,
      jobs.map(({ scene }) => scene!),
    );
  if (first.behaviour !== null)
    feeds.behaviour = spread(
      rows,
      first.behaviour.width,
      jobs.map(({ behaviour }) => behaviour!),
    );
  if (first.history !== null)
    feeds.history = histories(
      rows,
      first.history.width,
      jobs.map(({ history }) => history!),
    );
  const output = await session.run(feeds);
  return {
    pCtr: output.p_ctr!.data as Float32Array,
    pCtcvr: output.p_ctcvr === undefined ? null : (output.p_ctcvr.data as Float32Array),
  };
}

function spread(rows: number, width: number, parts: SharedVectors[]): ort.Tensor {
  return matrix(rows, width, (out) => {
    let row = 0;
    for (const { data, of } of parts) {
      for (const one of of) out.set(data.subarray(one * width, (one + 1) * width), width * row++);
    }
  });
}

function histories(rows: number, width: number, parts: SharedHistories[]): ort.Tensor {
  return wholeNumbers(rows, width, (put) => {
    for (const { data, of } of parts) for (const one of of) for (let i = 0; i < width; i++) put(data[one * width + i]!);
  });
}

/** [rows, width] from whole numbers of 0 up, given one after another. */
function wholeNumbers(rows: number, width: number, fill: (put: (value: number) => void) => void): ort.Tensor {
  const data = new BigInt64Array(rows * width);
  // little-endian: the low half of each 64-bit number
  const low = new Int32Array(data.buffer);
  let at = 0;
  fill((value) => {
    low[at] = value;
    at += 2;
  });
  return new ort.Tensor('int64', data, [rows, width]);
}

function matrix(rows: number, width: number, fill: (out: Float32Array) => void): ort.Tensor {
  const data = new Float32Array(rows * width);
  fill(data);
  return new ort.Tensor('float32', data, [rows, width]);
}
