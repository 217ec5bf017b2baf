import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type Dataset, openDataset, specialTokens, writeFileAtomic } from '@larr/core';
import {
  autocast,
  cat,
  clipGradNorm,
  infoNce,
  init,
  manualSeed,
  noGrad,
  ones,
  type Tensor,
  tensor,
  tidy,
  warmupCosine,
} from '@larr/torch';
import { decoderParameters, growVocabulary } from '../language-model/decoder.js';
import { draws, shuffled } from '../language-model/draws.js';
import { type LanguageModel, loadLanguageModel } from '../language-model/model-directory.js';
import {
  appendMetric,
  dropStage,
  restoreStage,
  rewindMetrics,
  runIdentity,
  saveStage,
} from '../language-model/stage-checkpoint.js';
import { withSpecialTokens } from '../language-model/tokenizer.js';

import { parseConfig } from '../pretraining/config.js';
import { adamW, notFinite, readSummary, type StageProgress } from '../pretraining/pretrain.js';
import { type PoiFacts, readPoiFacts } from './attributes.js';
import { FinetuneConfig, type FinetuneConfigInput } from './config.js';
import {
  disposeEmbedder,
  type Embedder,
  embedSequences,
  mapSequences,
  pooledStates,
  type Similarity,
  saveEmbedder,
} from './embedder.js';
import { modelDigest } from './model-digest.js';
import {
  itemPairs,
  type PairBatch,
  type PairKind,
  type PairSource,
  type StageTexts,
  stageTexts,
  userPoiPairs,
} from './pairs.js';
import { linearProbe } from './probe.js';
import { type Choice, choiceAuc, type RetrievalMetrics, retrieval } from './retrieval.js';
import { whiteningProjection } from './whitening.js';

export interface FinetuneOptions {
  dataset: string;
  split?: string | undefined;
  /** The stage-1 directory. */
  model: string;
  output: string;
  config?: FinetuneConfigInput | undefined;
  seed?: number;
  device?: string;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: StageProgress & { pair: PairKind }) => void) | undefined;
  onNotice?: ((message: string) => void) | undefined;
}

/** How good the vectors are, on what stage 2 never saw; null where the dataset has no such texts, pairs or controls. */
export interface EmbeddingQuality {
  /** Menu → introduction among held-out POIs. */
  poiPoi: RetrievalMetrics | null;
  /** Profile → behaviour among held-out users. */
  userUser: RetrievalMetrics | null;
  /** Users' later choices among held-out POIs of one city (of all held-out POIs where cities are unknown). */
  withinCityAuc: number | null;
  /** Its standard error over choices: a day has few, so it is not small. */
  withinCityError: number | null;
  choices: number;
  /** R² of a whitened linear probe of the world's true dish attributes, on held-out POIs. */
  probe: number | null;
}

export interface FinetuneResult {
  steps: number;
  tokens: number;
  tokensPerSecond: number;
  seconds: number;
  truncatedTexts: number;
  before: EmbeddingQuality;
  after: EmbeddingQuality;
  gate: Gate;
  /** Kinds whose loss ended within 1 % of ln B, or vectors that have collapsed: in words. */
  alarms: string[];
}

/** Whether stage 3 may take the vectors; `error` is a value's standard error, 0 where it is not known. Checks that the dataset has no data for are left out. */
export interface Gate {
  passed: boolean;
  checks: {
    name: 'poiPoiRecallAt10' | 'withinCityAuc' | 'probe';
    value: number;
    error: number;
    threshold: number;
    passed: boolean;
  }[];
}

interface Cursor {
  step: number;
  tokens: number;
  seconds: number;
  /** Batches drawn so far of each kind. */
  drawn: Record<PairKind, number>;
  /** Running mean of loss / ln B of each kind. */
  level: Partial<Record<PairKind, number>>;
}

/** The four kinds' token texts, and who is held out of which. */
interface Material {
  texts: StageTexts;
  facts: PoiFacts;
  heldOutPois: Uint8Array;
  heldOutUsers: Uint8Array;
  pairs: { user: Int32Array; poi: Int32Array };
  choices: Choice[];
  /** Rows of `choices` → user and POI numbers. */
  choiceUsers: number[];
  choicePois: number[];
}

