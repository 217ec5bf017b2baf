import { blockLinear, cat, sceneAttention, type Tensor, zeros } from '@larr/torch';
import { constant, glorot, normal, type Parameters, zero } from './parameters.js';

const EPS = 1e-5;

/**
 * One bidirectional transformer encoder layer over the scene keywords of a row (method.md, section 5):
 *
 *     X = [ agg ; e_1 + pos_1 ; … ; e_n + pos_n ]                        [B, 1+n, d]
 *     Y = norm1( X + MHA(X) ),   Z = norm2( Y + W_2 gelu(W_1 Y) )         post-norm
 *     z_s = head( Z_agg )   or   head( mean over present tokens of Z )
 *
 * The tokens come from a fixed table of (field, text) entries. A missing keyword is no token at all: nobody attends to it.
 */
export interface SceneEncoder {
  dim: number;
  heads: number;
  fields: number;
  pooling: 'aggregation' | 'mean';
  /** [d] the aggregation token, [n, d] the field embeddings */
  agg: Tensor;
  field: Tensor;
  inProjWeight: Tensor; // [3d, d]: queries, keys, values
  inProjBias: Tensor;
  outProjWeight: Tensor;
  outProjBias: Tensor;
  norm1Weight: Tensor;
  norm1Bias: Tensor;
  ffn1Weight: Tensor; // [f, d]
  ffn1Bias: Tensor;
  ffn2Weight: Tensor; // [d, f]
  ffn2Bias: Tensor;
  norm2Weight: Tensor;
  norm2Bias: Tensor;
  head1Weight: Tensor; // [h, d]
  head1Bias: Tensor;
  head2Weight: Tensor; // [out, h]
  head2Bias: Tensor;
}

export interface SceneEncoderOptions {
  dim: number;
  fields: number;
  heads: number;
  ffn: number;
  headHidden: number;
  outputs: number;
  pooling: 'aggregation' | 'mean';
}

/** What the rows of a batch look like: entries of the scene table, and which keywords are missing. */
export interface SceneTokens {
  /** [entries, d]: the table, standardised by field */
  table: Tensor;
  /** i64 [entries]: the field each entry belongs to */
  fieldOf: Tensor;
  /** i64 [B, n]: entries */
  index: Tensor;
  /** bool [B, n] */
  missing: Tensor;
}

/** Registers `<name>.agg`, `.field`, `.in_proj_weight` … `.head2_bias`, the names that the bundle and the kernel use. */
export function createSceneEncoder(p: Parameters, name: string, options: SceneEncoderOptions): SceneEncoder {
  const { dim: d, fields, heads, ffn, headHidden, outputs } = options;
  const weight = (suffix: string, out: number, inputs: number) =>
    p.parameter(`${name}.${suffix}`, [out, inputs], glorot(inputs, out));
  const bias = (suffix: string, out: number) => p.parameter(`${name}.${suffix}`, [out], zero);
  return {
    dim: d,
    heads,
    fields,
    pooling: options.pooling,
    agg: p.parameter(`${name}.agg`, [d], normal(0.02)),
    field: p.parameter(`${name}.field`, [fields, d], normal(0.02)),
    inProjWeight: weight('in_proj_weight', 3 * d, d),
    inProjBias: bias('in_proj_bias', 3 * d),
    outProjWeight: weight('out_proj_weight', d, d),
    outProjBias: bias('out_proj_bias', d),
    norm1Weight: p.parameter(`${name}.norm1_weight`, [d], constant(1)),
    norm1Bias: bias('norm1_bias', d),
    ffn1Weight: weight('ffn1_weight', ffn, d),
    ffn1Bias: bias('ffn1_bias', ffn),
    ffn2Weight: weight('ffn2_weight', d, ffn),
    ffn2Bias: bias('ffn2_bias', d),
    norm2Weight: p.parameter(`${name}.norm2_weight`, [d], constant(1)),
    norm2Bias: bias('norm2_bias', d),
    head1Weight: weight('head1_weight', headHidden, d),
    head1Bias: bias('head1_bias', headHidden),
    head2Weight: weight('head2_weight', outputs, headHidden),
    head2Bias: bias('head2_bias', outputs),
  };
}

/** Rows of scene keywords → z_s [B, outputs]. Aggregation pooling takes the folded path, mean pooling the full layer. */
export function encodeScene(enc: SceneEncoder, tokens: SceneTokens): Tensor {
  return enc.pooling === 'aggregation' ? encodeSceneFolded(enc, tokens) : encodeSceneFull(enc, tokens);
}

/**
 * The aggregation token's output alone, exactly, at a tenth of the arithmetic. The layer is the first one, so its
 * queries, keys and values are functions of the table: they are computed once per *entry* instead of once per token,
 * and only agg's query is ever asked. (kernels.md, section B; attention is linear in V.)
 */
export function encodeSceneFolded(enc: SceneEncoder, tokens: SceneTokens): Tensor {
  const { logits, values } = aggregationAttention(enc, tokens);
  const context = sceneAttention(logits, values, tokens.index, tokens.missing); // [B, d]
  return head(enc, feedForward(enc, residualNorm1(enc, enc.agg.reshape([1, enc.dim]), context)));
}

/**
 * What the aggregation token looks at, as the folded path weighs it: softmax over itself and the keywords that a row has.
 * @returns f32 [B, heads, 1 + n]: the token itself, then the fields; 0 where a keyword is missing, and 1 over all
 */
