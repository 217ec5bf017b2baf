import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, DataError, type Dataset, type KeywordText, openDataset, specialTokens } from '@larr/core';
import { autocast, type Job, manualSeed, noGrad, tidy } from '@larr/torch';
import { refuseFineTuned } from '../embedding/learnt-pairs.js';
import { modelDigest } from '../embedding/model-digest.js';
import { packSequences } from '../language-model/batch.js';
import { wholeWeights } from '../language-model/compact-weights.js';
import {
  createDecoder,
  disposeDecoder,
  hiddenStates,
  trainedParameters,
  trainingStates,
} from '../language-model/decoder.js';
import { requireRoomForTexts } from '../language-model/heap-room.js';
import { heldMatrices, readyToTrain, saveTrained } from '../language-model/lora-directory.js';
import { checkModelDirectory, type LanguageModel, loadLanguageModel } from '../language-model/model-directory.js';
import { nextTokenLoss, nextTokenTargets } from '../language-model/next-token-loss.js';
import { byFirst, isFirst, total } from '../language-model/several-processes.js';
import { appendMetric, dropStage } from '../language-model/stage-checkpoint.js';
import { finishedStage, finishStage, stageIdentity } from '../language-model/stage-directory.js';
import { runStageLoop, type StageCursor, type StageSpeed, stageSpeed } from '../language-model/stage-loop.js';
import { stepFlops } from '../language-model/step-flops.js';
import { Tokenizer, withSpecialTokens } from '../language-model/tokenizer.js';
import { trainTokenizer } from '../language-model/tokenizer-training.js';
import { recordRun, runDataset } from '../report/run-record.js';
import { writePretrainReport } from '../report/stage-reports.js';
import { PretrainConfig, type PretrainConfigInput, parseConfig } from './config.js';
import {
  type Document,
  type DocumentList,
  documentStream,
  domainDocuments,
  generalDocuments,
  holdOut,
  readGeneralCorpus,
  type StreamCursor,
} from './documents.js';

export interface StageProgress {
  stage: 'pretrain' | 'finetune' | 'embed';
  /** Steps (or batches) done, and how many there are. */
  step: number;
  steps: number;
  loss: number | null;
  tokensPerSecond: number;
  /** The share of the machine's peak that the steps reach, where they are training. */
  mfu?: number;
}

export interface PretrainOptions {
  /** A dataset directory as `import`, `world` or `prepare` writes it. */
  dataset: string;
  split?: string | undefined;
  /** Where the model goes: a directory that Hugging Face transformers loads, with metrics.jsonl, run.json and report.html beside it. */
  output: string;
  config?: PretrainConfigInput | undefined;
  seed?: number;
  device?: string;
  /** The job whose ranks all call this, with the same options: they share each step's documents, and rank 0 alone writes and tells. */
  job?: Job | null | undefined;
  /** When aborted, a checkpoint is written and the signal's reason is thrown. */
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: StageProgress) => void) | undefined;
  /** Things worth a word to the user: texts cut, a corpus that is missing, a checkpoint resumed. */
  onNotice?: ((message: string) => void) | undefined;
}

export interface PretrainResult extends StageSpeed {
  steps: number;
  tokens: number;
  /** exp of the mean loss a token over documents kept out of training; null where there are none. */
  perplexity: { domain: number | null; general: number | null };
  truncatedDocuments: number;
}

/** Documents that are learnt, and others that the perplexity is of. */
type HeldOut = Record<'domain' | 'general', { train: DocumentList; heldOut: Document[] }>;

interface Cursor extends StageCursor {
  /** Tokens learnt or read so far, of either kind. */
  domainTokens: number;
  generalTokens: number;
  domain: StreamCursor;
  general: StreamCursor;
  /** Loss of the steps since the last line of metrics.jsonl, so that a resumed run writes the same lines. */
  unlogged: { loss: number; steps: number };
}

/**
 * Stage 1, continual pretraining (method.md, section 2; eq. 5–7): next-token prediction of each POI's description given
 * its name and location, mixed with general text.
 *
 * Resumes from the checkpoint in `output`, and returns at once where the stage is finished. The same seed, machine and thread
 * count give the same losses, resumed or not; another number of processes changes their rounding alone.
 *
 * @throws DataError `EMPTY_CORPUS` where no POI has a text to learn, `CONTEXT_TOO_SHORT` where the context leaves none of it, `FINE_TUNED_MODEL` where `config.from` is a result of stage 2;
 *   ConfigError `LORA_WITHOUT_MODEL` where adapters have nothing to be beside; TrainingError `CHECKPOINT_MISMATCH` where `output` holds
 *   anything but this run, which is left as it is, `LOSS_NOT_FINITE`, with the last good checkpoint kept, `OUT_OF_MEMORY`,
 *   `OUTPUT_NOT_SHARED` where the processes of a job do not see the same `output`.
 */