/**
 * Stage 2 (method.md, section 3; eq. 10–21): the language model becomes an embedding model by contrastive learning over
 * user–user, POI–POI and user–POI pairs, and pairs of a dish and its description where the dataset has them. Kinds whose
 * texts do not exist are left out with a notice.
 *
 * `L_ft = α L_uu + β L_pp + γ L_up` is followed in expectation: each step draws one kind in proportion to its weight. At a
 * small budget many cheap steps learn more than few complete ones.
 *
 * Writes the model with projection.safetensors, metrics.jsonl and gate.json into `output`; resumes from its checkpoint there.
 *
 * @throws DataError `NO_PAIRS` where the dataset has no pair of any kind; TrainingError `LOSS_NOT_FINITE`, with the last
 *   good checkpoint kept.
 */
export async function finetune(options: FinetuneOptions): Promise<FinetuneResult> {
  const { output, seed = 1, device = 'cpu', signal, onProgress, onNotice } = options;
  const config = parseConfig(FinetuneConfig, options.config, 'stage 2');
  const dataset = await openDataset(options.dataset, options.split);
  const identity = runIdentity({
    stage: 2,
    config,
    seed,
    dataset: dataset.manifest,
    model: await modelDigest(options.model),
  });
  const summary = join(output, 'stage.json');
  const finished = await readSummary<FinetuneResult>(summary, identity);
  if (finished !== null) return finished;
  const loaded = await loadLanguageModel(options.model, { device });
  manualSeed(seed);
  const tokenizer = withSpecialTokens(loaded.tokenizer, specialTokens(dataset.manifest));
  const model: LanguageModel = { tokenizer, decoder: growVocabulary(loaded.decoder, tokenizer.vocabularySize) };
  const hidden = model.decoder.config.hiddenSize;
  const embedder: Embedder = {
    model,
    projection: ones([config.dimension, hidden], { dtype: 'f32', device }),
    otherProjection: config.asymmetric ? ones([config.dimension, hidden], { dtype: 'f32', device }) : null,
    pooling: config.pooling,
    similarity: config.similarity,
  };
  try {
    await mkdir(output, { recursive: true });
    await rm(summary, { force: true });
    const material = await gather(dataset, options.dataset, embedder, config, seed, onNotice);
    const sources = pairSources(material, config, seed, onNotice);
    if (sources.size === 0) {
      throw new DataError(
        'NO_PAIRS',
        `${options.dataset} has no pairs to learn from: it needs POIs with texts on both sides (poiBusiness, poiBasic), users with profile and behaviour texts, or pairs of user and POI.`,
      );
    }
    await startProjection(embedder, material, config, signal);
    const before = await measure(embedder, material, signal, { probing: true });
    const trained = await train();
    const after = await measure(embedder, material, signal, { probing: true });
    const gate = judge(before, after, config);
    const alarms = [...trained.alarms, ...(await collapsed(embedder, material, signal))];
    for (const alarm of alarms) onNotice?.(alarm);
    const result: FinetuneResult = {
      steps: config.steps,
      tokens: trained.cursor.tokens,
      tokensPerSecond: Math.round(trained.cursor.tokens / Math.max(trained.cursor.seconds, 1e-9)),
      seconds: trained.cursor.seconds,
      truncatedTexts: material.texts.truncated,
      before,
      after,
      gate,
      alarms,
    };
    await saveEmbedder(output, embedder);
    await writeFileAtomic(
      join(output, 'gate.json'),
      `${JSON.stringify({ ...gate, before, after, alarms }, null, 2)}\n`,
    );
    await writeFileAtomic(summary, `${JSON.stringify({ identity, result }, null, 2)}\n`);
    await dropStage(output);
    return result;

    async function train(): Promise<{ cursor: Cursor; alarms: string[] }> {
      const parameters: Record<string, Tensor> = {
        ...decoderParameters(model.decoder),
        projection: embedder.projection,
      };
      if (embedder.otherProjection !== null) parameters.otherProjection = embedder.otherProjection;
      // The head takes no part here; a tied one is the embedding.
      if (!model.decoder.config.tiedHead) delete parameters.head;
      const all = Object.values(parameters);
      for (const parameter of all) parameter.requiresGrad_();
      using optimizer = adamW(parameters, config.learningRate, config.weightDecay);
      const cursor: Cursor = restoreStage<Cursor>(output, identity, parameters, optimizer) ?? {
        step: 0,
        tokens: 0,
        seconds: 0,
        drawn: { userUser: 0, poiPoi: 0, userPoi: 0, dish: 0 },
        level: {},
      };
      if (cursor.step > 0) onNotice?.(`Stage 2 goes on from step ${cursor.step}.`);
      const metrics = join(output, 'metrics.jsonl');
      await rewindMetrics(metrics, cursor.step);
      const { steps } = config;
      const schedule = warmupCosine({
        warmup: Math.ceil(steps * config.warmupShare),
        total: steps,
        minRatio: config.finalShare,
      });
      let windowTokens = 0;
      let windowSeconds = 0;
      while (cursor.step < steps) {
        if (signal?.aborted) {
          saveStage(output, identity, { parameters, optimizer, cursor });
          throw signal.reason;
        }
        const started = performance.now();
        const kind = drawKind(sources, config, cursor.step, seed);
        const batch = sources.get(kind)!(cursor.drawn[kind]++);
        const temperature =
          config.initialTemperature * (config.temperature / config.initialTemperature) ** (cursor.step / steps);
        optimizer.lr = config.learningRate * schedule(cursor.step);
        optimizer.zeroGrad();
        const loss = contrastiveStep(embedder, batch, temperature, config);
        const norm = Number.isFinite(loss) ? clipGradNorm(all, config.clipNorm) : Number.NaN;
        if (!Number.isFinite(norm)) throw notFinite('2', cursor.step, loss, output);
        optimizer.step();
        cursor.step++;
        const tokens = [...batch.a, ...batch.b].reduce((sum, ids) => sum + ids.length, 0);
        const seconds = (performance.now() - started) / 1000;
        cursor.tokens += tokens;
        cursor.seconds += seconds;
        windowTokens += tokens;
        windowSeconds += seconds;
        const level = loss / Math.log(batch.a.length);
        cursor.level[kind] = cursor.level[kind] === undefined ? level : 0.95 * cursor.level[kind] + 0.05 * level;
        if (cursor.step % config.logEvery === 0 || cursor.step === steps) {
          const tokensPerSecond = windowTokens / windowSeconds;
          await appendMetric(metrics, {
            step: cursor.step,
            pair: kind,
            loss,
            // 1 is chance: the loss of vectors that tell nothing.
            level: cursor.level,
            effectiveNegatives: effectiveNegatives(batch.groups),
            temperature,
            learningRate: optimizer.lr,
            gradientNorm: norm,
            tokensPerSecond: Math.round(tokensPerSecond),
          });
          onProgress?.({ stage: 'finetune', step: cursor.step, steps, loss, tokensPerSecond, pair: kind });
          windowTokens = windowSeconds = 0;
          await new Promise(setImmediate);
        }
        if (cursor.step % config.evaluateEvery === 0 && cursor.step < steps) {
          await appendMetric(metrics, {
            step: cursor.step,
            quality: await measure(embedder, material, signal, { probing: false }),
          });
          for (const stuck of atChance(cursor.level)) onNotice?.(`Step ${cursor.step}: ${stuck}`);
        }
        if (cursor.step % config.checkpointEvery === 0 && cursor.step < steps) {
          saveStage(output, identity, { parameters, optimizer, cursor });
        }
      }
      for (const parameter of all) parameter.requiresGrad_(false);
      return { cursor, alarms: atChance(cursor.level) };
    }
  } finally {
    disposeEmbedder(embedder);
  }
}

