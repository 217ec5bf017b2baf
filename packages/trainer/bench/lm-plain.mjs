// The decoder of lm.mjs one operator at a time, as the peer of `pnpm bench lm` that needs no Python: separate projections, every batch padded to its longest text, all
// scores at once, AdamW over all parameters.
import {
  AdamW,
  autocast,
  cat,
  clipGradNorm,
  embedding,
  init,
  noGrad,
  ones,
  scaledDotProductAttention,
  tensor,
  tidy,
  zeros,
} from '@larr/torch';
import { rotaryTable } from '../dist/language-model/rotary.js';

export function createPlain(shape, dtype) {
  const { hiddenSize, heads, headSize, feedForwardSize, vocabularySize, normEpsilon } = shape;
  const weight = (rows, columns) => init.normal_(zeros([rows, columns]), 0.02).requiresGrad_();
  const gain = () => ones([hiddenSize]).requiresGrad_();
  const table = weight(vocabularySize, hiddenSize);
  const layers = Array.from({ length: shape.layers }, () => ({
    attentionNorm: gain(),
    query: weight(hiddenSize, hiddenSize),
    key: weight(hiddenSize, hiddenSize),
    value: weight(hiddenSize, hiddenSize),
    output: weight(hiddenSize, hiddenSize),
    feedForwardNorm: gain(),
    gate: weight(feedForwardSize, hiddenSize),
    up: weight(feedForwardSize, hiddenSize),
    down: weight(hiddenSize, feedForwardSize),
  }));
  const finalNorm = gain();
  const parameters = [table, finalNorm, ...layers.flatMap((layer) => Object.values(layer))];
  const rotary = rotaryTable(shape, 'cpu');
  const optimizer = new AdamW(parameters, { lr: 3e-4 });
  const inPrecision = (fn) => autocast(fn, { dtype: 'bf16', enabled: dtype === 'bf16' });
  const norm = (x, w) => x.rmsNorm([hiddenSize], w, normEpsilon);

  const rotate = (x, cosine, sine) => {
    const [a, b] = x.split(headSize / 2, 3);
    return cat([a.mul(cosine).sub(b.mul(sine)), b.mul(cosine).add(a.mul(sine))], 3).to(x.dtype);
  };

  /** Padded ids [texts, longest] and the real lengths → states [texts, longest, hidden]. Causal: padding at the right is seen by no real token. */
  const states = (ids, rows, longest) => {
    const cosine = rotary.cosine.narrow(0, 0, longest);
    const sine = rotary.sine.narrow(0, 0, longest);
    const apart = (t) => t.reshape([rows, longest, heads, headSize]).transpose(1, 2);
    let x = embedding(table, ids);
    for (const layer of layers) {
      const y = norm(x, layer.attentionNorm);
      const attended = scaledDotProductAttention(
        rotate(apart(y.linear(layer.query)), cosine, sine),
        rotate(apart(y.linear(layer.key)), cosine, sine),
        apart(y.linear(layer.value)),
        { isCausal: true },
      );
      x = x.add(attended.transpose(1, 2).reshape([rows, longest, hiddenSize]).linear(layer.output));
      const z = norm(x, layer.feedForwardNorm);
      x = x.add(z.linear(layer.gate).silu().mul(z.linear(layer.up)).linear(layer.down));
    }
    return norm(x, finalNorm);
  };

  const padded = (texts) => {
    const longest = Math.max(...texts.map(({ ids }) => ids.length));
    const ids = new Int32Array(texts.length * longest);
    const next = new BigInt64Array(texts.length * longest).fill(-100n);
    const real = new Float32Array(texts.length * longest);
    texts.forEach((text, i) => {
      ids.set(text.ids, i * longest);
      real.fill(1, i * longest, i * longest + text.ids.length);
      for (let t = Math.max(text.prompt, 1); t < text.ids.length; t++) next[i * longest + t - 1] = BigInt(text.ids[t]);
    });
    return { ids: tensor(ids, [texts.length, longest], { dtype: 'i32' }), next, real, longest };
  };

  return {
    train: (texts) =>
      tidy(() => {
        optimizer.zeroGrad();
        const { ids, next, longest } = padded(texts);
        const loss = inPrecision(() =>
          states(ids, texts.length, longest)
            .linear(table)
            .reshape([-1, vocabularySize])
            .to('f32')
            .crossEntropy(tensor(next, [next.length], { dtype: 'i64' })),
        );
        loss.backward();
        clipGradNorm(parameters, 1);
        optimizer.step();
        loss.item();
      }),
    embed: (texts) =>
      noGrad(() =>
        tidy(() => {
          const { ids, real, longest } = padded(texts);
          const weight = tensor(real, [texts.length, longest, 1]);
          inPrecision(() => states(ids, texts.length, longest))
            .mul(weight)
            .sum([1])
            .div(weight.sum([1]))
            .toFloat32Array();
        }),
      ),
    embedLast: (texts) =>
      noGrad(() =>
        tidy(() => {
          const { ids, longest } = padded(texts);
          const last = Int32Array.from(texts, (text, i) => i * longest + text.ids.length - 1);
          inPrecision(() => states(ids, texts.length, longest))
            .reshape([-1, hiddenSize])
            .indexSelect(0, tensor(last, [last.length], { dtype: 'i32' }))
            .to('f32')
            .toFloat32Array();
        }),
      ),
    dispose: () => {
      optimizer.dispose();
      for (const t of [...parameters, rotary.cosine, rotary.sine]) t.dispose();
    },
  };
}