export async function pretrain(options: PretrainOptions): Promise<PretrainResult> {
  const { output, seed = 1, device = 'cpu', job = null, signal, onProgress } = options;
  const onNotice = isFirst(job) ? options.onNotice : undefined;
  const config = parseConfig(PretrainConfig, options.config, 'stage 1');
  const dataset = await openDataset(options.dataset, options.split);
  if (config.from !== undefined) await refuseFineTuned(config.from);
  else if (config.lora !== undefined) {
    throw new ConfigError(
      'LORA_WITHOUT_MODEL',
      'pretrain.lora adapts a model that there is: give one to continue from (--model), or leave lora out',
    );
  }
  if (config.from !== undefined) await checkModelDirectory(config.from, config);
  const parent = config.from === undefined ? null : await modelDigest(config.from);
  const stage = {
    stage: 'pretrain' as const,
    config,
    seed,
    dataset: runDataset(dataset),
    inputs: { ...(parent !== null && { model: { path: config.from!, sha256: parent } }) },
  };
  const run = { ...stage, identity: stageIdentity(stage), device, processes: job?.size };
  const finished = await byFirst(job, async () => {
    const result = await finishedStage<PretrainResult>(output, run);
    if (result === null) await mkdir(output, { recursive: true });
    return result;
  });
  if (finished !== null) return finished;

  await requireRoomForTexts('pretrain', dataset, config.from === undefined ? ['pois', 'users'] : ['pois']);
  const pois = await dataset.poiTexts();
  const general = config.generalShare > 0 ? await readGeneralCorpus(options.dataset) : [];
  if (config.generalShare > 0 && general.length === 0) {
    onNotice?.('The dataset has no general text (corpus/general.jsonl): stage 1 learns domain text alone.');
  }
  const model = await startingModel(config, dataset, pois, general, seed, device);
  const { decoder, tokenizer } = model;
  try {
    const contextLength = decoder.config.contextLength;
    const domain = domainDocuments(pois, dataset.manifest.texts, tokenizer, contextLength);
    if (domain.documents.length === 0 && domain.truncated > 0) {
      const { cptInput, cptTarget } = dataset.manifest.texts;
      throw new DataError(
        'CONTEXT_TOO_SHORT',
        `The model's context of ${contextLength} tokens is filled by what is given of a POI (${cptInput.join(', ')}): nothing of ${cptTarget.join(', ')} is left to learn. Take a longer one (decoder.contextLength, or another model), or name fewer keywords in texts.cptInput of the schema.`,
      );
    }
    if (domain.documents.length === 0) {
      throw new DataError(
        'EMPTY_CORPUS',
        `${options.dataset}: no POI has a text among the keywords of cptTarget (${dataset.manifest.texts.cptTarget.join(', ') || 'none listed'}), so there is nothing to learn. Name text columns as POI keywords in the schema.`,
      );
    }
    if (domain.truncated > 0) {
      onNotice?.(
        `${domain.truncated} of ${pois.length} POI texts are longer than the context of ${contextLength} tokens and were cut.`,
      );
    }
    const split: HeldOut = {
      domain: holdOut(domain.documents, config.heldOutDocuments, seed, 'domain'),
      general: holdOut(generalDocuments(general, tokenizer, contextLength), config.heldOutDocuments, seed, 'general'),
    };
    const work = async (): Promise<PretrainResult> => {
      const { steps, cursor } = await train(split);
      wholeWeights(decoder);
      return byFirst(job, async () => {
        const measured = perplexities(model, split, config);
        await appendMetric(join(output, 'metrics.jsonl'), { step: cursor.step, ...measured });
        await saveTrained(output, model, config, stage.inputs.model);
        const tokens = cursor.domainTokens + cursor.generalTokens;
        return {
          steps,
          tokens,
          perplexity: { domain: measured.domainPerplexity, general: measured.generalPerplexity },
          ...stageSpeed(cursor, tokens, device, config, job),
          truncatedDocuments: domain.truncated,
        };
      });
    };
    if (!isFirst(job)) return await work();
    const { result, record } = await recordRun(output, run, signal, work);
    await writePretrainReport(output, result, record);
    await finishStage(output, run, result);
    await dropStage(output);
    return result;

    async function train(split: HeldOut): Promise<{ steps: number; cursor: Cursor }> {
      const nextDomain = documentStream(split.domain.train, seed, 'domain');
      const nextGeneral = documentStream(split.general.train, seed, 'general');
      const share = split.general.train.length > 0 ? config.generalShare : 0;
      const steps = Math.ceil(config.tokens / config.tokensPerStep);
      const takeDocuments = (cursor: Cursor): Document[] => {
        const documents: Document[] = [];
        for (let tokens = 0; tokens < Math.min(config.tokensPerStep, config.tokens); ) {
          // Keeps the mixture at its share after every document, whatever their lengths.
          const wantsGeneral = cursor.generalTokens < share * (cursor.generalTokens + cursor.domainTokens + 1);
          const document = wantsGeneral ? nextGeneral(cursor.general) : nextDomain(cursor.domain);
          if (wantsGeneral) cursor.generalTokens += document.ids.length;
          else cursor.domainTokens += document.ids.length;
          tokens += document.ids.length;
          documents.push(document);
        }
        return documents;
      };
      const cursor = await runStageLoop<Cursor>({
        name: 'Stage 1',
        output,
        identity: run.identity,
        steps,
        device,
        job,
        config,
        smaller: 'a higher accumulate (the same step in more, smaller pieces), or lower tokensPerStep',
        parameters: trainedParameters(decoder),
        lows: decoder.lows,
        beginning: {
          step: 0,
          flops: 0,
          domainTokens: 0,
          generalTokens: 0,
          domain: { epoch: 0, next: 0 },
          general: { epoch: 0, next: 0 },
          seconds: 0,
          unlogged: { loss: 0, steps: 0 },
        },
        step(cursor) {
          const documents = takeDocuments(cursor);
          const own = job === null ? documents : evenRuns(documents, job.size)[job.rank]!;
          const learnt = learnDocuments(model, own, config, learntTokens(documents));
          const [loss, flops] = total(job, [learnt.loss, learnt.flops]) as [number, number];
          cursor.unlogged.loss += loss;
          cursor.unlogged.steps++;
          return { loss, flops, tokens: documents.reduce((sum, { ids }) => sum + ids.length, 0) };
        },
        line(cursor) {
          const loss = cursor.unlogged.loss / cursor.unlogged.steps;
          cursor.unlogged = { loss: 0, steps: 0 };
          return { loss, tokens: cursor.domainTokens + cursor.generalTokens };
        },
        evaluate: async () => perplexities(model, split, config),
        signal,
        onProgress: (progress) => onProgress?.({ stage: 'pretrain', ...progress }),
        onNotice,
      });
      return { steps, cursor };
    }
  } finally {
    disposeDecoder(decoder);
  }
}

