import { z } from 'zod';
import { P5Config } from '../p5/config.js';

const widths = z.array(z.number().int().positive());

/** The networks that are models on their own, and that LARR may be built on. */
export const networkNames = [
  'dnn',
  'wide-deep',
  'deepfm',
  'dcn-v2',
  'xdeepfm',
  'fibinet',
  'din',
  'esmm',
  'mmoe',
  'ple',
] as const;
export type NetworkName = (typeof networkNames)[number];

/** Those that have no interactions of their own, so that `interactions` chooses them. */
export const networksOfTowers: ReadonlySet<NetworkName> = new Set(['dnn', 'esmm', 'mmoe', 'ple']);

/** What the networks are made of. Defaults are those of `larr train` without a configuration. */
export const modelConfigSchema = z.object({
  base: z
    .enum(networkNames)
    .default('ple')
    .describe('The network that the larr models put their scene and behaviour inputs into; no other model reads it.'),
  embeddingDim: z.number().int().positive().default(16).describe('Width of the ID embeddings.'),
  hidden: widths
    .default([256, 128])
    .describe(
      'Hidden layers of the MLP in dnn, wide-deep, deepfm, dcn-v2, xdeepfm, fibinet and din, and of each of the networks of esmm.',
    ),
  batchNorm: z
    .boolean()
    .default(false)
    .describe('Batch normalisation after the linear layers of MLPs, experts and towers.'),
  dropout: z.number().min(0).lt(1).default(0).describe('Dropout after the hidden layers of MLPs, experts and towers.'),
  interactions: z
    .enum(['none', 'fm'])
    .default('none')
    .describe(
      "What dnn, esmm, mmoe and ple, and the larr models on them, add to each task's logit; fm: the terms of a factorisation machine over the ID embeddings, as deepfm has them. The other networks have interactions of their own.",
    ),
  ple: z
    .strictObject({
      levels: z
        .array(widths.min(1))
        .min(1)
        .default([[256, 128], [128]])
        .describe('Hidden layers of the experts, extraction level by extraction level.'),
      sharedExperts: z.number().int().positive().default(2).describe('Experts that all tasks share, in each level.'),
      taskExperts: z.number().int().positive().default(2).describe("Experts of each task's own, in each level."),
      tower: widths.default([64]).describe("Hidden layers of each task's tower."),
    })
    .prefault({}),
  mmoe: z
    .strictObject({
      experts: z.number().int().positive().default(4).describe('Experts, which all tasks share.'),
      layers: widths.min(1).default([256, 128]).describe('Hidden layers of each expert.'),
      tower: widths.default([64]).describe("Hidden layers of each task's tower."),
    })
    .prefault({}),
  dcnV2: z
    .strictObject({
      layers: z.number().int().positive().default(3).describe('Cross layers.'),
      structure: z
        .enum(['parallel', 'stacked'])
        .default('parallel')
        .describe('parallel: the MLP beside the cross layers; stacked: behind them.'),
    })
    .prefault({}),
  xdeepfm: z
    .strictObject({
      maps: widths
        .min(1)
        .default([32, 32])
        .describe('Feature maps of each layer of the compressed interaction network.'),
    })
    .prefault({}),
  fibinet: z
    .strictObject({
      reduction: z
        .number()
        .int()
        .positive()
        .default(3)
        .describe("How many times narrower than the number of fields SENET's inner layer is."),
    })
    .prefault({}),
  din: z
    .strictObject({
      attention: widths.min(1).default([64]).describe('Hidden layers of the local activation units.'),
    })
    .prefault({}),
  larr: z
    .strictObject({
      vectorDim: z
        .number()
        .int()
        .positive()
        .default(128)
        .describe("Width of the language model's vectors. Leave it out: it follows the vectors."),
      heads: z.number().int().positive().default(4).describe('Attention heads of the scene encoder.'),
      ffn: z.number().int().positive().default(256).describe("Width of the scene encoder's feed-forward layer."),
      headHidden: z.number().int().positive().default(256).describe('Hidden width of the head that makes z_s.'),
      gain: z
        .number()
        .positive()
        .default(0.01)
        .describe(
          'What z_s, the behaviour input and the POI input are multiplied with at first, each by a factor of its own that is learnt. ID embeddings start at .01: inputs of a hundred times that size can be learnt in their place (docs/real-data.md).',
        ),
      aggregation: z
        .enum(['encoder', 'concat'])
        .default('encoder')
        .describe(
          "How scene vectors become z_s; encoder: aggregated into z_s; concat: each field's vector mapped to embeddingDim and put side by side (noAL).",
        ),
      pooling: z
        .enum(['aggregation', 'mean'])
        .default('aggregation')
        .describe(
          'What of the encoder becomes z_s: the aggregation token, or the mean of all. Only the first can be exported.',
        ),
      behaviour: z
        .boolean()
        .default(true)
        .describe(
          "The mean vector of the POIs in the user's sequences as one more input, where the data has sequences.",
        ),
      poi: z
        .boolean()
        .default(true)
        .describe("The vector of the candidate POI's own texts as one more input, mapped to twice embeddingDim."),
      vectors: z
        .enum(['model', 'random', 'shuffled'])
        .default('model')
        .describe('Controls: random and shuffled take the meaning out of the vectors and leave everything else.'),
    })
    .prefault({}),
  p5: P5Config.prefault({}),
  align: z
    .strictObject({
      lambda: z.number().min(0).default(0.05).describe('λ of L = L_rec + λ L_al; 0 leaves the alignment out.'),
      temperature: z.number().positive().default(0.1).describe('τ of the alignment.'),
      rows: z.enum(['all', 'clicked']).default('all').describe('Which rows enter L_al.'),
      maskDuplicates: z.boolean().default(true).describe('Leave rows of the same (user, POI) out of the negatives.'),
      extraNegatives: z
        .number()
        .int()
        .min(0)
        .default(0)
        .describe(
          "Negatives drawn for each row beside those of the batch, each a user and a POI of the training part drawn evenly; they join the sums of the direction scene → target. The paper's figure 4b sweeps them and finds that more hurts.",
        ),
    })
    .prefault({}),
});

export type ModelConfig = z.infer<typeof modelConfigSchema>;
