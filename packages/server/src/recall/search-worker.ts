/** The thread that compares a query with every POI's vector: exact search reads all of them, which the serving thread must not wait for. */
import { parentPort, workerData } from 'node:worker_threads';
import { mapFile } from '@larr/native-cuda';
import ort from 'onnxruntime-node';
import type { FromSearch, SearchSetup, ToSearch } from './search.js';

const port = parentPort!;
const { graph, file, byteOffset, pois, dimension, threads } = workerData as SearchSetup;
const session = await ort.InferenceSession.create(graph, {
  intraOpNumThreads: threads,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
});
const vectors = new ort.Tensor('float32', new Float32Array(mapFile(file), byteOffset, pois * dimension), [
  pois,
  dimension,
]);

port.on('message', async (message: ToSearch) => {
  if (message.kind === 'stop') {
    await session.release();
    port.close();
    return;
  }
  try {
    const query = new ort.Tensor('float32', message.query, [dimension, 1]);
    const { similarities } = await session.run({ vectors, query });
    const data = similarities!.data as Float32Array;
    port.postMessage({ kind: 'found', id: message.id, similarities: data } satisfies FromSearch, [
      data.buffer as ArrayBuffer,
    ]);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    port.postMessage({ kind: 'failed', id: message.id, message: reason } satisfies FromSearch);
  }
});
