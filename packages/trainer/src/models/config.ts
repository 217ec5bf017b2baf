import { z } from 'zod';

const widths = z.array(z.number().int().positive());

/** What the networks are made of. Defaults are those of `larr train` without a configuration. */
export const modelConfigSchema = z.object({
  /** width of the ID embeddings */
  embeddingDim: z.number().int().positive().default(16),
  /** hidden layers of the MLP in dnn, wide-deep, deepfm */
  hidden: widths.default([256, 128]),
  /** batch normalisation after the linear layers of MLPs, experts and towers */
  batchNorm: z.boolean().default(false),
  /** dropout after the hidden layers of MLPs, experts and towers */
  dropout: z.number().min(0).lt(1).default(0),
  ple: z
    .strictObject({
      /** hidden layers of the experts, extraction level by extraction level */
      levels: z
        .array(widths.min(1))
        .min(1)
        .default([[256, 128], [128]]),
      sharedExperts: z.number().int().positive().default(2),
      taskExperts: z.number().int().positive().default(2),
      /** hidden layers of each task's tower */
      tower: widths.default([64]),
    })
    .prefault({}),
  larr: z
    .strictObject({
      /** width of the language model's vectors */
      vectorDim: z.number().int().positive().default(128),
      heads: z.number().int().positive().default(4),
      ffn: z.number().int().positive().default(512),
      headHidden: z.number().int().positive().default(256),
      /** `encoder`: aggregated into z_s; `concat`: each field's vector mapped to embeddingDim and put side by side (noAL) */
      aggregation: z.enum(['encoder', 'concat']).default('encoder'),
      pooling: z.enum(['aggregation', 'mean']).default('aggregation'),
      /** the mean vector of the POIs in the user's sequences as one more input, where the data has sequences */
      behaviour: z.boolean().default(true),
      /** controls: `random` and `shuffled` take the meaning out of the vectors and leave everything else */
      vectors: z.enum(['model', 'random', 'shuffled']).default('model'),
    })
    .prefault({}),
  align: z
    .strictObject({
      /** λ of L = L_rec + λ L_al; 0 leaves the alignment out */
      lambda: z.number().min(0).default(0.05),
      /** τ */
      temperature: z.number().positive().default(0.1),
      /** which rows enter L_al */
      rows: z.enum(['all', 'clicked']).default('all'),
      /** leave rows of the same (user, POI) out of the negatives */
      maskDuplicates: z.boolean().default(true),
    })
    .prefault({}),
});

export type ModelConfig = z.infer<typeof modelConfigSchema>;
