// The one configuration file of `larr`: a section for each stage. Every command reads the sections it needs.
import { UsageError } from '@larr/core';
import { z } from 'zod';
import { FinetuneConfig } from '../embedding/config.js';
import { PretrainConfig } from '../pretraining/config.js';
import { trainSectionSchema } from '../training/config-schema.js';

/** A DuckDB memory limit. */
export const memoryLimit = z
  .string()
  .regex(/^\d+(\.\d+)?\s?[KMGT]i?B$/i, 'a memory limit is a number and KB, MB, GB or TB, as in "2GB"');

const PrepareConfig = z.strictObject({
  memoryLimit: memoryLimit
    .default('2GB')
    .describe("DuckDB's memory limit; what does not fit is spilled to the output's disk. `--memory` overrides it."),
  rowsPerShard: z.int().positive().default(4_000_000).describe('Rows of each Parquet file of a part.'),
});

const EmbedConfig = z.strictObject({
  precision: z
    .enum(['f32', 'bf16'])
    .default('f32')
    .describe("Arithmetic of a language model's products; the vectors are f32 either way."),
  saveSeconds: z.number().min(0).default(20).describe('Seconds between saves of what is embedded so far.'),
});

/**
 * What the user says of training, checked and left as it is written: its defaults depend on the dataset's recommendation and on the
 * model, and `resolveTrainConfig` puts the three together.
 */
const TrainSection = z.custom<z.input<typeof trainSectionSchema>>().superRefine((value, context) => {
  const parsed = trainSectionSchema.safeParse(value);
  // Issues have the paths of the section; zod puts its name in front.
  if (!parsed.success) for (const issue of parsed.error.issues) context.addIssue({ ...issue } as never);
});

const trainReaders = '`train`, `compare`, `ablate`, `sweep`, `tune`, `demo`';

export const Configuration = z.strictObject({
  prepare: PrepareConfig.prefault({}).describe('`world`, `import`, `prepare`'),
  pretrain: PretrainConfig.prefault({}).describe(
    '`pretrain`, and stage 1 of `train`, `compare`, `ablate`, `sweep`, `tune`, `demo`',
  ),
  finetune: FinetuneConfig.prefault({}).describe(
    '`finetune`, and stage 2 of `train`, `compare`, `ablate`, `sweep`, `tune`, `demo`',
  ),
  embed: EmbedConfig.prefault({}).describe(
    '`embed`, and the vectors of `train`, `compare`, `ablate`, `sweep`, `tune`, `demo`',
  ),
  train: TrainSection.default({}).describe(trainReaders),
});
export type Configuration = z.output<typeof Configuration>;

/** The whole file with every setting in the open, as documents and messages want it. */
export const ConfigurationShape = Configuration.extend({
  train: trainSectionSchema.prefault({}).describe(trainReaders),
});

/**
 * Makes sure that language stages which this configuration runs give vectors of the width that it asks of the model, and that its heads
 * can share, before they run.
 * @throws UsageError `VECTOR_DIM`, `HEADS`
 */
export function checkVectorWidth({ train, finetune }: Pick<Configuration, 'train' | 'finetune'>): void {
  const heads = train.larr?.heads;
  if (heads !== undefined && finetune.dimension % heads !== 0)
    throw new UsageError(
      'HEADS',
      `train.larr.heads is ${heads}, which does not divide finetune.dimension, ${finetune.dimension}: each head takes an equal share of a vector`,
    );
  const wanted = train.larr?.vectorDim;
  if (wanted === undefined || wanted === finetune.dimension) return;
  throw new UsageError(
    'VECTOR_DIM',
    `train.larr.vectorDim is ${wanted}, but stage 2 makes vectors of ${finetune.dimension} (finetune.dimension). Leave larr.vectorDim out: it follows the vectors`,
  );
}