/** One step's loss, and its gradient in every parameter (eq. 12–20). */
function contrastiveStep(embedder: Embedder, batch: PairBatch, temperature: number, config: FinetuneConfig): number {
  const size = batch.a.length;
  const groups = config.maskDuplicates ? batch.groups : Int32Array.from({ length: size }, (_, i) => i);
  const project = (states: Tensor, side: 'a' | 'b') =>
    states.linear(side === 'b' && embedder.otherProjection !== null ? embedder.otherProjection : embedder.projection);
  const lossOf = (a: Tensor, b: Tensor): Tensor => {
    const [q, k] = comparable(a, b, config.similarity);
    return infoNce(
      q,
      k,
      1 / temperature,
      tensor(groups, [size], { dtype: 'i32', device: embedder.model.decoder.device }),
    );
  };
  const inPrecision = <T>(fn: () => T): T => autocast(fn, { dtype: 'bf16', enabled: config.precision === 'bf16' });
  const encode = (rows: PairBatch): [Tensor, Tensor] =>
    inPrecision(() => {
      // Both sides at once, so that texts of one length share a group whichever side they are on.
      const states = pooledStates(embedder.model, [...rows.a, ...rows.b], config.pooling);
      const n = rows.a.length;
      return [project(states.narrow(0, 0, n), 'a').to('f32'), project(states.narrow(0, n, n), 'b').to('f32')];
    });
  if (size <= config.microBatch) {
    return tidy(() => {
      const [a, b] = encode(batch);
      const loss = lossOf(a, b);
      loss.backward();
      return loss.item();
    });
  }
  // GradCache (Gao et al. 2021): vectors of all rows without a graph, the loss's gradient in them, then each piece again
  // with its graph, carried on from the cached gradient. The decoder has no dropout, so both passes agree.
  return tidy(() => {
    const pieces: PairBatch[] = [];
    for (let at = 0; at < size; at += config.microBatch) {
      const slice = <T>(rows: T[]) => rows.slice(at, at + config.microBatch);
      pieces.push({ a: slice(batch.a), b: slice(batch.b), groups: batch.groups.subarray(at, at + config.microBatch) });
    }
    const encoded = noGrad(() => pieces.map((piece) => tidy(() => encode(piece))));
    const a = cat(
      encoded.map(([rows]) => rows),
      0,
    )
      .detach()
      .requiresGrad_();
    const b = cat(
      encoded.map(([, rows]) => rows),
      0,
    )
      .detach()
      .requiresGrad_();
    const loss = lossOf(a, b);
    loss.backward();
    const gradients = [a.grad!, b.grad!] as const;
    pieces.forEach((piece, i) => {
      tidy(() => {
        const at = i * config.microBatch;
        const [pieceA, pieceB] = encode(piece);
        const both = cat([pieceA, pieceB], 0);
        both.backward(
          cat(
            gradients.map((g) => g.narrow(0, at, piece.a.length)),
            0,
          ),
        );
      });
    });
    a.grad = null;
    b.grad = null;
    return loss.item();
  });
}