/** How the gradient of a step's documents is made. */
export interface LearningSettings {
  precision: 'f32' | 'bf16';
  /** Pieces that the documents are learnt in, one after another. */
  accumulate: number;
  /** Whether the layers' states are computed again for their gradients. */
  recompute: boolean;
}

/**
 * Mean loss in nats over the learnt tokens of `documents`, its gradient added to the parameters', and what that took (`stepFlops`). In how
 * many pieces changes the rounding alone: each counts by its share of the tokens.
 * @param of what the sum is divided by: more than their learnt tokens, where the documents are a share of more
 */
export function learnDocuments(
  model: LanguageModel,
  documents: readonly Document[],
  { precision, accumulate, recompute }: LearningSettings,
  of = learntTokens(documents),
): { loss: number; flops: number } {
  const { decoder } = model;
  let loss = 0;
  let flops = 0;
  for (const piece of evenRuns(documents, accumulate)) {
    if (piece.length === 0) continue;
    tidy(() => {
      const { batch, targets } = laidOut(piece);
      autocast(
        () => {
          const { states, backward } = trainingStates(decoder, batch, { recompute, rows: targets.rows });
          loss += nextTokenLoss(decoder, states, targets, { backward: true, of });
          backward();
        },
        { dtype: 'bf16', enabled: precision === 'bf16' },
      );
      flops += stepFlops(decoder, batch, targets.rows.length, targets.rows);
    });
  }
  return { loss, flops };
}

/** Mean loss in nats over the learnt tokens of `documents`, in f32; 0 where there are none. */
function heldOutLoss({ decoder }: LanguageModel, documents: readonly Document[]): number {
  return noGrad(() =>
    tidy(() => {
      const { batch, targets } = laidOut(documents);
      return nextTokenLoss(decoder, hiddenStates(decoder, batch, { rows: targets.rows }), targets, { backward: false });
    }),
  );
}

