import ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { GraphWriter } from './graph.js';
import { ModelProto } from './messages.js';

async function run(graph: GraphWriter, feeds: Record<string, ort.Tensor>): Promise<Record<string, ort.Tensor>> {
  const session = await ort.InferenceSession.create(graph.encode('test'));
  return (await session.run(feeds)) as Record<string, ort.Tensor>;
}

describe('an ONNX graph written by GraphWriter', () => {
  it('computes gathered embeddings through a linear layer, for any batch', async () => {
    const graph = new GraphWriter();
    const table = graph.input('table', 'f32', ['rows', 2]);
    const ids = graph.input('ids', 'i64', ['batch', 2]);
    const x = graph.reshape(graph.gather(table, ids), [-1, 4]);
    const weight = graph.weight('w', Float32Array.of(1, 2, 3, 4), [1, 4]);
    const bias = graph.weight('b', Float32Array.of(0.5), [1]);
    graph.output('y', graph.squeeze(graph.linear(x, weight, bias), 1), ['batch']);
    for (const batch of [1, 3]) {
      const { y } = await run(graph, {
        table: new ort.Tensor('float32', Float32Array.of(0, 0, 1, 10, 2, 20), [3, 2]),
        ids: new ort.Tensor('int64', BigInt64Array.from(Array(batch).fill([1n, 2n]).flat()), [batch, 2]),
      });
      expect(Array.from(y!.data as Float32Array)).toEqual(Array(batch).fill(1 + 20 + 6 + 80 + 0.5));
    }
  });

  it('slices, weighs by softmax and sums', async () => {
    const graph = new GraphWriter();
    const x = graph.input('x', 'f32', ['batch', 3]);
    const gate = graph.softmax(graph.slice(x, 1, 0, 2), 1);
    graph.output('y', graph.sum(graph.mul(gate, graph.slice(x, 1, 1, 3)), 1), ['batch']);
    const { y } = await run(graph, { x: new ort.Tensor('float32', Float32Array.of(1, 2, 5), [1, 3]) });
    const w = 1 / (1 + Math.E);
    expect(y!.data[0]).toBeCloseTo(w * 2 + (1 - w) * 5, 5);
  });

  it('carries its metadata and refuses a weight that does not fill its shape', () => {
    const graph = new GraphWriter();
    graph.output('y', graph.weight('w', Float32Array.of(1, 2), [2]), [2]);
    const decoded = ModelProto.toObject(ModelProto.decode(graph.encode('g', { model: 'ple' }))) as {
      metadataProps: { key: string; value: string }[];
    };
    expect(decoded.metadataProps).toEqual([{ key: 'model', value: 'ple' }]);
    expect(() => graph.weight('v', Float32Array.of(1), [2])).toThrow(/do not fill shape \[2\]/);
    expect(() => graph.weight('w', Float32Array.of(1), [1])).toThrow(/named "w" already/);
  });
});
