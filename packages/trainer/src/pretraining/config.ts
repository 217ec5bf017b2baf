import { ConfigError } from '@larr/core';
import { z } from 'zod';
import { LoraConfig } from '../language-model/lora-config.js';

const count = z.int().positive();

// What both stages of language-model training have.
export const precision = z
  .enum(['f32', 'bf16'])
  .default('f32')
  .describe('Arithmetic of the products. Learnt weights are f32 either way, or as `trainingState` says.');
export const trainingState = z
  .enum(['f32', 'bf16'])
  .default('f32')
  .describe(
    'What training keeps of a weight that is learnt in full. f32: an f32 weight and its bf16 copy, f32 gradient and moments, 18 bytes. bf16, with precision bf16: a bf16 weight and the other half of an exact f32 one, bf16 gradient and moments, rounded by chance, 10 bytes.',
  );
export const recompute = z
  .boolean()
  .default(false)
  .describe(
    "Keep of each layer its input alone, and compute the rest again for the gradients (activation checkpointing): a third more arithmetic, one layer's states in memory in place of all.",
  );
export const lora = LoraConfig.optional().describe(
  "Learn narrow matrices beside the model's frozen ones (LoRA), and the rows of the keywords' tokens in full; without it every weight is learnt. {} takes the defaults.",
);
export const saveAs = z
  .enum(['f32', 'bf16'])
  .default('f32')
  .describe('Numbers of the saved model. bf16 halves it, and rounds what was learnt once, at the end.');

/** Refuses a `trainingState` that would do nothing. */
export function checkTrainingState(
  config: { trainingState: 'f32' | 'bf16'; precision: 'f32' | 'bf16'; lora?: object | undefined },
  context: z.RefinementCtx,
): void {
  if (config.trainingState === 'f32') return;
  const refuse = (message: string) => context.addIssue({ code: 'custom', path: ['trainingState'], message });
  if (config.precision === 'f32') refuse('bf16 is for products in bf16: set precision to bf16 too');
  if (config.lora !== undefined)
    refuse('bf16 is for weights that are learnt in full, and with lora none is: leave one of the two out');
}

/** The shape of a decoder made here. The default suits two CPU cores and a corpus of some megabytes. */
export const DecoderShape = z
  .strictObject({
    hiddenSize: count.default(128).describe('Width of the states.'),
    layers: count.default(3).describe('Decoder layers.'),
    heads: count.default(4).describe('Attention heads.'),
    keyValueHeads: count.default(2).describe('Heads of keys and values (grouped-query attention).'),
    feedForwardSize: count.default(352).describe('Width of the feed-forward layers.'),
    contextLength: count.default(384).describe('Longest text in tokens; longer ones are cut, and counted.'),
    vocabularySize: count.default(2000).describe('Byte-level BPE vocabulary, special tokens of keywords not counted.'),
    tiedHead: z.boolean().default(true).describe('Whether the output layer shares the token embeddings.'),
  })
  .superRefine(({ hiddenSize, heads, keyValueHeads }, context) => {
    const refuse = (message: string, ...path: string[]) => context.addIssue({ code: 'custom', path, message });
    // Each head has an even share of the width: rotary positions turn its numbers two by two.
    if (hiddenSize % (2 * heads) !== 0)
      refuse(
        `hiddenSize ${hiddenSize} does not divide into heads ${heads} of an even width: make it a multiple of ${2 * heads}`,
        'hiddenSize',
      );
    if (heads % keyValueHeads !== 0)
      refuse(`keyValueHeads ${keyValueHeads} does not divide heads ${heads}`, 'keyValueHeads');
  });

/** Settings of stage 1 (method.md, section 2). The run depends on these, the dataset and the seed alone, never on the clock. */
export const PretrainConfig = z
  .strictObject({
    from: z
      .string()
      .optional()
      .describe(
        'A Hugging Face directory to continue from. Without it a small decoder and its tokenizer start from scratch.',
      ),
    decoder: DecoderShape.prefault({}),
    tokens: z
      .int()
      .min(0)
      .default(1_200_000)
      .describe(
        'Tokens to train on: they decide the number of steps (tokens / tokensPerStep). Each step is filled past tokensPerStep by its last document, so somewhat more are read, the more the longer documents are beside a step. 0 writes the untrained model (ablation noCPT).',
      ),
    tokensPerStep: count
      .max(2 ** 24)
      .default(2048)
      .describe('Tokens in a step, at the least: documents are taken whole until there are so many.'),
    generalShare: z
      .number()
      .min(0)
      .max(0.99)
      .default(0.5)
      .describe(
        'Share of general text among the tokens, where the dataset has a general corpus. The paper mixes 9 : 1 (0.9) to keep what a large model knew; a model from scratch has nothing to keep, so half is domain text by default.',
      ),
    learningRate: z.number().positive().default(3e-3).describe('Peak rate. The paper has 1e-4 for 7 B parameters.'),
    warmupShare: z.number().min(0).max(1).default(0.05).describe('Share of the steps with a rising rate.'),
    finalShare: z.number().min(0).max(1).default(0.05).describe('The cosine ends at this share of the peak rate.'),
    weightDecay: z.number().min(0).default(0.01).describe('Decoupled weight decay (AdamW).'),
    clipNorm: z.number().positive().default(1).describe('Largest gradient norm.'),
    precision,
    accumulate: count
      .default(1)
      .describe("Pieces that a step's documents are learnt in, one after another: the same step in less memory."),
    recompute,
    trainingState,
    lora,
    saveAs,
    heldOutDocuments: count.default(64).describe('Documents of each kind kept out of training, for the perplexity.'),
    evaluateEvery: count.default(200).describe('Steps between measurements of the held-out perplexity.'),
    checkpointEvery: count.default(200).describe('Steps between checkpoints.'),
    logEvery: count.default(20).describe('Steps between lines of metrics.jsonl and calls of onProgress.'),
  })
  .superRefine(checkTrainingState);
export type PretrainConfig = z.output<typeof PretrainConfig>;
export type PretrainConfigInput = z.input<typeof PretrainConfig>;

/** Fills in defaults. @throws ConfigError `BAD_CONFIG` naming every field that is wrong. */
export function parseConfig<T>(schema: z.ZodType<T>, input: unknown, what: string): T {
  const parsed = schema.safeParse(input ?? {});
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join('.') || '(top)'}: ${issue.message}`).join('; ');
  throw new ConfigError('BAD_CONFIG', `The configuration of ${what} is not valid: ${issues}.`);
}