function laidOut(documents: readonly Document[]) {
  const sequences = documents.map(({ ids }) => ids);
  const batch = packSequences(sequences);
  const prompts = documents.map(({ prompt }) => prompt);
  return { batch, targets: nextTokenTargets(batch, sequences, prompts) };
}

function learntTokens(documents: readonly Document[]): number {
  return documents.reduce((sum, { ids, prompt }) => sum + Math.max(0, ids.length - Math.max(prompt, 1)), 0);
}

/** Documents in `count` runs of nearly as many tokens each, some of them empty where documents are few or long. */
function evenRuns(documents: readonly Document[], count: number): Document[][] {
  const tokens = documents.reduce((sum, { ids }) => sum + ids.length, 0);
  const runs: Document[][] = Array.from({ length: count }, () => []);
  let before = 0;
  for (const document of documents) {
    const middle = before + document.ids.length / 2;
    runs[Math.min(count - 1, Math.floor((count * middle) / tokens))]!.push(document);
    before += document.ids.length;
  }
  return runs;
}

/** Tokens that are measured at a time, where a piece of training has no fewer. */
const TOKENS_AT_ONCE = 4096;

/** Documents in runs of at most `tokens` tokens; a longer document is a run of its own. */
export function ofTokens(documents: readonly Document[], tokens: number): Document[][] {
  const runs: Document[][] = [];
  let left = 0;
  for (const document of documents) {
    if (runs.length === 0 || document.ids.length > left) {
      runs.push([]);
      left = Math.max(tokens, document.ids.length);
    }
    runs.at(-1)!.push(document);
    left -= document.ids.length;
  }
  return runs;
}

function perplexities(
  model: LanguageModel,
  split: HeldOut,
  { tokensPerStep, accumulate }: Pick<PretrainConfig, 'tokensPerStep' | 'accumulate'>,
) {
  const atOnce = Math.min(TOKENS_AT_ONCE, Math.ceil(tokensPerStep / accumulate));
  const of = (documents: Document[]): number | null => {
    if (documents.length === 0) return null;
    let loss = 0;
    let tokens = 0;
    for (const some of ofTokens(documents, atOnce)) {
      const learnt = learntTokens(some);
      loss += learnt * heldOutLoss(model, some);
      tokens += learnt;
    }
    return Math.exp(loss / tokens);
  };
  return { domainPerplexity: of(split.domain.heldOut), generalPerplexity: of(split.general.heldOut) };
}

/** The model that stage 1 starts from: a checkpoint brought by the user, or one made here; the keywords' tokens added either way. */
async function startingModel(
  config: PretrainConfig,
  dataset: Dataset,
  pois: readonly KeywordText[][],
  general: readonly string[],
  seed: number,
  device: string,
): Promise<LanguageModel> {
  const keywordTokens = specialTokens(dataset.manifest);
  manualSeed(seed);
  if (config.from !== undefined) {
    const model = await loadLanguageModel(config.from, { device, matrices: heldMatrices(config) });
    return readyToTrain(model, config, keywordTokens);
  }
  const shape = config.decoder;
  const texts = await vocabularyTexts(dataset, pois, general);
  const tokenizer = withSpecialTokens(new Tokenizer(trainTokenizer(texts, shape.vocabularySize)), keywordTokens);
  const decoder = createDecoder(
    {
      family: 'llama',
      vocabularySize: tokenizer.vocabularySize,
      hiddenSize: shape.hiddenSize,
      layers: shape.layers,
      heads: shape.heads,
      keyValueHeads: shape.keyValueHeads,
      headSize: shape.hiddenSize / shape.heads,
      feedForwardSize: shape.feedForwardSize,
      contextLength: shape.contextLength,
      rotaryBase: 10_000,
      rotaryStretch: null,
      normEpsilon: 1e-5,
      tiedHead: shape.tiedHead,
      attentionBias: false,
      queryKeyNorm: false,
      normalisedHead: false,
    },
    device,
  );
  return readyToTrain({ decoder, tokenizer }, config, keywordTokens);
}

/** What the vocabulary is learnt from: every text that any stage will read, so that none falls apart into bytes. */
async function vocabularyTexts(
  dataset: Dataset,
  pois: readonly KeywordText[][],
  general: readonly string[],
): Promise<string[]> {
  const users = await dataset.userTexts();
  const scene = dataset.split.scene.flatMap(({ texts }) => texts);
  // A wrapped keyword's text begins after a blank, and a word is counted with the blank before it.
  const ofKeywords = (all: readonly KeywordText[][]) =>
    all.flatMap((keywords) => keywords.map(({ text }) => ` ${text}`));
  return [...ofKeywords(pois), ...ofKeywords(users), ...scene.map((text) => ` ${text}`), ...general];
}
