// Adapters on disk, in the layout of PEFT: adapter_config.json and adapter_model.safetensors beside the tokenizer, the model they are of elsewhere.
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { DataError, writeFileAtomic } from '@larr/core';
import { loadSafetensors, noGrad, saveSafetensors, type Tensor, tidy, zeros } from '@larr/torch';
import { z } from 'zod';
import { halveWeights, wholeWeights } from './compact-weights.js';
import { CHAT_TEMPLATE } from './companion-files.js';
import { disposeDecoder, growVocabulary } from './decoder.js';
import { refuseLfsPointer } from './lfs-pointer.js';
import {
  type Adapter,
  addLora,
  compactFrozenWeights,
  fullName,
  type LinearLayer,
  type Lora,
  linearLayers,
  mergeLora,
  placeOf,
} from './lora.js';
import type { LoraConfig } from './lora-config.js';
import {
  checkTokenizerFits,
  type HeldMatrices,
  type LanguageModel,
  loadLanguageModel,
  saveLanguageModel,
} from './model-directory.js';
import { loadTokenizer, withSpecialTokens } from './tokenizer.js';

/** What of a stage's settings says how its model is trained and saved. */
export interface TrainedForm {
  lora?: LoraConfig | undefined;
  precision: 'f32' | 'bf16';
  trainingState: 'f32' | 'bf16';
  saveAs: 'f32' | 'bf16';
}

/** How the matrices of a model are to be loaded that is trained so: frozen ones may stay in bf16, which products take them in, and so may those that are held in halves. */
export const heldMatrices = ({ lora, precision, trainingState }: Omit<TrainedForm, 'saveAs'>): HeldMatrices =>
  (lora !== undefined && precision === 'bf16') || trainingState === 'bf16' ? 'as saved' : 'f32';

/**
 * The model with the keywords' tokens, new ones with rows of their own, in the form that it is trained in. Torch's generator decides the
 * rows and the adapters. The given model gives its tensors away; where this throws, they are disposed of.
 * @throws ConfigError `NO_LORA_TARGET`
 */
export function readyToTrain(model: LanguageModel, form: TrainedForm, keywordTokens: readonly string[]): LanguageModel {
  let { decoder } = model;
  try {
    const tokenizer = withSpecialTokens(model.tokenizer, keywordTokens);
    decoder = growVocabulary(decoder, tokenizer.vocabularySize, model.tokenizer.vocabularySize);
    const ready = { ...model, tokenizer, decoder };
    adapt(ready, form, keywordTokens);
    return ready;
  } catch (error) {
    disposeDecoder(decoder);
    throw error;
  }
}

/** Puts adapters beside a model, or holds its weights in halves, where the settings ask for them. */
function adapt(
  { decoder, tokenizer }: LanguageModel,
  { lora, precision, trainingState }: TrainedForm,
  keywordTokens: readonly string[],
): void {
  if (lora === undefined) {
    if (trainingState === 'bf16') halveWeights(decoder);
    return;
  }
  const ids = keywordTokens.flatMap((token) => tokenizer.tokenId(token) ?? []);
  addLora(decoder, lora, ids);
  if (precision === 'bf16') compactFrozenWeights(decoder);
}

/**
 * Writes a trained model: whole, its adapters merged into it, or the adapters alone.
 * @param base the directory that training began with, and `modelDigest` of it then
 */
export async function saveTrained(
  directory: string,
  model: LanguageModel,
  form: TrainedForm,
  base: { path: string; sha256: string } | undefined,
): Promise<void> {
  if (form.lora?.save === 'adapters' && base !== undefined) return saveAdapters(directory, model, base, form);
  mergeLora(model.decoder, form.saveAs);
  wholeWeights(model.decoder);
  await saveLanguageModel(directory, model, form.saveAs);
}

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';
const PREFIX = 'base_model.model.';
const ROWS = 'token_adapter.trainable_tokens_delta';
/** Where the file of the adapters says what the model was that they were learnt beside; PEFT reads past it. */
const BASE_DIGEST = 'larr_base_sha256';

/** Whether a directory holds adapters, and no model of its own. */
export const holdsAdapters = (directory: string): boolean =>
  existsSync(join(directory, CONFIG)) && !existsSync(join(directory, 'config.json'));