/** Rows whose plain dot products are the wanted similarity. The negative squared distance 2ab − a² − b² takes two more columns. */
function comparable(a: Tensor, b: Tensor, similarity: Similarity): [Tensor, Tensor] {
  if (similarity === 'cosine') return [a.normalize(1), b.normalize(1)];
  if (similarity === 'dot') return [a, b];
  const one = ones([a.shape[0]!, 1], { dtype: 'f32', device: a.device });
  const squared = (x: Tensor) => x.square().sum([1], true).neg();
  return [cat([a.mul(2), squared(a), one], 1), cat([b, one, squared(b)], 1)];
}

/** Mean number of rows that count as negatives of a row. */
function effectiveNegatives(groups: Int32Array): number {
  const sizes = new Map<number, number>();
  for (const group of groups) sizes.set(group, (sizes.get(group) ?? 0) + 1);
  return groups.reduce((sum, group) => sum + groups.length - sizes.get(group)!, 0) / groups.length;
}

function atChance(level: Cursor['level']): string[] {
  return Object.entries(level)
    .filter(([, value]) => value >= 0.99)
    .map(
      ([kind, value]) =>
        `the loss of ${kind} pairs stays at chance (${(100 * value).toFixed(1)} % of ln B). Lower the batch size or the learning rate, or give it more steps.`,
    );
}

/** The kind of a step's pairs, in proportion to the weights of the kinds that have joined by then. */
function drawKind(sources: Map<PairKind, PairSource>, config: FinetuneConfig, step: number, seed: number): PairKind {
  const weights: Record<PairKind, number> = {
    poiPoi: config.poiPoiWeight,
    dish: config.dishWeight,
    userPoi: config.userPoiWeight,
    userUser: config.userUserWeight,
  };
  const first = step < config.firstShare * config.steps;
  const early = [...sources.keys()].filter((kind) => kind === 'poiPoi' || kind === 'dish');
  const joined = first && early.length > 0 ? early : [...sources.keys()];
  let left = draws(seed, 'kind', step)() * joined.reduce((sum, kind) => sum + weights[kind], 0);
  for (const kind of joined) {
    left -= weights[kind];
    if (left < 0) return kind;
  }
  return joined[joined.length - 1]!;
}

