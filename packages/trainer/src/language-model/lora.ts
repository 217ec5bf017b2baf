// Low-rank adaptation (Hu et al. 2021): the decoder's matrices stay as they are, and beside those chosen two narrow ones are learnt.
import { ConfigError } from '@larr/core';
import { cat, init, noGrad, type Tensor, tensor, tidy, zeros } from '@larr/torch';
import { replaceMatrices } from './compact-weights.js';
import type { Decoder } from './decoder.js';
import type { LoraConfig } from './lora-config.js';

/** The linear layers of a block under Hugging Face's names, and the matrix of the decoder whose rows each is. */
export const linearLayers = {
  'self_attn.q_proj': 'queryKeyValue',
  'self_attn.k_proj': 'queryKeyValue',
  'self_attn.v_proj': 'queryKeyValue',
  'self_attn.o_proj': 'attentionOutput',
  'mlp.gate_proj': 'gateUp',
  'mlp.up_proj': 'gateUp',
  'mlp.down_proj': 'down',
} as const;
export type LinearLayer = keyof typeof linearLayers;
export type Matrix = (typeof linearLayers)[LinearLayer];

/** y = W x + (alpha / rank) B A x */
export interface Adapter {
  a: Tensor; // [rank, in]
  b: Tensor; // [out, rank]
}

/** What is learnt of a decoder whose own weights are frozen; f32. */
export interface Lora {
  rank: number;
  alpha: number;
  dropout: number;
  layers: Partial<Record<LinearLayer, Adapter>>[];
  rows: TokenRows;
}

/** Rows of the embedding, and of a head of its own, that are learnt in full: those of the keywords' tokens. */
export interface TokenRows {
  /** Token ids, rising. */
  ids: Int32Array;
  embedding: Tensor; // [ids, hidden]
  /** null where the head is the embedding */
  head: Tensor | null;
}

/** The full name of a linear layer, as Hugging Face has it. */
export const fullName = (layer: number, name: LinearLayer): string => `model.layers.${layer}.${name}`;

function matcher(pattern: string): RegExp {
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '[^.]*');
  return new RegExp(`(^|\\.)${escaped}$`);
}

/** Rows of a matrix of the decoder that are a linear layer's, and how many columns it has. */
export function placeOf({ config }: Decoder, name: LinearLayer): { start: number; out: number; in: number } {
  const { heads, keyValueHeads, headSize, hiddenSize, feedForwardSize } = config;
  const queries = heads * headSize;
  const keys = keyValueHeads * headSize;
  switch (name) {
    case 'self_attn.q_proj':
      return { start: 0, out: queries, in: hiddenSize };
    case 'self_attn.k_proj':
      return { start: queries, out: keys, in: hiddenSize };
    case 'self_attn.v_proj':
      return { start: queries + keys, out: keys, in: hiddenSize };
    case 'self_attn.o_proj':
      return { start: 0, out: hiddenSize, in: queries };
    case 'mlp.gate_proj':
      return { start: 0, out: feedForwardSize, in: hiddenSize };
    case 'mlp.up_proj':
      return { start: feedForwardSize, out: feedForwardSize, in: hiddenSize };
    case 'mlp.down_proj':
      return { start: 0, out: hiddenSize, in: feedForwardSize };
  }
}

const layerNames = Object.keys(linearLayers) as LinearLayer[];

/** @throws ConfigError `LORA_RANK` where it is more than any adapted layer has to learn */
function checkLoraRank(decoder: Decoder, rank: number, patterns: readonly RegExp[]): void {
  const adapted = layerNames.filter((name) =>
    decoder.layers.some((_, i) => patterns.some((pattern) => pattern.test(fullName(i, name)))),
  );
  const most = Math.max(
    ...adapted.map((name) => {
      const { out, in: width } = placeOf(decoder, name);
      return Math.min(out, width);
    }),
  );
  if (rank <= most) return;
  throw new ConfigError(
    'LORA_RANK',
    `lora.rank: ${rank} is more than the rank of any layer that it adapts, ${most} at the most. Take a lower one, 8 to 64 as a rule.`,
  );
}

