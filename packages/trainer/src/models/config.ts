import { z } from 'zod';

const widths = z.array(z.number().int().positive());

/** What the networks are made of. Defaults are those of `larr train` without a configuration. */
export const modelConfigSchema = z.object({
  embeddingDim: z.number().int().positive().default(16).describe('Width of the ID embeddings.'),
  hidden: widths.default([256, 128]).describe('Hidden layers of the MLP in dnn, wide-deep, deepfm.'),
  batchNorm: z
    .boolean()
    .default(false)
    .describe('Batch normalisation after the linear layers of MLPs, experts and towers.'),
  dropout: z.number().min(0).lt(1).default(0).describe('Dropout after the hidden layers of MLPs, experts and towers.'),
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
  larr: z
    .strictObject({
      vectorDim: z
        .number()
        .int()
        .positive()
        .default(128)
        .describe("Width of the language model's vectors. Leave it out: it follows the vectors."),
      heads: z.number().int().positive().default(4).describe('Attention heads of the scene encoder.'),
      ffn: z.number().int().positive().default(512).describe("Width of the scene encoder's feed-forward layer."),
      headHidden: z.number().int().positive().default(256).describe('Hidden width of the head that makes z_s.'),
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
      vectors: z
        .enum(['model', 'random', 'shuffled'])
        .default('model')
        .describe('Controls: random and shuffled take the meaning out of the vectors and leave everything else.'),
    })
    .prefault({}),
  align: z
    .strictObject({
      lambda: z.number().min(0).default(0.05).describe('λ of L = L_rec + λ L_al; 0 leaves the alignment out.'),
      temperature: z.number().positive().default(0.1).describe('τ of the alignment.'),
      rows: z.enum(['all', 'clicked']).default('all').describe('Which rows enter L_al.'),
      maskDuplicates: z.boolean().default(true).describe('Leave rows of the same (user, POI) out of the negatives.'),
    })
    .prefault({}),
});

export type ModelConfig = z.infer<typeof modelConfigSchema>;