async function gather(
  dataset: Dataset,
  directory: string,
  embedder: Embedder,
  config: FinetuneConfig,
  seed: number,
  onNotice: FinetuneOptions['onNotice'],
): Promise<Material> {
  const { tokenizer, decoder } = embedder.model;
  const texts = await stageTexts(dataset, directory, tokenizer, decoder.config.contextLength);
  if (texts.truncated > 0)
    onNotice?.(
      `${texts.truncated} texts are longer than the context of ${decoder.config.contextLength} tokens and were cut.`,
    );
  const { pois, users } = dataset.manifest;
  const facts = await readPoiFacts(directory, pois, config.cityColumn);
  const chosen = (n: number, count: number, eligible: (i: number) => boolean, stream: string) => {
    const mask = new Uint8Array(n);
    let left = count;
    for (const i of shuffled(n, draws(seed, stream))) {
      if (left === 0) break;
      if (!eligible(i)) continue;
      mask[i] = 1;
      left--;
    }
    return mask;
  };
  const heldOutPois = chosen(
    pois,
    Math.min(config.heldOutPois, Math.floor(pois / 3)),
    (i) => texts.poi.all[i] !== null,
    'held-out POIs',
  );
  const heldOutUsers = chosen(
    users,
    Math.min(config.heldOutUsers, Math.floor(users / 10)),
    (i) => texts.user.profile[i] !== null && texts.user.behaviour[i] !== null,
    'held-out users',
  );
  const pairs = await dataset.pairs();
  return {
    texts,
    facts,
    heldOutPois,
    heldOutUsers,
    pairs,
    ...(await laterChoices(dataset, texts, facts, heldOutPois, pairs, seed)),
  };
}

/** At most so many users are asked for their later choices. */
const CHOOSING_USERS = 2000;

/**
 * What users took in the validation part among held-out POIs: texts of users are from the train part, so these choices are
 * in none of them. A choice's negatives are the other held-out POIs of its city that the user is not known to have taken.
 */
async function laterChoices(
  dataset: Dataset,
  texts: StageTexts,
  facts: PoiFacts,
  heldOut: Uint8Array,
  pairs: { user: Int32Array; poi: Int32Array },
  seed: number,
): Promise<Pick<Material, 'choices' | 'choiceUsers' | 'choicePois'>> {
  const known = new Map<number, Set<number>>();
  const note = (user: number, poi: number) => {
    if (!known.has(user)) known.set(user, new Set());
    known.get(user)!.add(poi);
  };
  for (let i = 0; i < pairs.user.length; i++) note(pairs.user[i]!, pairs.poi[i]!);
  const before = new Map([...known].map(([user, taken]) => [user, new Set(taken)]));
  const validation = await dataset.loadPart('validation');
  const label = validation.order ?? validation.click;
  const later = new Map<number, Set<number>>();
  for (let i = 0; i < validation.rows; i++) {
    if (label[i] !== 1) continue;
    const user = validation.user[i]!;
    const poi = validation.poi[i]!;
    note(user, poi);
    if (!heldOut[poi] || before.get(user)?.has(poi) || !texts.user.all[user]) continue;
    if (!later.has(user)) later.set(user, new Set());
    later.get(user)!.add(poi);
  }
  const choicePois = [...heldOut.keys()].filter((poi) => heldOut[poi]);
  const rowOf = new Map(choicePois.map((poi, row) => [poi, row]));
  const users = [...later.keys()].sort((a, b) => a - b);
  const asked = Array.from(
    shuffled(users.length, draws(seed, 'choosing users')).subarray(0, CHOOSING_USERS),
    (i) => users[i]!,
  );
  const choices: Choice[] = [];
  const choiceUsers: number[] = [];
  for (const user of asked) {
    const byCity = new Map<number, number[]>();
    for (const poi of later.get(user)!) {
      const where = facts.city?.[poi] ?? -1;
      byCity.set(where, [...(byCity.get(where) ?? []), poi]);
    }
    for (const [where, positives] of byCity) {
      const negatives = choicePois.filter((poi) => (facts.city?.[poi] ?? -1) === where && !known.get(user)!.has(poi));
      if (negatives.length === 0) continue;
      choices.push({
        user: choiceUsers.length,
        positives: positives.map((poi) => rowOf.get(poi)!),
        negatives: negatives.map((poi) => rowOf.get(poi)!),
      });
    }
    choiceUsers.push(user);
  }
  return { choices, choiceUsers, choicePois };
}

