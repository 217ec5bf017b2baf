/**
 * A thread that runs the ONNX ranker (onnx-lane.ts). onnxruntime-node computes in the calling thread, so here it keeps the serving thread free to
 * accept, refuse and answer. One batch at a time; the serving thread collects the next one meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { mapFile } from '@larr/native-cuda';
import ort from 'onnxruntime-node';
import { joinedJobs } from './ranker-lane.js';
import type { FromRanker, RankerJob, RankerScores, RankerSetup, ToRanker } from './ranker-messages.js';

const port = parentPort!;
const setup = workerData as RankerSetup;

const session = await ort.InferenceSession.create(setup.onnxFile, {
  // One core: several threads take requests, or rows of one, and need not wait for each other after every operator.
  intraOpNumThreads: 1,
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

/** Inputs of the graph by the fields of a job, and what they have rows of. */
const MATRICES = [
  ['contextIds', 'context_ids', 'contexts'],
  ['ids', 'ids', 'rows'],
  ['contextDense', 'context_dense', 'contexts'],
  ['dense', 'dense', 'rows'],
  ['z', 'z_s', 'contexts'],
  ['behaviour', 'behaviour', 'contexts'],
  ['history', 'history', 'contexts'],
] as const;

/** One run over the rows of all jobs, one after another. */
async function score(jobs: RankerJob[]): Promise<RankerScores> {
  const all = joinedJobs(jobs);
  feeds.context = new ort.Tensor('int32', all.context, [all.rows]);
  for (const [field, input, count] of MATRICES) {
    const data = all[field];
    if (data === null) continue;
    const shape = [all[count], data.length / all[count]];
    feeds[input] =
      data instanceof Int32Array ? new ort.Tensor('int32', data, shape) : new ort.Tensor('float32', data, shape);
  }
  if (all.poi !== null) feeds.poi = new ort.Tensor('int32', all.poi, [all.rows]);
  const output = await session.run(feeds);
  return {
    pCtr: output.p_ctr!.data as Float32Array,
    pCtcvr: output.p_ctcvr === undefined ? null : (output.p_ctcvr.data as Float32Array),
  };
}