export function aggregationWeights(enc: SceneEncoder, tokens: SceneTokens): Tensor {
  const { logits } = aggregationAttention(enc, tokens);
  const [rows, n] = tokens.index.shape as [number, number];
  const keywords = logits
    .indexSelect(0, tokens.index.reshape([-1]))
    .reshape([rows, n, enc.heads])
    .maskedFill(tokens.missing.unsqueeze(2), Number.NEGATIVE_INFINITY);
  const own = logits
    .select(0, logits.shape[0]! - 1)
    .reshape([1, 1, enc.heads])
    .expand([rows, 1, enc.heads]);
  return cat([own, keywords], 1).softmax(1).transpose(1, 2).contiguous();
}

/** Logits [E + 1, h] of the aggregation token's query and values [E + 1, d] of all entries; the last row is the token's own: it attends to itself too. */
function aggregationAttention(enc: SceneEncoder, tokens: SceneTokens): { logits: Tensor; values: Tensor } {
  const { dim: d, heads: h } = enc;
  const dh = d / h;
  const entries = tokens.table.shape[0]!;
  const x = cat([tokens.table.add(enc.field.indexSelect(0, tokens.fieldOf)), enc.agg.reshape([1, d])], 0); // [E+1, d]
  const [wq, wk, wv] = enc.inProjWeight.split(d, 0) as [Tensor, Tensor, Tensor];
  const [bq, bk, bv] = enc.inProjBias.split(d, 0) as [Tensor, Tensor, Tensor];
  const q = enc.agg.reshape([1, d]).linear(wq, bq).reshape([1, h, dh]);
  const k = blockLinear(x, wk, bk).reshape([entries + 1, h, dh]);
  const logits = k
    .mul(q)
    .sum([2])
    .to('f32')
    .mul(1 / Math.sqrt(dh));
  return { logits, values: blockLinear(x, wv, bv) };
}

/** The whole layer, token by token: mean pooling needs it, and it is the reference for the folded path. */
export function encodeSceneFull(enc: SceneEncoder, tokens: SceneTokens): Tensor {
  const { dim: d, fields: n } = enc;
  const batch = tokens.index.shape[0]!;
  const { x, missing, attention, values } = fullAttention(enc, tokens);
  const context = attention
    .to(values.dtype)
    .matmul(values)
    .transpose(1, 2)
    .reshape([batch, n + 1, d]);
  const z = feedForward(enc, residualNorm1(enc, x, context)); // [B, 1+n, d]
  if (enc.pooling === 'aggregation') return head(enc, z.select(1, 0));
  const weight = missing.logicalNot().to('f32').unsqueeze(2); // [B, 1+n, 1]
  return head(
    enc,
    z
      .mul(weight)
      .sum([1])
      .div(weight.sum([1])),
  );
}

/** Tokens X [B, 1+n, d], which of them are missing, and what each looks at: attention [B, h, 1+n, 1+n] over values [B, h, 1+n, dh]. */
export function fullAttention(
  enc: SceneEncoder,
  tokens: SceneTokens,
): { x: Tensor; missing: Tensor; attention: Tensor; values: Tensor } {
  const { dim: d, heads: h, fields: n } = enc;
  const dh = d / h;
  const batch = tokens.index.shape[0]!;
  const entries = tokens.table.add(enc.field.indexSelect(0, tokens.fieldOf));
  const keywords = entries.indexSelect(0, tokens.index.reshape([-1])).reshape([batch, n, d]);
  const x = cat([enc.agg.reshape([1, 1, d]).expand([batch, 1, d]), keywords], 1); // [B, 1+n, d]
  const present = zeros([batch, 1], { dtype: 'bool', device: tokens.index.device });
  const missing = cat([present, tokens.missing], 1); // [B, 1+n]

  const qkv = blockLinear(x, enc.inProjWeight, enc.inProjBias)
    .reshape([batch, n + 1, 3, h, dh])
    .permute([2, 0, 3, 1, 4]);
  const [q, k, v] = qkv.unbind(0) as [Tensor, Tensor, Tensor]; // [B, h, 1+n, dh]
  const attention = q
    .matmul(k.transpose(2, 3))
    .to('f32')
    .mul(1 / Math.sqrt(dh))
    .maskedFill(missing.reshape([batch, 1, 1, n + 1]), Number.NEGATIVE_INFINITY)
    .softmax(3);
  return { x, missing, attention, values: v };
}

function residualNorm1(enc: SceneEncoder, x: Tensor, context: Tensor): Tensor {
  const y = x.add(blockLinear(context, enc.outProjWeight, enc.outProjBias));
  return y.layerNorm([enc.dim], enc.norm1Weight, enc.norm1Bias, EPS);
}

function feedForward(enc: SceneEncoder, y: Tensor): Tensor {
  const f = blockLinear(y, enc.ffn1Weight, enc.ffn1Bias).gelu();
  return y.add(blockLinear(f, enc.ffn2Weight, enc.ffn2Bias)).layerNorm([enc.dim], enc.norm2Weight, enc.norm2Bias, EPS);
}

function head(enc: SceneEncoder, z: Tensor): Tensor {
  return blockLinear(blockLinear(z, enc.head1Weight, enc.head1Bias).gelu(), enc.head2Weight, enc.head2Bias);
}