/** @param layers of the decoder @throws ConfigError `NO_LORA_TARGET` where a pattern names no linear layer of it */
export function checkLoraTargets({ targets }: Pick<LoraConfig, 'targets'>, layers: number): void {
  const all = Array.from({ length: layers }, (_, i) => layerNames.map((name) => fullName(i, name))).flat();
  const unused = targets.find((pattern) => !all.some((name) => matcher(pattern).test(name)));
  if (unused === undefined) return;
  throw new ConfigError(
    'NO_LORA_TARGET',
    `lora.targets: "${unused}" is the end of no linear layer's name. There are ${layerNames.map((name) => fullName(0, name)).join(', ')}, and so on for ${layers} layers.`,
  );
}

/**
 * Freezes a decoder and puts adapters beside it that change nothing yet (A uniform as PEFT has it, B zero; torch's generator decides);
 * the rows of `tokens` become parameters of their own, starting as they are.
 * @throws ConfigError `NO_LORA_TARGET` where a pattern names no linear layer, `LORA_RANK` where the rank is above that of every adapted one
 */
export function addLora(decoder: Decoder, config: LoraConfig, tokens: readonly number[]): void {
  checkLoraTargets(config, decoder.layers.length);
  const patterns = config.targets.map(matcher);
  const options = { dtype: 'f32', device: decoder.device } as const;
  const { rank, alpha, dropout } = config;
  checkLoraRank(decoder, rank, patterns);
  decoder.lora = noGrad(() =>
    tidy((): Lora => {
      const layers = decoder.layers.map((_, i): Lora['layers'][number] =>
        Object.fromEntries(
          layerNames.flatMap((name): [LinearLayer, Adapter][] => {
            if (!patterns.some((pattern) => pattern.test(fullName(i, name)))) return [];
            const { out, in: width } = placeOf(decoder, name);
            const bound = 1 / Math.sqrt(width);
            return [
              [
                name,
                { a: init.uniform_(zeros([rank, width], options), -bound, bound), b: zeros([out, rank], options) },
              ],
            ];
          }),
        ),
      );
      const ids = Int32Array.from(tokens).sort();
      const rowsOf = (weight: Tensor) =>
        weight
          .indexSelect(0, tensor(ids, [ids.length], { dtype: 'i32', device: decoder.device }))
          .to('f32')
          .clone();
      const rows: TokenRows = {
        ids,
        embedding: rowsOf(decoder.embedding),
        head: decoder.config.tiedHead ? null : rowsOf(decoder.head),
      };
      return { rank, alpha, dropout, layers, rows };
    }),
  );
}

/** What is learnt, by stable names. */
export function loraParameters({ layers, rows }: Lora): Record<string, Tensor> {
  const parameters: Record<string, Tensor> = {};
  if (rows.ids.length > 0) {
    parameters['rows.embedding'] = rows.embedding;
    if (rows.head !== null) parameters['rows.head'] = rows.head;
  }
  layers.forEach((adapters, i) => {
    for (const [name, { a, b }] of Object.entries(adapters)) {
      parameters[`layers.${i}.${name}.a`] = a;
      parameters[`layers.${i}.${name}.b`] = b;
    }
  });
  return parameters;
}

export function disposeLora({ layers, rows }: Lora): void {
  for (const adapters of layers) {
    for (const { a, b } of Object.values(adapters)) {
      a.dispose();
      b.dispose();
    }
  }
  rows.embedding.dispose();
  rows.head?.dispose();
}

/**
 * What the adapters add to the product with a matrix of layer `index`: [T, rows of the matrix]; null where none is beside it.
 * @param training whether inputs are dropped
 * @param parts which of the linear layers side by side in the matrix, in their order; default all of them
 */