async function saveAdapters(
  directory: string,
  { decoder, tokenizer, companions }: LanguageModel,
  base: { path: string; sha256: string },
  { saveAs }: TrainedForm,
): Promise<void> {
  const { rank, alpha, dropout, layers, rows } = decoder.lora!;
  const tensors: Record<string, Tensor> = {};
  layers.forEach((adapters, i) => {
    for (const [name, { a, b }] of Object.entries(adapters)) {
      const at = PREFIX + fullName(i, name as LinearLayer);
      tensors[`${at}.lora_A.weight`] = a;
      tensors[`${at}.lora_B.weight`] = b;
    }
  });
  const targets = layers.flatMap((adapters, i) =>
    Object.keys(adapters).map((name) => fullName(i, name as LinearLayer)),
  );
  const ids = Array.from(rows.ids);
  if (ids.length > 0) {
    tensors[`${PREFIX}model.embed_tokens.${ROWS}`] = rows.embedding;
    if (rows.head !== null) tensors[`${PREFIX}lm_head.${ROWS}`] = rows.head;
  }
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: resolve(base.path),
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    bias: 'none',
    target_modules: targets,
    inference_mode: true,
    ...(ids.length > 0 && {
      trainable_token_indices: { embed_tokens: ids, ...(rows.head !== null && { lm_head: ids }) },
    }),
  };
  const template = companions?.files[CHAT_TEMPLATE];
  await mkdir(directory, { recursive: true });
  const files = {
    [CONFIG]: `${JSON.stringify(config, null, 2)}\n`,
    ...tokenizer.files(decoder.config.contextLength),
    ...(template !== undefined && { [CHAT_TEMPLATE]: template }),
  };
  for (const [name, content] of Object.entries(files)) await writeFileAtomic(join(directory, name), content);
  noGrad(() =>
    tidy(() => {
      const saved = Object.entries(tensors).map(([name, t]) => [name, t.detach().to(saveAs).contiguous()]);
      saveSafetensors(join(directory, WEIGHTS), Object.fromEntries(saved), {
        format: 'pt',
        [BASE_DIGEST]: base.sha256,
      });
    }),
  );
}

const PeftConfig = z.object({
  peft_type: z.literal('LORA'),
  base_model_name_or_path: z.string().min(1),
  r: z.int().positive(),
  lora_alpha: z.number(),
  bias: z.literal('none').default('none'),
  use_rslora: z.literal(false).default(false),
  use_dora: z.literal(false).default(false),
  fan_in_fan_out: z.literal(false).default(false),
  rank_pattern: z.object({}).strict().nullish(),
  alpha_pattern: z.object({}).strict().nullish(),
  trainable_token_indices: z.record(z.string(), z.array(z.int().min(0))).nullish(),
});

async function readPeftConfig(directory: string): Promise<z.output<typeof PeftConfig>> {
  const path = join(directory, CONFIG);
  const refuse = (what: string) =>
    new DataError(
      'BAD_ADAPTERS',
      `${path}: ${what}. Merge the adapters with the program that made them and give the whole model.`,
      {
        file: path,
      },
    );
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw refuse(`cannot be read as JSON: ${(error as Error).message}`);
  }
  const parsed = PeftConfig.safeParse(json);
  if (parsed.success) return parsed.data;
  throw refuse(parsed.error.issues.map(({ path: at, message }) => `${at.join('.')}: ${message}`).join('; '));
}

/** The directory of the model that adapters are of. @throws DataError `MISSING_FILE`, `BAD_ADAPTERS` */
export async function adaptedModel(directory: string): Promise<string> {
  const { base_model_name_or_path: base } = await readPeftConfig(directory);
  if (existsSync(base)) return base;
  throw new DataError(
    'MISSING_FILE',
    `${join(directory, CONFIG)}: the adapters are of the model in ${base}, which is not there. Put it back, or set base_model_name_or_path to where it is now.`,
    { file: join(directory, CONFIG) },
  );
}

/** Refuses a model that has changed since adapters were learnt beside it: together they would be one that nothing has trained. */
async function refuseOtherBase(path: string, base: string): Promise<void> {
  let learntBeside: string | undefined;
  try {
    learntBeside = tidy(() => loadSafetensors(path).metadata[BASE_DIGEST]);
  } catch {
    return; // Told when they are loaded.
  }
  // Those of other programs don't say.
  if (learntBeside === undefined) return;
  const { modelDigest } = await import('../embedding/model-digest.js');
  if ((await modelDigest(base)) === learntBeside) return;
  throw new DataError(
    'BASE_CHANGED',
    `${path}: the model in ${base} is not the one that these adapters were learnt beside, or has changed since. Put that one back, set base_model_name_or_path of ${CONFIG} to where it is, or train the adapters anew.`,
    { file: path },
  );
}

