// PLE and LARR as PyTorch users write them, on @larr/torch: one embedding table per field, one product per expert and
// layer, the whole encoder layer for every token, the B × B similarity matrix in memory, f32, dense Adam over everything.
import { Adam, arange, cat, embedding, keep, stack, tidy, zeros } from '@larr/torch';

const DIM = 16;
const D = 128;
const HEADS = 4;
const EXPERT = [256, 128];
const TOWER = 64;
const LEARNING_RATE = 8e-4;

export function createEager(inputs, model, device) {
  const on = { device };
  const parameters = [];
  const parameter = (shape, bound) => {
    const tensor = keep(zeros(shape, on));
    if (bound > 0) tensor.uniform_(-bound, bound);
    parameters.push(tensor.requiresGrad_());
    return tensor;
  };
  const linear = (from, to) => {
    const weight = parameter([to, from], 1 / Math.sqrt(from));
    const bias = parameter([to], 1 / Math.sqrt(from));
    return (x) => x.linear(weight, bias);
  };
  const norm = () => {
    const weight = parameter([D], 0);
    const bias = parameter([D], 0);
    tidy(() => weight.detach().fill_(1));
    return (x) => x.layerNorm([D], weight, bias);
  };

  const larr = model === 'larr';
  const fields = inputs.categorical.length;
  const n = inputs.scene.length;
  const width = fields * DIM + (larr ? 4 * DIM : 0);
  const tables = inputs.categorical.map(({ size }) => parameter([size, DIM], 0.01));
  const experts = Array.from({ length: 6 }, () => [linear(width, EXPERT[0]), linear(EXPERT[0], EXPERT[1])]);
  const gates = [linear(width, 4), linear(width, 4)];
  const towers = [0, 1].map(() => [linear(EXPERT[1], TOWER), linear(TOWER, 1)]);

  const scene = larr ? createScene() : null;
  const vectors = larr ? keep(zeros([inputs.sceneEntries, D], on).normal_(0, 1)) : null;
  const pois = larr ? keep(zeros([inputs.pois + 1, D], on).normal_(0, 1)) : null;
  const behaviour = larr ? linear(D, 2 * DIM) : null;

  function createScene() {
    const agg = parameter([1, 1, D], 0.02);
    const position = parameter([1, n, D], 0.02);
    const [q, k, v, out] = [0, 1, 2, 3].map(() => linear(D, D));
    const [norm1, norm2] = [norm(), norm()];
    const [up, down] = [linear(D, 4 * D), linear(4 * D, D)];
    const [head1, head2] = [linear(D, 256), linear(256, 2 * DIM)];
    return (batch) => {
      const B = batch.rows;
      const tokens = vectors
        .indexSelect(0, batch.scene.reshape([-1]))
        .reshape([B, n, D])
        .add(position);
      const x = cat([agg.expand([B, 1, D]), tokens], 1);
      const heads = (t) => t.reshape([B, n + 1, HEADS, D / HEADS]).transpose(1, 2);
      const missing = batch.scene.remainder(15).eq(0); // every field has 15 texts, its first is "missing"
      const mask = cat([zeros([B, 1], { dtype: 'bool', device }), missing], 1).reshape([B, 1, 1, n + 1]);
      const scores = heads(q(x))
        .matmul(heads(k(x)).transpose(2, 3))
        .div(Math.sqrt(D / HEADS));
      const attention = scores.maskedFill(mask, Number.NEGATIVE_INFINITY).softmax(-1);
      const context = attention
        .matmul(heads(v(x)))
        .transpose(1, 2)
        .reshape([B, n + 1, D]);
      const y = norm1(x.add(out(context)));
      const z = norm2(y.add(down(up(y).gelu()))).select(1, 0);
      return head2(head1(z).gelu());
    };
  }

  function alignment(zs, zt, pair) {
    const logits = zs.normalize(1).matmul(zt.normalize(1).transpose(0, 1)).div(0.1);
    const own = arange(0, pair.shape[0], 1, on);
    const same = pair
      .unsqueeze(0)
      .eq(pair.unsqueeze(1))
      .logicalAnd(own.unsqueeze(0).ne(own.unsqueeze(1)));
    const masked = logits.maskedFill(same, Number.NEGATIVE_INFINITY);
    return masked.crossEntropy(own).add(masked.transpose(0, 1).crossEntropy(own)).div(2);
  }

  const optimiser = new Adam(parameters, { lr: LEARNING_RATE });

  function step(batch) {
    const v = tables.map((table, f) => embedding(table, batch.ids.select(1, f).sub(inputs.categorical[f].offset)));
    const parts = [...v];
    const zs = scene?.(batch);
    if (zs) {
      const history = batch.history;
      const vectorsOf = pois.indexSelect(0, history.reshape([-1])).reshape([...history.shape, D]);
      const present = history.ne(0).to('f32').unsqueeze(2);
      const mean = vectorsOf
        .mul(present)
        .sum([1])
        .div(present.sum([1]).clamp(1));
      parts.push(zs, behaviour(mean));
    }
    const x = cat(parts, 1);
    const outputs = experts.map(([first, second]) => second(first(x).relu()).relu());
    const [ctr, cvr] = [0, 1].map((k) => {
      const seen = stack([outputs[2 * k], outputs[2 * k + 1], outputs[4], outputs[5]], 1); // [B, 4, d]
      const mixed = gates[k](x).softmax(1).unsqueeze(2).mul(seen).sum([1]);
      return towers[k][1](towers[k][0](mixed).relu()).squeeze(1).sigmoid();
    });
    let loss = ctr.binaryCrossEntropy(batch.click).add(ctr.mul(cvr).binaryCrossEntropy(batch.order));
    if (zs) loss = loss.add(alignment(zs, cat([v[0], v[1]], 1), batch.pair).mul(0.05));
    loss.item();
    optimiser.zeroGrad();
    loss.backward();
    optimiser.step();
  }

  return {
    step,
    dispose: () => {
      optimiser.zeroGrad();
      optimiser.dispose();
      for (const tensor of [...parameters, vectors, pois]) tensor?.dispose();
    },
  };
}