export function loraUpdate(
  decoder: Decoder,
  index: number,
  matrix: Matrix,
  x: Tensor,
  training: boolean,
  parts: readonly LinearLayer[] = (Object.keys(linearLayers) as LinearLayer[]).filter(
    (name) => linearLayers[name] === matrix,
  ),
): Tensor | null {
  const { lora } = decoder;
  if (lora === undefined) return null;
  const adapters = parts.map((name) => lora.layers[index]![name]);
  const present = adapters.filter((adapter) => adapter !== undefined);
  if (present.length === 0) return null;
  const given = training && lora.dropout > 0 ? x.dropout(lora.dropout, true) : x;
  const narrow = given
    .linear(
      present.length === 1
        ? present[0]!.a
        : cat(
            present.map(({ a }) => a),
            0,
          ),
    )
    .mul(lora.alpha / lora.rank); // [T, adapters · rank]
  let at = 0;
  const updates = parts.map((name, i) => {
    const adapter = adapters[i];
    if (adapter === undefined)
      return zeros([x.shape[0]!, placeOf(decoder, name).out], { dtype: narrow.dtype, device: decoder.device });
    return narrow.narrow(1, lora.rank * at++, lora.rank).linear(adapter.b);
  });
  return updates.length === 1 ? updates[0]! : cat(updates, 1);
}

/** Places of a batch whose tokens' rows are learnt, and which rows they are. */
export function learntPlaces({ ids }: TokenRows, tokens: Int32Array): { places: Int32Array; rows: Int32Array } {
  const rowOf = new Map(Array.from(ids, (id, row) => [id, row]));
  const places: number[] = [];
  const rows: number[] = [];
  tokens.forEach((token, place) => {
    const row = rowOf.get(token);
    if (row === undefined) return;
    places.push(place);
    rows.push(row);
  });
  return { places: Int32Array.from(places), rows: Int32Array.from(rows) };
}

/** A table with its learnt rows in their places: [vocabulary, hidden] */
export function withRows(table: Tensor, { ids }: TokenRows, rows: Tensor): Tensor {
  if (ids.length === 0) return table;
  const index = tensor(BigInt64Array.from(ids, BigInt), [ids.length], { dtype: 'i64', device: table.device });
  return table.indexCopy(0, index, rows.to(table.dtype));
}

/**
 * Adds the adapters' products into the matrices, in f32, and puts the learnt rows in their places; the decoder has no adapters any more.
 * @param as what the matrices that this changes are then rounded to, one after the other
 */
export function mergeLora(decoder: Decoder, as: 'f32' | 'bf16' = 'f32'): void {
  const { lora } = decoder;
  if (lora === undefined) return;
  const replace = (weight: Tensor, make: () => Tensor): Tensor => {
    const made = noGrad(() => tidy(() => make().to(as)));
    weight.dispose();
    return made;
  };
  lora.layers.forEach((adapters, i) => {
    const layer = decoder.layers[i]!;
    for (const matrix of new Set(Object.values(linearLayers))) {
      const beside = (Object.entries(adapters) as [LinearLayer, Adapter][]).filter(
        ([name]) => linearLayers[name] === matrix,
      );
      if (beside.length === 0) continue;
      layer[matrix] = replace(layer[matrix], () => {
        const whole = layer[matrix].to('f32').clone();
        for (const [name, { a, b }] of beside) {
          const { start, out } = placeOf(decoder, name);
          const rows = whole.narrow(0, start, out);
          rows.copy_(rows.add(b.matmul(a).mul(lora.alpha / lora.rank)));
        }
        return whole;
      });
    }
  });
  const { rows } = lora;
  const table = replace(decoder.embedding, () => withRows(decoder.embedding.to('f32'), rows, rows.embedding).clone());
  decoder.head = decoder.config.tiedHead
    ? table
    : replace(decoder.head, () => withRows(decoder.head.to('f32'), rows, rows.head!).clone());
  decoder.embedding = table;
  delete decoder.lora;
  disposeLora(lora);
}

/**
 * Holds every frozen weight in bf16 that loses nothing by it, as those of a bf16 checkpoint: half the memory, and no conversion in
 * each product under autocast. Norms' gains stay f32.
 */
export function compactFrozenWeights(decoder: Decoder): void {
  const compact = (weight: Tensor): Tensor => {
    const made = noGrad(() =>
      tidy(() => {
        const half = weight.to('bf16');
        return half.to('f32').ne(weight).any().item() === 0 ? half : null;
      }),
    );
    if (made === null) return weight;
    weight.dispose();
    return made;
  };
  replaceMatrices(decoder, compact);
}
