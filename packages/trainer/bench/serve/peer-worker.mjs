// The thread that runs the peer's graph, as the server's ranker has one of its own.
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { readSafetensors } from '@larr/core';
import ort from 'onnxruntime-node';

const { graph, tables, embeddings, scene, context: split, threads } = workerData;
const session = await ort.InferenceSession.create(graph, {
  intraOpNumThreads: threads,
  executionMode: 'sequential',
  graphOptimizationLevel: 'all',
  extra: { session: { intra_op: { allow_spinning: '0' } } },
});
const feeds = {};
const { tensors } = await readSafetensors(embeddings);
for (const input of tables) feeds[input] = new ort.Tensor('float32', tensors[input].data, tensors[input].shape);
const bytes = readFileSync(scene.file);
const [entries, d] = scene.place.shape;
const vectors = new Float32Array(bytes.buffer.slice(bytes.byteOffset + scene.place.byteOffset), 0, entries * d);
const F = split.ids.context.length + split.ids.row.length;
const D = split.dense.context.length + split.dense.row.length;

parentPort.on('message', async (jobs) => {
  if (jobs === 'stop') {
    await session.release();
    parentPort.close();
    return;
  }
  const rows = jobs.reduce((sum, job) => sum + job.rows, 0);
  const n = jobs[0].z.length / jobs[0].contexts;
  const ids = new Int32Array(rows * F);
  const dense = new Float32Array(rows * D);
  const sceneRows = new Float32Array(rows * n * d);
  const present = new Float32Array(rows * n);
  const poi = new Int32Array(rows);
  let at = 0;
  for (const job of jobs) {
    for (let row = 0; row < job.rows; row++, at++) {
      const c = job.context[row];
      split.ids.context.forEach((f, i) => {
        ids[at * F + f] = job.contextIds[c * split.ids.context.length + i];
      });
      split.ids.row.forEach((f, i) => {
        ids[at * F + f] = job.ids[row * split.ids.row.length + i];
      });
      split.dense.context.forEach((f, i) => {
        dense[at * D + f] = job.contextDense[c * split.dense.context.length + i];
      });
      split.dense.row.forEach((f, i) => {
        dense[at * D + f] = job.dense[row * split.dense.row.length + i];
      });
      for (let field = 0; field < n; field++) {
        const entry = job.z[c * n + field];
        if (entry < 0) continue;
        present[at * n + field] = 1;
        sceneRows.set(vectors.subarray(entry * d, (entry + 1) * d), (at * n + field) * d);
      }
      if (job.poi !== null) poi[at] = job.poi[row];
    }
  }
  feeds.ids = new ort.Tensor('int32', ids, [rows, F]);
  feeds.dense = new ort.Tensor('float32', dense, [rows, D]);
  feeds.scene = new ort.Tensor('float32', sceneRows, [rows, n, d]);
  feeds.present = new ort.Tensor('float32', present, [rows, n]);
  feeds.context = new ort.Tensor(
    'int32',
    Int32Array.from({ length: rows }, (_, i) => i),
    [rows],
  );
  if (jobs[0].poi !== null) feeds.poi = new ort.Tensor('int32', poi, [rows]);
  const { p_ctr, p_ctcvr } = await session.run(feeds);
  parentPort.postMessage({ pCtr: p_ctr.data, pCtcvr: p_ctcvr.data });
});
parentPort.postMessage('ready');
