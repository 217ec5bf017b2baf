/**
 * A thread that runs the ONNX ranker. onnxruntime-node computes in the calling thread, so here it keeps the serving thread free to
 * accept, refuse and answer. One batch at a time; the serving thread collects the next one meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { mapFile } from '@larr/native-cuda';
import ort from 'onnxruntime-node';
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

/** Inputs of the graph by the fields of a job, and how many rows they have. */
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
  const rows = jobs.reduce((sum, job) => sum + job.rows, 0);
  const counts = { rows, contexts: jobs.reduce((sum, job) => sum + job.contexts, 0) };
  feeds.context = new ort.Tensor('int32', contexts(jobs, rows), [rows]);
  for (const [field, input, count] of MATRICES) {
    const parts = jobs.flatMap((job) => job[field] ?? []);
    if (parts.length === 0) continue;
    const data = joined(parts);
    const shape = [counts[count], data.length / counts[count]];
    feeds[input] =
      data instanceof Int32Array ? new ort.Tensor('int32', data, shape) : new ort.Tensor('float32', data, shape);
  }
  const pois = jobs.flatMap(({ poi }) => poi ?? []);
  if (pois.length > 0) feeds.poi = new ort.Tensor('int32', joined(pois) as Int32Array, [rows]);
  const output = await session.run(feeds);
  return {
    pCtr: output.p_ctr!.data as Float32Array,
    pCtcvr: output.p_ctcvr === undefined ? null : (output.p_ctcvr.data as Float32Array),
  };
}

/** The context of each row, numbered through all jobs. */
function contexts(jobs: RankerJob[], rows: number): Int32Array {
  if (jobs.length === 1) return jobs[0]!.context;
  const all = new Int32Array(rows);
  let at = 0;
  let before = 0;
  for (const { context, contexts } of jobs) {
    for (const one of context) all[at++] = before + one;
    before += contexts;
  }
  return all;
}

function joined(parts: (Int32Array | Float32Array)[]): Int32Array | Float32Array {
  const [first] = parts;
  if (parts.length === 1) return first!;
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const all = first instanceof Int32Array ? new Int32Array(length) : new Float32Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
