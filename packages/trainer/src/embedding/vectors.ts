import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type Dataset,
  type DirectoryLock,
  type KeywordText,
  lockDirectory,
  openDataset,
  readSafetensors,
  UsageError,
  wrapText,
  writeFileAtomic,
  writeSafetensors,
} from '@larr/core';
import { getRngState, setRngState } from '@larr/torch';
import { requireRoomForTexts } from '../language-model/heap-room.js';
import { pickKeywords } from '../pretraining/documents.js';
import type { StageProgress } from '../pretraining/pretrain.js';
import { readRecord, recordRun, runDataset } from '../report/run-record.js';
import { writeEmbedReport } from '../report/stage-reports.js';
import type { FinetuneConfigInput } from './config.js';
import { loadEmbedder } from './embedder.js';
import { notFiniteRow } from './finite-vectors.js';
import type { Gate } from './gate.js';
import { LATER_TEXTS, laterTexts } from './later-texts.js';
import { type LearntPairs, refuseOtherPairs } from './learnt-pairs.js';
import { PartialVectors } from './partial-vectors.js';
import { type Keywords, languageModelEmbedder, type TextEmbedder } from './text-embedder.js';
import { embedderDigest, type VectorsManifest } from './vectors-manifest.js';

export interface EmbedOptions {
  dataset: string;
  split?: string | undefined;
  /**
   * What makes the vectors: a stage-2 directory (a stage-1 directory embeds as the ablation noFT does, see `loadEmbedder`), or the
   * directory of a sentence encoder in ONNX, which takes the place of stages 1 and 2.
   */
  model: string | { encoder: string };
  /** The vectors/ directory to write. */
  output: string;
  /** Users' comprehensive texts too (users.safetensors). Stage 3 does not read them; default false. */
  users?: boolean;
  /** A list of scene texts that the dataset does not have, to be embedded beside its own (`laterTexts`). */
  texts?: string | undefined;
  /** Decides the projection of a model that has none. */
  seed?: number;
  device?: string;
  /** Thresholds of the gate, which judges the vectors of a sentence encoder. */
  config?: FinetuneConfigInput | undefined;
  /** Arithmetic of a language model's products; vectors of one precision are not taken for another's. Default f32. */
  precision?: 'f32' | 'bf16';
  /** Only batch `index`, `index + count`, … is computed here, other processes compute the others at the same time. */
  shard?: Shard | undefined;
  /** Seconds between savings of what was computed; a run that is killed loses no more. Default 20. */
  saveSeconds?: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: StageProgress) => void) | undefined;
  onNotice?: ((message: string) => void) | undefined;
}

/** One of `count` processes that share the work. */
export interface Shard {
  index: number;
  count: number;
}

export interface EmbedResult {
  /** Vectors in each file, and how many were computed in this run; the others were there. */
  scene: { vectors: number; computed: number };
  pois: { vectors: number; computed: number };
  /** null where users were not asked for */
  users: { vectors: number; computed: number } | null;
  /** scene texts that the dataset does not have; null where there are none */
  later: { vectors: number; computed: number } | null;
  tokens: number;
  tokensPerSecond: number;
  truncatedTexts: number;
  /** What the gate says of a sentence encoder's vectors; null for a language model's, which were judged when it was fine-tuned. */
  gate: Gate | null;
}

/** What a process that computes a share of the vectors returns. */
export interface EmbedShareResult {
  shard: Shard;
  computed: { scene: number; pois: number; users: number | null };
  /** What the directory holds, where this was the last share to be finished: the vectors were put together here. */
  merged: EmbedResult | null;
}

/** One row of scene.safetensors. */
export interface SceneEntry {
  field: string;
  text: string;
}

/**
 * Embeds what stage 3 and the server read (method.md, section 4): every scene keyword on its own, every POI's and, where
 * asked for, every user's comprehensive text. Writes scene.safetensors with scene.json, pois.safetensors, users.safetensors
 * ("embeddings", f32 [rows, dimension]; a row of zeros where there is no text), text digests beside each, and vectors.json
 * last: a directory without it is not whole. Beside them run.json, metrics.jsonl, report.html, and the gate's findings (gate.json):
 * those of stage 2, or of the sentence encoder.
 *
 * Run again with the same model, only texts that changed are embedded; with another model, everything, which `onNotice` tells. A run that was stopped
 * or killed goes on after the last batch that it saved, to the same bytes.
 *
 * @throws DataError `MODEL_OF_OTHER_SPLIT` where the model was fine-tuned on other data or another split, `MODEL_WITHOUT_RECORD` where
 *   nothing says on which
 */
