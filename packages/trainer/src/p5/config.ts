import { z } from 'zod';
import { LoraConfig } from '../language-model/lora-config.js';
import { checkTrainingState, trainingState } from '../pretraining/config.js';

const count = z.int().positive();

/** Settings of P5, the language model that is asked in text. */
export const P5Config = z
  .strictObject({
    samples: count
      .default(20_000)
      .describe('Impressions of the train part that are learnt, half of them clicked; each is one prompt.'),
    batchSize: count.default(32).describe('Prompts in a step.'),
    accumulate: count.default(1).describe("Pieces that a step's prompts are learnt in, one after another."),
    learningRate: z.number().positive().default(5e-4).describe('Peak rate.'),
    warmupShare: z.number().min(0).max(1).default(0.05).describe('Share of the steps with a rising rate.'),
    finalShare: z.number().min(0).max(1).default(0.05).describe('The cosine ends at this share of the peak rate.'),
    weightDecay: z.number().min(0).default(0.01).describe('Decoupled weight decay (AdamW).'),
    clipNorm: z.number().positive().default(1).describe('Largest gradient norm.'),
    precision: z.enum(['f32', 'bf16']).default('f32').describe('Arithmetic of the products.'),
    recompute: z.boolean().default(false).describe("Compute layers' states again for their gradients."),
    trainingState,
    lora: LoraConfig.optional().describe('Learn adapters beside frozen weights; {} takes the defaults.'),
    validationRows: count
      .default(4000)
      .describe('Rows of the validation part that are scored. The test part is scored whole.'),
    checkpointEvery: count.default(200).describe('Steps between checkpoints.'),
    logEvery: count.default(20).describe('Steps between lines of metrics.jsonl.'),
  })
  .superRefine(checkTrainingState);
export type P5Config = z.output<typeof P5Config>;