/**
 * Loads the model that a directory's adapters are of and merges them into it.
 * @throws DataError `BAD_ADAPTERS` where they are of a kind that is not computed here, or do not fit; `BASE_CHANGED` where the model is no
 *   longer the one that they were learnt beside; what `loadLanguageModel` throws
 */
export async function loadAdapted(
  directory: string,
  { device = 'cpu', matrices = 'f32' }: { device?: string; matrices?: HeldMatrices } = {},
): Promise<LanguageModel> {
  const config = await readPeftConfig(directory);
  const path = join(directory, WEIGHTS);
  const refuse = (what: string) =>
    new DataError('BAD_ADAPTERS', `${path}: ${what}. Copy the directory again from where it was made.`, { file: path });
  if (!existsSync(path)) throw refuse('is missing');
  const of = await adaptedModel(directory);
  await refuseOtherBase(path, of);
  const base = await loadLanguageModel(of, { device, matrices });
  let { decoder } = base;
  try {
    const tokenizer = existsSync(join(directory, 'tokenizer_config.json'))
      ? await loadTokenizer(directory)
      : base.tokenizer;
    // Rows that the model has behind its own tokens stay as they are: what of them was learnt comes with the adapters.
    decoder = growVocabulary(decoder, tokenizer.vocabularySize);
    const { r: rank, lora_alpha: alpha } = config;
    const ids = config.trainable_token_indices?.embed_tokens ?? [];
    const { hiddenSize, tiedHead, vocabularySize } = decoder.config;
    if (ids.some((id) => id >= vocabularySize)) throw refuse('learnt rows lie behind the end of the vocabulary');
    decoder.lora = tidy((): Lora => {
      let tensors: Record<string, Tensor>;
      try {
        tensors = loadSafetensors(path).tensors;
      } catch (error) {
        refuseLfsPointer(path, 'BAD_ADAPTERS');
        throw refuse(`cannot be read as safetensors: ${(error as Error).message}`);
      }
      const left = new Set(Object.keys(tensors));
      const take = (name: string, shape: number[]): Tensor => {
        const found = tensors[PREFIX + name];
        if (found === undefined) throw refuse(`has no tensor ${PREFIX + name}`);
        if (String(found.shape) !== String(shape))
          throw refuse(`${PREFIX + name} has shape [${found.shape}], the model asks for [${shape}]`);
        left.delete(PREFIX + name);
        return found.to({ dtype: 'f32', device }).clone();
      };
      const layers = decoder.layers.map((_, i): Lora['layers'][number] => {
        const names = Object.keys(linearLayers) as LinearLayer[];
        const adapted = names.filter((name) => left.has(`${PREFIX}${fullName(i, name)}.lora_A.weight`));
        const one = (name: LinearLayer): [LinearLayer, Adapter] => {
          const { out, in: width } = placeOf(decoder, name);
          const a = take(`${fullName(i, name)}.lora_A.weight`, [rank, width]);
          return [name, { a, b: take(`${fullName(i, name)}.lora_B.weight`, [out, rank]) }];
        };
        return Object.fromEntries(adapted.map(one));
      });
      const shape = [ids.length, hiddenSize];
      const none = () => zeros(shape, { dtype: 'f32', device });
      const rows = {
        ids: Int32Array.from(ids),
        embedding: ids.length === 0 ? none() : take(`model.embed_tokens.${ROWS}`, shape),
        head: tiedHead ? null : ids.length === 0 ? none() : take(`lm_head.${ROWS}`, shape),
      };
      if (left.size > 0) throw refuse(`${[...left][0]} is of a kind that is not read here, or of another model`);
      return { rank, alpha, dropout: 0, layers, rows };
    });
    checkTokenizerFits(tokenizer, decoder.config, directory);
    mergeLora(decoder);
    return { ...base, decoder, tokenizer };
  } catch (error) {
    disposeDecoder(decoder);
    throw error;
  }
}