function pairSources(
  material: Material,
  config: FinetuneConfig,
  seed: number,
  onNotice: FinetuneOptions['onNotice'],
): Map<PairKind, PairSource> {
  const { texts, heldOutPois, heldOutUsers, pairs, facts } = material;
  const sources = new Map<PairKind, PairSource>();
  const both = (a: readonly (Int32Array | null)[], b: readonly (Int32Array | null)[], heldOut: Uint8Array) =>
    a.flatMap((own, i) => (own !== null && b[i] && !heldOut[i] ? [{ a: own, b: b[i], group: i }] : []));
  const add = (kind: PairKind, weight: number, source: PairSource | null, missing: string) => {
    if (weight === 0) return;
    if (source === null) onNotice?.(`Stage 2 goes without ${kind} pairs: ${missing}.`);
    else sources.set(kind, source);
  };
  const fromItems = (items: { a: Int32Array; b: Int32Array; group: number }[], stream: string) =>
    items.length < 2 ? null : itemPairs(items, config.batchSize, seed, stream);
  add(
    'poiPoi',
    config.poiPoiWeight,
    fromItems(both(texts.poi.business, texts.poi.basic, heldOutPois), 'POI–POI'),
    'no POIs have business and basic texts',
  );
  add(
    'dish',
    config.dishWeight,
    fromItems(
      texts.dishes.map(({ dish, description, group }) => ({ a: dish, b: description, group })),
      'dishes',
    ),
    'the dataset has no corpus/dishes.jsonl',
  );
  add(
    'userPoi',
    config.userPoiWeight,
    userPoiPairs(texts, pairs, (i) => !heldOutPois[pairs.poi[i]!], facts.city, {
      size: config.batchSize,
      seed,
      hidePlaceShare: config.hidePlaceShare,
      sameCityShare: config.sameCityShare,
      avoidFalseNegatives: config.maskDuplicates,
    }),
    'no user with a text took a POI with one',
  );
  add(
    'userUser',
    config.userUserWeight,
    fromItems(both(texts.user.profile, texts.user.behaviour, heldOutUsers), 'user–user'),
    'no users have profile and behaviour texts',
  );
  return sources;
}

/** Texts of a kind whose states the projection starts from. */
const WHITENING_TEXTS = 1024;

async function startProjection(
  embedder: Embedder,
  { texts, heldOutPois }: Material,
  config: FinetuneConfig,
  signal: AbortSignal | undefined,
): Promise<void> {
  const hidden = embedder.model.decoder.config.hiddenSize;
  const kinds = [
    texts.poi.business,
    texts.poi.basic,
    texts.user.profile,
    texts.user.behaviour,
    texts.dishes.map(({ dish }) => dish),
    texts.dishes.map(({ description }) => description),
  ].map(
    (all, kind) =>
      all.filter((ids, i) => ids !== null && !(kind < 2 && heldOutPois[i])).slice(0, WHITENING_TEXTS) as Int32Array[],
  );
  const states: Float32Array[] = [];
  for (const kind of kinds) {
    states.push(
      await mapSequences(kind, hidden, (batch) => pooledStates(embedder.model, batch, embedder.pooling), { signal }),
    );
  }
  noGrad(() =>
    tidy(() => {
      const start = whiteningProjection(states, hidden, config.dimension);
      if (config.dimension > hidden) {
        // More dimensions than states have: the rest begins as small random directions.
        const rest = init.normal_(ones([config.dimension - hidden, hidden]), 0.01 / Math.sqrt(hidden));
        start.narrow(0, hidden, config.dimension - hidden).copy_(rest);
      }
      embedder.projection.copy_(start);
      embedder.otherProjection?.copy_(start);
    }),
  );
}

