import { z } from 'zod';

/*
 * What the server reads of a bundle's JSON files. Written by `larr export`, checked here all the same: a bundle comes from outside.
 */
const count = z.int().min(0);
const Role = z.enum(['user', 'poi', 'user-feature', 'poi-feature', 'cross', 'context']);

/** `features.json`: how feature values become the ranker's numbers. */
export const BundleFeatures = z.object({
  categorical: z.array(
    z.object({
      name: z.string(),
      role: Role,
      /** indices, index 0 (unseen or missing) included */
      size: z.int().min(1),
      /** the feature's first row in the fused table */
      rowOffset: count,
      /** value of each index, [0] = "" */
      vocabulary: z.array(z.string()),
      hashed: z.object({ buckets: z.int().min(1), collisionRate: z.number() }).optional(),
    }),
  ),
  dense: z.array(
    z.object({
      name: z.string(),
      role: Role,
      mean: z.number(),
      std: z.number(),
      /** of statistics: the value of "no history" */
      absent: z.number().optional(),
    }),
  ),
  sequences: z.array(z.object({ name: z.string(), length: z.int().min(1) })),
  scene: z.array(z.object({ field: z.string(), token: z.string() })),
});
export type BundleFeatures = z.infer<typeof BundleFeatures>;

const width = z.int().min(1).nullable();

/** `inputs` of the manifest: what the ranker's graph takes. */
export const RankerInputs = z.object({
  /** features that come once a context (a user in a moment) and those that come with each row, by their place in features.json */
  ids: z.object({ context: z.array(count), row: z.array(count) }),
  dense: z.object({ context: z.array(count), row: z.array(count) }),
  /** widths; null where the graph has no such input */
  z_s: width,
  behaviour: width,
  /** entries of all sequences together; bundles of models that read none may leave it out */
  history: width.default(null),
  /** whether the graph takes the row of each candidate's vector; bundles of models without may leave it out */
  poi: z.boolean().default(false),
  /** inputs that are tables: tensors of embeddings.safetensors under the same names */
  tables: z.record(z.string(), z.object({ dim: z.int().min(1) })),
  /** how scene keywords become z_s: the encoder, or the keywords' vectors side by side */
  sceneEncoder: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('encoder'), heads: z.int().min(1), ffn: z.int().min(1), headHidden: z.int().min(1) }),
      z.object({ kind: z.literal('concat') }),
    ])
    .nullable(),
});
export type RankerInputs = z.infer<typeof RankerInputs>;

const register = count;

/** `ranker.json`: the network as a program of the native ranker (native-cuda's FusedRanker), its weights in ranker.safetensors. */
export const RankerProgram = z.object({
  registers: z.array(z.int().min(1)),
  steps: z.array(
    z.discriminatedUnion('kind', [
      z.object({
        kind: z.literal('layer'),
        from: register.nullable(),
        to: register,
        weight: z.string(),
        bias: z.string().nullable(),
        relu: z.boolean(),
      }),
      z.object({
        kind: z.literal('mix'),
        gates: z.array(register),
        experts: z.array(register),
        to: z.array(register),
        seen: z.array(z.array(z.boolean())),
      }),
    ]),
  ),
  logits: z.array(register),
  clickShift: z.number(),
  /** what IDs add to the logits beside the network: a table, and the weights of the squared sum of their embeddings; bundles of before have neither */
  terms: z.string().nullable().default(null),
  secondOrder: z.string().nullable().default(null),
});
export type RankerProgram = z.infer<typeof RankerProgram>;

/** `scene.json`: texts of fields; the first has row `entry` of the scene table, the others follow. A field may stand several times. */
export const SceneEntries = z.array(z.object({ field: z.string(), entry: count, texts: z.array(z.string()) }));
export type SceneEntries = z.infer<typeof SceneEntries>;
