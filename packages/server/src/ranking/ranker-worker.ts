/**
 * The thread that runs the ONNX ranker. onnxruntime-node computes in the calling thread, so here it keeps the serving thread free to
 * accept, refuse and answer. One batch at a time; the serving thread collects the next one meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { mapFile } from '@larr/native-cuda';
import ort from 'onnxruntime-node';
import type { FromRanker, RankerJob, RankerScores, RankerSetup, SharedVectors, ToRanker } from './ranker-messages.js';

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
  // little-endian: the low half of each 64-bit id
  const ids = new BigInt64Array(rows * fields);
  const low = new Int32Array(ids.buffer);
  let at = 0;
  for (const job of jobs) for (let i = 0; i < job.ids.length; i++, at += 2) low[at] = job.ids[i]!;
  feeds.ids = new ort.Tensor('int64', ids, [rows, fields]);

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

function matrix(rows: number, width: number, fill: (out: Float32Array) => void): ort.Tensor {
  const data = new Float32Array(rows * width);
  fill(data);
  return new ort.Tensor('float32', data, [rows, width]);
}
