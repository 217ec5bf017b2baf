import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, openDataset, specialTokens, writeFileAtomic } from '@larr/core';
import { type Job, manualSeed, ones, type Tensor } from '@larr/torch';
import { wholeWeights } from '../language-model/compact-weights.js';
import { trainedParameters } from '../language-model/decoder.js';
import { heldMatrices, readyToTrain } from '../language-model/lora-directory.js';
import { checkModelDirectory, loadLanguageModel } from '../language-model/model-directory.js';
import { byFirst, isFirst, total } from '../language-model/several-processes.js';
import { dropStage } from '../language-model/stage-checkpoint.js';
import { finishedStage, finishStage, stageIdentity } from '../language-model/stage-directory.js';
import { runStageLoop, type StageCursor, type StageSpeed, stageSpeed } from '../language-model/stage-loop.js';
import { parseConfig } from '../pretraining/config.js';
import type { StageProgress } from '../pretraining/pretrain.js';
import { recordRun, runDataset } from '../report/run-record.js';
import { writeFinetuneReport } from '../report/stage-reports.js';
import { FinetuneConfig, type FinetuneConfigInput } from './config.js';
import { contrastiveStep, effectiveNegatives, lossGroups } from './contrastive-step.js';
import { disposeEmbedder, type Embedder, saveEmbedder } from './embedder.js';
import { startProjection } from './first-projection.js';
import { type Gate, judge } from './gate.js';
import { refuseOtherPairs } from './learnt-pairs.js';
import { drawKind, gatherMaterial, pairSources } from './material.js';
import { modelDigest } from './model-digest.js';
import type { PairKind } from './pairs.js';
import { collapsed, type EmbeddingQuality, measureQuality } from './quality.js';
import { languageModelEmbedder } from './text-embedder.js';

export interface FinetuneOptions {
  dataset: string;
  split?: string | undefined;
  /** The stage-1 directory. */
  model: string;
  output: string;
  config?: FinetuneConfigInput | undefined;
  seed?: number;
  device?: string;
  /** The job whose ranks all call this, with the same options: they share each step's pairs, and rank 0 alone writes and tells. */
  job?: Job | null | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: StageProgress & { pair: PairKind }) => void) | undefined;
  onNotice?: ((message: string) => void) | undefined;
}

export interface FinetuneResult extends StageSpeed {
  steps: number;
  tokens: number;
  truncatedTexts: number;
  before: EmbeddingQuality;
  after: EmbeddingQuality;
  gate: Gate;
  /** Kinds whose loss ended within 1 % of ln B, or vectors that have collapsed: in words. */
  alarms: string[];
}

interface Cursor extends StageCursor {
  tokens: number;
  /** Batches drawn so far of each kind. */
  drawn: Record<PairKind, number>;
  /** Running mean of loss / ln B of each kind. */
  level: Partial<Record<PairKind, number>>;
}

/**
 * Stage 2 (method.md, section 3; eq. 10–21): the language model becomes an embedding model by contrastive learning over
 * user–user, POI–POI and user–POI pairs, and pairs of a dish and its description where the dataset has them. Kinds whose
 * texts do not exist are left out with a notice.
 *
 * `L_ft = α L_uu + β L_pp + γ L_up` is followed in expectation: each step draws one kind in proportion to its weight. At a
 * small budget many cheap steps learn more than few complete ones.
 *
 * Writes the model with projection.safetensors, metrics.jsonl, gate.json, run.json and report.html into `output`; resumes from its
 * checkpoint there.
 *
 * @throws DataError `NO_PAIRS` where the dataset has no pair of any kind, `MODEL_OF_OTHER_SPLIT` or `MODEL_WITHOUT_RECORD` where the
 *   model was fine-tuned before on other pairs; TrainingError `CHECKPOINT_MISMATCH` where `output` holds anything but this run,
 *   which is left as it is, `LOSS_NOT_FINITE`, with the last good checkpoint kept, `OUT_OF_MEMORY`,
 *   `OUTPUT_NOT_SHARED` where the processes of a job do not see the same `output`.
 */
