// Apart from what it configures: the command line reads settings before LibTorch is there.
import { z } from 'zod';

export const LoraConfig = z.strictObject({
  rank: z
    .int()
    .positive()
    .default(16)
    .describe(
      "Where `lora` is given, as {} at the least, the model's weights stay as they are; two narrow matrices beside each that is named are learnt, and the rows of the keywords' tokens in full. Without it every weight is learnt. This is the width of the narrow matrices (r).",
    ),
  alpha: z
    .number()
    .positive()
    .default(32)
    .describe('Their product is scaled by alpha / rank, so that the learning rate does not depend on the rank.'),
  dropout: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe('Share of the inputs of the narrow matrices that is dropped in training.'),
  targets: z
    .array(z.string().min(1))
    .min(1)
    .default(['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'])
    .describe(
      'Linear layers that are adapted: the ends of their names under Hugging Face, * for any part between two dots, such as "q_proj" or "layers.0.mlp.*".',
    ),
  save: z
    .enum(['merged', 'adapters'])
    .default('merged')
    .describe(
      "merged: a whole model, the products added into its matrices; adapters: the narrow matrices and the tokens' rows alone, as PEFT reads them, beside the model they are of.",
    ),
});
export type LoraConfig = z.output<typeof LoraConfig>;