/** Judges the vectors on held-out POIs and users. */
async function measure(
  embedder: Embedder,
  material: Material,
  signal: AbortSignal | undefined,
  { probing }: { probing: boolean },
): Promise<EmbeddingQuality> {
  const { texts, facts, heldOutPois, heldOutUsers, choices, choiceUsers, choicePois } = material;
  const dimension = embedder.projection.shape[0]!;
  const embed = (all: Int32Array[], side: 'a' | 'b' = 'a') =>
    embedSequences(
      side === 'b' && embedder.otherProjection !== null
        ? { ...embedder, projection: embedder.otherProjection }
        : embedder,
      all,
      { signal },
    );
  const lookUp = async (
    a: readonly (Int32Array | null)[],
    b: readonly (Int32Array | null)[],
    mask: Uint8Array,
  ): Promise<RetrievalMetrics | null> => {
    const rows = [...mask.keys()].filter((i) => mask[i] && a[i] && b[i]);
    if (rows.length < 2) return null;
    return retrieval(
      await embed(rows.map((i) => a[i]!)),
      await embed(
        rows.map((i) => b[i]!),
        'b',
      ),
      dimension,
      embedder.similarity,
    );
  };
  const heldOut = await embed(
    choicePois.map((poi) => texts.poi.all[poi]!),
    'b',
  );
  const users = await embed(choiceUsers.map((user) => texts.user.all[user]!));
  const within = choiceAuc(users, heldOut, dimension, choices, embedder.similarity);
  let probe: number | null = null;
  if (probing && facts.attributes !== null) {
    const rows = texts.poi.all.flatMap((ids, i) => (ids === null ? [] : [i]));
    const { values, width } = facts.attributes;
    const targets = Float32Array.from(rows.flatMap((i) => Array.from(values.subarray(i * width, (i + 1) * width))));
    probe = linearProbe(
      await embed(rows.map((i) => texts.poi.all[i]!)),
      dimension,
      targets,
      width,
      rows.map((i) => !heldOutPois[i]),
    );
  }
  return {
    poiPoi: await lookUp(texts.poi.business, texts.poi.basic, heldOutPois),
    userUser: await lookUp(texts.user.profile, texts.user.behaviour, heldOutUsers),
    withinCityAuc: within?.auc ?? null,
    withinCityError: within?.error ?? null,
    choices: choices.length,
    probe,
  };
}

/** A value passes that reaches its threshold within one standard error of its measurement. */
function judge(before: EmbeddingQuality, after: EmbeddingQuality, config: FinetuneConfig): Gate {
  const checks: Gate['checks'] = [];
  const check = (
    name: Gate['checks'][number]['name'],
    value: number | null | undefined,
    threshold: number,
    error: number,
  ) => {
    if (value !== null && value !== undefined)
      checks.push({ name, value, error, threshold, passed: value + error >= threshold });
  };
  const recall = after.poiPoi;
  const recallError =
    recall === null ? 0 : Math.sqrt((recall.recallAt10 * (1 - recall.recallAt10)) / recall.candidates);
  check('poiPoiRecallAt10', recall?.recallAt10, config.gate.poiPoiRecallAt10, recallError);
  check('withinCityAuc', after.withinCityAuc, config.gate.withinCityAuc, after.withinCityError ?? 0);
  if (before.probe !== null) check('probe', after.probe, before.probe + config.gate.probeGain, 0);
  return { passed: checks.every(({ passed }) => passed), checks };
}

/** Vectors have collapsed when POIs, whose texts all differ, nearly coincide: mean cosine above this. */
const COLLAPSE = 0.98;

async function collapsed(
  embedder: Embedder,
  { texts, choicePois }: Material,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const some = choicePois.slice(0, 256).map((poi) => texts.poi.all[poi]!);
  if (some.length < 2) return [];
  const vectors = await embedSequences(embedder, some, { signal });
  const n = some.length;
  const mean = noGrad(() =>
    tidy(() => {
      const unit = tensor(vectors, [n, vectors.length / n]).normalize(1);
      return (unit.sum([0]).square().sum().item() - n) / (n * (n - 1));
    }),
  );
  return mean > COLLAPSE
    ? [
        `the vectors have collapsed: the mean cosine between POIs is ${mean.toFixed(3)}. Lower the learning rate or raise the temperature.`,
      ]
    : [];
}