export async function finetune(options: FinetuneOptions): Promise<FinetuneResult> {
  const { output, seed = 1, device = 'cpu', job = null, signal, onProgress } = options;
  const onNotice = isFirst(job) ? options.onNotice : undefined;
  const config = parseConfig(FinetuneConfig, options.config, 'stage 2');
  const dataset = await openDataset(options.dataset, options.split);
  await refuseOtherPairs(options.model, dataset);
  await checkModelDirectory(options.model, config);
  const stage = {
    stage: 'finetune' as const,
    config,
    seed,
    dataset: runDataset(dataset),
    inputs: { model: { path: options.model, sha256: await modelDigest(options.model) } },
  };
  const run = { ...stage, identity: stageIdentity(stage), device, processes: job?.size };
  const finished = await byFirst(job, () => finishedStage<FinetuneResult>(output, run));
  if (finished !== null) return finished;
  const loaded = await loadLanguageModel(options.model, { device, matrices: heldMatrices(config) });
  manualSeed(seed);
  const model = readyToTrain(loaded, config, specialTokens(dataset.manifest));
  const hidden = model.decoder.config.hiddenSize;
  const embedder: Embedder = {
    model,
    projection: ones([config.dimension, hidden], { dtype: 'f32', device }),
    otherProjection: config.asymmetric ? ones([config.dimension, hidden], { dtype: 'f32', device }) : null,
    pooling: config.pooling,
    similarity: config.similarity,
  };
  try {
    if (isFirst(job)) await mkdir(output, { recursive: true });
    const texts = languageModelEmbedder(embedder, config.precision);
    const material = await gatherMaterial(dataset, options.dataset, texts, config, seed, onNotice);
    const sources = pairSources(material, config, seed, onNotice);
    if (sources.size === 0) {
      throw new DataError(
        'NO_PAIRS',
        `${options.dataset} has no pairs to learn from: it needs POIs with texts on both sides (poiBusiness, poiBasic), users with profile and behaviour texts, or pairs of user and POI.`,
      );
    }
    const work = async (): Promise<FinetuneResult> => {
      const before = await byFirst(job, async () => {
        await startProjection(embedder, material, config, signal);
        return measureQuality(texts, material, signal, { probing: true });
      });
      const trained = await train();
      wholeWeights(model.decoder);
      return byFirst(job, async () => {
        const after = await measureQuality(texts, material, signal, { probing: true });
        const gate = judge(before, after, config);
        const alarms = [...trained.alarms, ...(await collapsed(texts, material, signal))];
        for (const alarm of alarms) onNotice?.(alarm);
        await saveEmbedder(output, embedder, config, stage.inputs.model);
        const findings = { ...gate, before, after, alarms };
        await writeFileAtomic(join(output, 'gate.json'), `${JSON.stringify(findings, null, 2)}\n`);
        return {
          steps: config.steps,
          tokens: trained.cursor.tokens,
          ...stageSpeed(trained.cursor, trained.cursor.tokens, device, config, job),
          truncatedTexts: material.texts.truncated,
          before,
          after,
          gate,
          alarms,
        };
      });
    };
    if (!isFirst(job)) return await work();
    const { result, record } = await recordRun(output, run, signal, work);
    await writeFinetuneReport(output, result, record);
    await finishStage(output, run, result);
    await dropStage(output);
    return result;

    async function train(): Promise<{ cursor: Cursor; alarms: string[] }> {
      const parameters: Record<string, Tensor> = {
        ...trainedParameters(model.decoder),
        projection: embedder.projection,
      };
      if (embedder.otherProjection !== null) parameters.otherProjection = embedder.otherProjection;
      // The head takes no part here; a tied one is the embedding.
      delete parameters['rows.head'];
      if (!model.decoder.config.tiedHead) delete parameters.head;
      // The batch of the last step, for what is logged of it.
      let last: { kind: PairKind; loss: number; groups: Int32Array; temperature: number } | undefined;
      const cursor = await runStageLoop<Cursor>({
        name: 'Stage 2',
        output,
        identity: run.identity,
        steps: config.steps,
        device,
        job,
        config,
        smaller: 'a lower microBatch (the same step in more, smaller pieces)',
        parameters,
        lows: model.decoder.lows,
        beginning: {
          step: 0,
          flops: 0,
          tokens: 0,
          seconds: 0,
          drawn: { userUser: 0, poiPoi: 0, userPoi: 0, dish: 0 },
          level: {},
        },
        step(cursor) {
          const kind = drawKind(sources, config, cursor.step, seed);
          const batch = sources.get(kind)!(cursor.drawn[kind]++);
          const fall = config.temperature / config.initialTemperature;
          const ofUsers = kind === 'userUser' || kind === 'userPoi';
          const temperature =
            (ofUsers ? config.userTemperature : null) ??
            config.initialTemperature * fall ** (cursor.step / config.steps);
          const { loss, flops: own } = contrastiveStep(embedder, batch, temperature, config, job);
          const [flops] = total(job, [own]) as [number];
          const tokens = [...batch.a, ...batch.b].reduce((sum, ids) => sum + ids.length, 0);
          cursor.tokens += tokens;
          // A pair alone has nothing to be told from: its loss is 0, as is ln 1.
          if (batch.a.length > 1) {
            const level = loss / Math.log(batch.a.length);
            cursor.level[kind] = cursor.level[kind] === undefined ? level : 0.95 * cursor.level[kind] + 0.05 * level;
          }
          last = { kind, loss, groups: lossGroups(batch, config), temperature };
          return { loss, tokens, flops };
        },
        line({ level }) {
          const { kind, loss, groups, temperature } = last!;
          // 1 is chance: the loss of vectors that tell nothing.
          return { pair: kind, loss, level, effectiveNegatives: effectiveNegatives(groups), temperature };
        },
        async evaluate({ step, level }) {
          for (const stuck of atChance(level, config.batchSize)) onNotice?.(`Step ${step}: ${stuck}`);
          return { quality: await measureQuality(texts, material, signal, { probing: false }) };
        },
        signal,
        onProgress: (progress) => onProgress?.({ stage: 'finetune', ...progress, pair: last!.kind }),
        onNotice,
      });
      return { cursor, alarms: atChance(cursor.level, config.batchSize) };
    }
  } finally {
    disposeEmbedder(embedder);
  }
}

/** Kinds whose loss is that of vectors that tell nothing, in words. */
export function atChance(level: Cursor['level'], batchSize: number): string[] {
  const lower = batchSize > 2 ? 'the batch size or the learning rate' : 'the learning rate';
  return Object.entries(level)
    .filter(([, value]) => value >= 0.99)
    .map(
      ([kind, value]) =>
        `the loss of ${kind} pairs stays at chance (${(100 * value).toFixed(1)} % of ln B). Lower ${lower}, or give it more steps${kind.startsWith('user') ? ' (more weight, a lower firstShare) or a userTemperature' : ''}.`,
    );
}
