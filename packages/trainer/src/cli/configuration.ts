// The one configuration file of `larr`: a section for each stage. Every command reads the sections it needs.
import { z } from 'zod';
import { FinetuneConfig } from '../embedding/config.js';
import { PretrainConfig } from '../pretraining/config.js';

/**
 * `train` stays unparsed here: its defaults depend on the dataset's recommendation and on the model, and
 * `resolveTrainConfig` puts the three together.
 */
export const Configuration = z.strictObject({
  pretrain: PretrainConfig.prefault({}),
  finetune: FinetuneConfig.prefault({}),
  train: z.record(z.string(), z.unknown()).default({}),
});
export type Configuration = z.output<typeof Configuration>;