export async function embedDataset(options: Omit<EmbedOptions, 'shard'>): Promise<EmbedResult> {
  const { output, seed = 1, device = 'cpu', saveSeconds = 20, signal, onNotice } = options;
  const dataset = await openDataset(options.dataset, options.split);
  const source = await openSource(options, dataset);
  const { embedder, digest: model } = source;
  try {
    await mkdir(output, { recursive: true });
    await tellReplaced(output, source, onNotice);
    await rm(join(output, 'vectors.json'), { force: true });
    const entries = sceneEntries(dataset);
    const later = await laterTexts(output, options.texts, dataset);
    const work = async (): Promise<{ result: EmbedResult; lines: object[] }> => {
      const parts = await partTexts(dataset, entries, later, options.users === true);
      const tally = newTally(parts);
      const result: Record<string, { vectors: number; computed: number }> = {};
      const lines: object[] = [];
      for (const [part, texts] of Object.entries(parts)) {
        const { tokens, seconds } = tally;
        result[part] = await embedFile(join(output, `${part}.safetensors`), texts, source, tally, {
          signal,
          saveSeconds,
          onProgress: options.onProgress,
        });
        lines.push({ part, ...result[part], tokens: tally.tokens - tokens, seconds: tally.seconds - seconds });
      }
      tell(tally, options.onProgress);
      if (tally.truncated > 0) {
        onNotice?.(
          `${tally.truncated} texts are longer than the context of ${embedder.contextLength} tokens and were cut.`,
        );
      }
      await writeFileAtomic(join(output, 'scene.json'), `${JSON.stringify(entries, null, 1)}\n`);
      if (later.length > 0) await writeFileAtomic(join(output, LATER_TEXTS), `${JSON.stringify(later, null, 1)}\n`);
      const gate = await source.judge();
      if (gate !== null && gate.verdict !== 'passed')
        onNotice?.(
          `The encoder's vectors ${gate.verdict === 'failed' ? 'fall short of the gate' : 'could not be judged by the gate'} (${gate.reason}).`,
        );
      return {
        lines,
        result: {
          scene: result.scene!,
          pois: result.pois!,
          users: result.users ?? null,
          later: result.later ?? null,
          tokens: tally.tokens,
          tokensPerSecond: Math.round(tally.seconds > 0 ? tally.tokens / tally.seconds : 0),
          truncatedTexts: tally.truncated,
          gate,
        },
      };
    };
    const manifest: VectorsManifest = {
      format: 'larr-vectors',
      version: 3,
      dataset: dataset.manifest.contentDigest,
      split: dataset.splitName,
      model,
      finetuned: source.finetuned,
      dimension: embedder.dimension,
    };
    const run = {
      stage: 'embed' as const,
      identity: createHash('sha256')
        .update(JSON.stringify([manifest, options.users === true, source.precision]))
        .digest('hex'),
      config: { users: options.users === true, dimension: manifest.dimension, precision: source.precision },
      seed,
      device,
      dataset: runDataset(dataset),
      inputs: { [source.kind]: { path: source.path, sha256: model } },
    };
    const {
      result: { result, lines },
      record,
      unchanged,
    } = await recordRun(output, run, signal, work, async ({ result: { scene, pois, users, later } }) =>
      [scene, pois, users, later].every((part) => !part?.computed),
    );
    if (!unchanged) {
      await writeFileAtomic(join(output, 'metrics.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
      await writeEmbedReport(output, result, await sceneLikeness(output, entries), record);
    }
    // Last: a directory without it is not whole.
    await writeFileAtomic(join(output, 'vectors.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    return result;
  } finally {
    embedder.dispose();
  }
}

/**
 * One process's share of the same work: every `count`-th batch. Several may run at once on one directory, each writing parts of its
 * own, and what the others have computed is not computed again. Whichever finishes last puts the vectors together, as
 * `embedDataset` does, which puts them together too where that process was lost.
 */
export async function embedShare(options: EmbedOptions & { shard: Shard }): Promise<EmbedShareResult> {
  const { output, shard, saveSeconds = 20, signal } = options;
  const own = join(output, 'shares', `${shard.index}-of-${shard.count}`);
  const lock = lockDirectory(own, 'the share');
  const computed: Record<string, number> = {};
  let identity: string;
  try {
    const dataset = await openDataset(options.dataset, options.split);
    const source = await openSource(options, dataset);
    try {
      if (shard.index === 0) await tellReplaced(output, source, options.onNotice);
      identity = createHash('sha256')
        .update(
          JSON.stringify([
            source.digest,
            source.precision,
            dataset.manifest.contentDigest,
            dataset.splitName,
            options.users === true,
          ]),
        )
        .digest('hex');
      const later = await laterTexts(output, options.texts, dataset);
      const parts = await partTexts(dataset, sceneEntries(dataset), later, options.users === true);
      const tally = newTally(parts);
      for (const [part, texts] of Object.entries(parts)) {
        const settings = { signal, saveSeconds, onProgress: options.onProgress, shard };
        computed[part] = (
          await embedFile(join(output, `${part}.safetensors`), texts, source, tally, settings)
        ).computed;
      }
      tell(tally, options.onProgress);
    } finally {
      source.embedder.dispose();
    }
    await writeFileAtomic(join(own, DONE), identity);
  } finally {
    lock.release();
  }
  const done = await Promise.all(
    Array.from({ length: shard.count }, (_, i) =>
      readFile(join(output, 'shares', `${i}-of-${shard.count}`, DONE), 'utf8').catch(() => null),
    ),
  );
  const merged = done.every((one) => one === identity) ? await merge(options) : null;
  const { scene, pois, users } = computed;
  return { shard, computed: { scene: scene!, pois: pois!, users: users ?? null }, merged };
}

const DONE = 'done';

/** Puts the shares together; null where another process, which finished at the same time, does. */
async function merge({ shard: _, ...options }: EmbedOptions): Promise<EmbedResult | null> {
  let lock: DirectoryLock;
  try {
    lock = lockDirectory(options.output, 'the directory');
  } catch (error) {
    if (error instanceof UsageError && error.code === 'IN_USE') return null;
    throw error;
  }
  try {
    const result = await embedDataset(options);
    await rm(join(options.output, 'shares'), { recursive: true, force: true });
    return result;
  } finally {
    lock.release();
  }
}

/** What makes the vectors, opened. */
interface Source {
  kind: 'model' | 'encoder';
  path: string;
  embedder: TextEmbedder;
  /** Of everything that decides the vectors, but for the precision. */
  digest: string;
  precision: 'f32' | 'bf16';
  finetuned: LearntPairs | null;
  /** Puts gate.json beside the vectors: stage 2's, or the findings on a sentence encoder, which are returned. */
  judge(): Promise<Gate | null>;
}

async function openSource(options: Omit<EmbedOptions, 'shard'>, dataset: Dataset): Promise<Source> {
  const { model, output, seed = 1, device = 'cpu', config, signal, onNotice } = options;
  const gateFile = join(output, 'gate.json');
  if (typeof model === 'string') {
    const finetuned = await refuseOtherPairs(model, dataset);
    const digest = await embedderDigest(model, seed);
    const rng = getRngState();
    const embedder = languageModelEmbedder(await loadEmbedder(model, { device, seed }));
    // Loading a model without a projection seeds the generator; who calls should not notice.
    setRngState(rng);
    const judge = async () => {
      const findings = await readFile(join(model, 'gate.json'), 'utf8').catch(() => null);
      if (findings === null) await rm(gateFile, { force: true });
      else await writeFileAtomic(gateFile, findings);
      return null;
    };
    return { kind: 'model', path: model, embedder, digest, precision: options.precision ?? 'f32', finetuned, judge };
  }
  await mkdir(output, { recursive: true });
  const { openEncoder } = await import('./sentence-encoder/open.js');
  const opened = await openEncoder(model.encoder, dataset, { output, seed, config, signal, onNotice });
  return { kind: 'encoder', path: model.encoder, precision: 'f32', finetuned: null, ...opened };
}

/** Says of finished vectors that none of them will be kept, and why. */
async function tellReplaced(
  output: string,
  { kind, path, digest, precision }: Source,
  onNotice: ((message: string) => void) | undefined,
): Promise<void> {
  let there: Partial<VectorsManifest>;
  try {
    there = JSON.parse(await readFile(join(output, 'vectors.json'), 'utf8')) as Partial<VectorsManifest>;
  } catch {
    return; // Nothing that is finished.
  }
  const record = await readRecord(output);
  const config = record?.config as { precision?: string } | undefined;
  const precisionThere = record?.stage === 'embed' ? (config?.precision ?? precision) : precision;
  if (there.model === digest && precisionThere === precision) return;
  const [[was, { path: of }] = ['model', { path: '' }]] = Object.entries(record?.inputs ?? {});
  const other =
    there.model === digest
      ? `in ${precisionThere}, not in ${precision}`
      : was === kind && of === path
        ? `of ${path} in another state, or by another seed`
        : `of another ${was}${of === '' ? '' : `, ${of}`}`;
  onNotice?.(
    `${output} holds finished vectors ${other}: all of them are made anew with ${path}. To keep them, stop and take another --out.`,
  );
}

/** What is embedded, by the file that it goes to. */
async function partTexts(
  dataset: Dataset,
  entries: readonly SceneEntry[],
  later: readonly SceneEntry[],
  users: boolean,
): Promise<Record<string, Keywords[]>> {
  await requireRoomForTexts('embed', dataset, users ? ['pois', 'users'] : ['pois']);
  return {
    scene: sceneTexts(dataset, entries),
    pois: poiTexts(dataset, await dataset.poiTexts()),
    ...(users && { users: userTexts(dataset, await dataset.userTexts()) }),
    ...(later.length > 0 && { later: sceneTexts(dataset, later) }),
  };
}

interface Tally {
  step: number;
  steps: number;
  tokens: number;
  seconds: number;
  truncated: number;
}

function newTally(parts: Record<string, Keywords[]>): Tally {
  const steps = Object.values(parts).reduce((sum, texts) => sum + texts.length, 0);
  return { step: 0, steps, tokens: 0, seconds: 0, truncated: 0 };
}

function tell({ step, steps, tokens, seconds }: Tally, onProgress: EmbedOptions['onProgress']): void {
  onProgress?.({ stage: 'embed', step, steps, loss: null, tokensPerSecond: seconds > 0 ? tokens / seconds : 0 });
}

/** Rows of the scene table: every text of every field that is not the missing one, in the split's order. */
export function sceneEntries(dataset: Dataset): SceneEntry[] {
  return dataset.split.scene.flatMap(({ field, texts }) =>
    texts.filter((text) => text !== '').map((text) => ({ field, text })),
  );
}

/** The mean cosine between the texts of each scene field: method.md, section 7 on why it is worth knowing. */
async function sceneLikeness(output: string, entries: readonly SceneEntry[]) {
  const { tensors } = await readSafetensors(join(output, 'scene.safetensors'));
  const { data, shape } = tensors.embeddings!;
  const width = shape[1]!;
  const vectors = data as Float32Array;
  return [...new Set(entries.map(({ field }) => field))].map((field) => {
    const rows = entries.flatMap((entry, row) => (entry.field === field ? [row] : []));
    // The mean over pairs of unit vectors follows from the length of their sum.
    const sum = new Float64Array(width);
    for (const row of rows) {
      const own = vectors.subarray(row * width, (row + 1) * width);
      const length = Math.hypot(...own) || 1;
      own.forEach((x, i) => {
        sum[i]! += x / length;
      });
    }
    const n = rows.length;
    const squared = sum.reduce((total, x) => total + x * x, 0);
    return { field, texts: n, cosine: n < 2 ? null : (squared - n) / (n * (n - 1)) };
  });
}

function sceneTexts(dataset: Dataset, entries: readonly SceneEntry[]): Keywords[] {
  const tokens = new Map(dataset.split.scene.map(({ field, token }) => [field, token]));
  return entries.map(({ field, text }) => [{ token: tokens.get(field)!, text }]);
}

export function poiTexts(dataset: Dataset, pois: readonly KeywordText[][]): Keywords[] {
  const order = dataset.manifest.keywords.poi.map(({ name }) => name);
  return pois.map((keywords) => pickKeywords(keywords, order));
}

function userTexts(dataset: Dataset, users: readonly KeywordText[][]): Keywords[] {
  const { userProfile, userBehaviour } = dataset.manifest.texts;
  const order = [...new Set([...userProfile, ...userBehaviour])];
  return users.map((keywords) => pickKeywords(keywords, order));
}

/**
 * Brings one file up to date with `texts`. What it holds for the same model and text is taken over; equal texts are embedded once. Of a
 * shard only the parts are written, which the others and the whole find.
 */
async function embedFile(
  path: string,
  texts: readonly Keywords[],
  { embedder, digest: model, precision }: Source,
  tally: Tally,
  options: {
    signal: AbortSignal | undefined;
    saveSeconds: number;
    onProgress: EmbedOptions['onProgress'];
    shard?: Shard;
  },
): Promise<{ vectors: number; computed: number }> {
  const { signal, saveSeconds, onProgress, shard } = options;
  const { dimension } = embedder;
  const out = new Float32Array(texts.length * dimension);
  const digests = texts.map((text) => createHash('sha256').update(wrapText(text)).digest('base64').slice(0, 22));
  const digestPath = path.replace(/\.safetensors$/, '.digests.json');
  const present = await presentVectors(path, digestPath, { model, precision }, dimension);
  const wanted = new Map<string, { text: Keywords; rows: number[] }>();
  texts.forEach((text, row) => {
    if (text.length === 0) return;
    const digest = digests[row]!;
    const vector = present.get(digest);
    if (vector !== undefined) {
      out.set(vector, row * dimension);
      return;
    }
    const entry = wanted.get(digest);
    if (entry === undefined) wanted.set(digest, { text, rows: [row] });
    else entry.rows.push(row);
  });
  const jobs = [...wanted].map(([digest, job]) => ({ digest, ...job }));
  const sequences = jobs.map(({ text }) => {
    const { ids, truncated } = embedder.tokens(text);
    if (truncated) tally.truncated++;
    return ids;
  });
  const writer = shard === undefined ? '' : `${shard.index}-of-${shard.count}`;
  const partial = await PartialVectors.open(
    path.replace(/\.safetensors$/, '.partial'),
    `${model} ${precision}`,
    dimension,
    writer,
  );
  const base = tally.step;
  let computed = 0;
  let saved = performance.now();
  let last = saved;
  let vectors: Float32Array;
  try {
    vectors = await embedder.embed(sequences, {
      signal,
      precision,
      mine: shard && ((batch) => batch % shard.count === shard.index),
      onBatch: (done, tokens) => {
        const now = performance.now();
        tally.tokens += tokens;
        tally.seconds += (now - last) / 1000;
        last = now;
        tally.step = base + done;
        tell(tally, onProgress);
      },
      known: (i) => partial.get(jobs[i]!.digest),
      name: (i) => `"${wrapText(jobs[i]!.text).slice(0, 80)}" (row ${jobs[i]!.rows[0]} of ${basename(path)})`,
      onRows: async (members, rows) => {
        computed += members.length;
        members.forEach((i, row) => {
          partial.add(jobs[i]!.digest, rows.subarray(row * dimension, (row + 1) * dimension));
        });
        if (performance.now() - saved < 1000 * saveSeconds) return;
        await partial.save();
        saved = performance.now();
      },
    });
  } catch (error) {
    await partial.save();
    throw error;
  }
  // Texts that were there already, or stand several times, are not among those that were computed.
  tally.step = base + texts.length;
  if (shard !== undefined) {
    await partial.save();
    return { vectors: texts.length, computed };
  }
  jobs.forEach(({ rows }, i) => {
    for (const row of rows) out.set(vectors.subarray(i * dimension, (i + 1) * dimension), row * dimension);
  });
  if (jobs.length > 0 || !existsSync(path) || present.rows !== texts.length) {
    // The digests name the model, so a stale pair of files is never taken for a fresh one.
    await writeSafetensors(
      path,
      { embeddings: { dtype: 'F32', shape: [texts.length, dimension], data: out } },
      { model, precision },
    );
    await writeFileAtomic(digestPath, JSON.stringify({ model, precision, digests }));
  }
  await partial.remove();
  return { vectors: texts.length, computed };
}

/** Vectors already in a file, by their text's digest; none where the file is of another model or precision. */
async function presentVectors(
  path: string,
  digestPath: string,
  { model, precision }: { model: string; precision: string },
  dimension: number,
): Promise<Map<string, Float32Array> & { rows?: number }> {
  const present: Map<string, Float32Array> & { rows?: number } = new Map();
  if (!existsSync(path) || !existsSync(digestPath)) return present;
  try {
    const known = JSON.parse(await readFile(digestPath, 'utf8')) as {
      model: string;
      precision?: string;
      digests: string[];
    };
    const { tensors, metadata } = await readSafetensors(path);
    const table = tensors.embeddings;
    if (known.model !== model || metadata.model !== model || table === undefined) return present;
    // Files of before there was a choice are f32.
    if ((known.precision ?? 'f32') !== precision || (metadata.precision ?? 'f32') !== precision) return present;
    if (table.shape[0] !== known.digests.length || table.shape[1] !== dimension) return present;
    const data = table.data as Float32Array;
    if (notFiniteRow(data, dimension) !== null) return present;
    known.digests.forEach((digest, row) => {
      present.set(digest, data.subarray(row * dimension, (row + 1) * dimension));
    });
    present.rows = known.digests.length;
  } catch {
    // Damaged files are written anew.
    present.clear();
  }
  return present;
}
