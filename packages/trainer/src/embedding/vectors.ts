import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Dataset,
  type KeywordText,
  openDataset,
  readSafetensors,
  wrapText,
  writeFileAtomic,
  writeSafetensors,
} from '@larr/core';
import { getRngState, setRngState } from '@larr/torch';
import { pickKeywords } from '../pretraining/documents.js';
import type { StageProgress } from '../pretraining/pretrain.js';
import { recordRun, runDataset } from '../report/run-record.js';
import { writeEmbedReport } from '../report/stage-reports.js';
import { disposeEmbedder, type Embedder, embeddableText, embedSequences, loadEmbedder } from './embedder.js';
import { refuseOtherPairs } from './learnt-pairs.js';
import { PartialVectors } from './partial-vectors.js';
import { embedderDigest, type VectorsManifest } from './vectors-manifest.js';

export interface EmbedOptions {
  dataset: string;
  split?: string | undefined;
  /** The stage-2 directory; a stage-1 directory embeds as the ablation noFT does (see `loadEmbedder`). */
  model: string;
  /** The vectors/ directory to write. */
  output: string;
  /** Users' comprehensive texts too (users.safetensors). Stage 3 does not read them; default false. */
  users?: boolean;
  /** Decides the projection of a model that has none. */
  seed?: number;
  device?: string;
  /** Seconds between savings of what was computed; a run that is killed loses no more. Default 20. */
  saveSeconds?: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: StageProgress) => void) | undefined;
  onNotice?: ((message: string) => void) | undefined;
}

export interface EmbedResult {
  /** Vectors in each file, and how many were computed in this run; the others were there. */
  scene: { vectors: number; computed: number };
  pois: { vectors: number; computed: number };
  /** null where users were not asked for */
  users: { vectors: number; computed: number } | null;
  tokens: number;
  tokensPerSecond: number;
  truncatedTexts: number;
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
 * last: a directory without it is not whole. Beside them run.json, metrics.jsonl and report.html.
 *
 * Run again with the same model, only texts that changed are embedded; with another model, everything. A run that was stopped
 * or killed goes on after the last batch that it saved, to the same bytes.
 *
 * @throws DataError `MODEL_OF_OTHER_SPLIT` where the model was fine-tuned on other data or another split, `MODEL_WITHOUT_RECORD` where
 *   nothing says on which
 */
export async function embedDataset(options: EmbedOptions): Promise<EmbedResult> {
  const { output, seed = 1, device = 'cpu', saveSeconds = 20, signal, onProgress, onNotice } = options;
  const dataset = await openDataset(options.dataset, options.split);
  const finetuned = await refuseOtherPairs(options.model, dataset);
  const model = await embedderDigest(options.model, seed);
  const rng = getRngState();
  const embedder = await loadEmbedder(options.model, { device, seed });
  // Loading a model without a projection seeds the generator; who calls should not notice.
  setRngState(rng);
  try {
    await mkdir(output, { recursive: true });
    await rm(join(output, 'vectors.json'), { force: true });
    const entries = sceneEntries(dataset);
    const work = async (): Promise<{ result: EmbedResult; lines: object[] }> => {
      const parts = {
        scene: sceneTexts(dataset, entries),
        pois: poiTexts(dataset, await dataset.poiTexts()),
        ...(options.users === true && { users: userTexts(dataset, await dataset.userTexts()) }),
      };
      const steps = Object.values(parts).reduce((sum, texts) => sum + texts.length, 0);
      const tally = { step: 0, tokens: 0, seconds: 0, truncated: 0 };
      const result: Record<string, { vectors: number; computed: number }> = {};
      const lines: object[] = [];
      const tell = () =>
        onProgress?.({
          stage: 'embed',
          step: tally.step,
          steps,
          loss: null,
          tokensPerSecond: tally.seconds > 0 ? tally.tokens / tally.seconds : 0,
        });
      for (const [part, texts] of Object.entries(parts)) {
        const base = tally.step;
        const { tokens, seconds } = tally;
        let last = performance.now();
        result[part] = await embedFile(
          join(output, `${part}.safetensors`),
          texts,
          embedder,
          model,
          tally,
          { signal, saveSeconds },
          (done, read) => {
            const now = performance.now();
            tally.tokens += read;
            tally.seconds += (now - last) / 1000;
            last = now;
            tally.step = base + done;
            tell();
          },
        );
        // Texts that were there already, or stand several times, are not among those that were computed.
        tally.step = base + texts.length;
        lines.push({ part, ...result[part], tokens: tally.tokens - tokens, seconds: tally.seconds - seconds });
      }
      tell();
      if (tally.truncated > 0) {
        onNotice?.(
          `${tally.truncated} texts are longer than the context of ${embedder.model.decoder.config.contextLength} tokens and were cut.`,
        );
      }
      await writeFileAtomic(join(output, 'scene.json'), `${JSON.stringify(entries, null, 1)}\n`);
      return {
        lines,
        result: {
          scene: result.scene!,
          pois: result.pois!,
          users: result.users ?? null,
          tokens: tally.tokens,
          tokensPerSecond: Math.round(tally.seconds > 0 ? tally.tokens / tally.seconds : 0),
          truncatedTexts: tally.truncated,
        },
      };
    };
    const manifest: VectorsManifest = {
      format: 'larr-vectors',
      version: 3,
      dataset: dataset.manifest.contentDigest,
      split: dataset.splitName,
      model,
      finetuned,
      dimension: embedder.projection.shape[0]!,
    };
    const run = {
      stage: 'embed' as const,
      identity: createHash('sha256')
        .update(JSON.stringify([manifest, options.users === true]))
        .digest('hex'),
      config: { users: options.users === true, dimension: manifest.dimension },
      seed,
      device,
      dataset: runDataset(dataset),
      inputs: { model: { path: options.model, sha256: model } },
    };
    const {
      result: { result, lines },
      record,
      unchanged,
    } = await recordRun(output, run, signal, work, async ({ result: { scene, pois, users } }) =>
      [scene, pois, users].every((part) => !part?.computed),
    );
    if (!unchanged) {
      await writeFileAtomic(join(output, 'metrics.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
      await writeEmbedReport(output, result, await sceneLikeness(output, entries), record);
    }
    // Last: a directory without it is not whole.
    await writeFileAtomic(join(output, 'vectors.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    return result;
  } finally {
    disposeEmbedder(embedder);
  }
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

/** The keywords that one vector is made from; none where there is no text. */
type Keywords = readonly { token: string; text: string }[];

function sceneTexts(dataset: Dataset, entries: readonly SceneEntry[]): Keywords[] {
  const tokens = new Map(dataset.split.scene.map(({ field, token }) => [field, token]));
  return entries.map(({ field, text }) => [{ token: tokens.get(field)!, text }]);
}

function poiTexts(dataset: Dataset, pois: readonly KeywordText[][]): Keywords[] {
  const order = dataset.manifest.keywords.poi.map(({ name }) => name);
  return pois.map((keywords) => pickKeywords(keywords, order));
}

function userTexts(dataset: Dataset, users: readonly KeywordText[][]): Keywords[] {
  const { userProfile, userBehaviour } = dataset.manifest.texts;
  const order = [...new Set([...userProfile, ...userBehaviour])];
  return users.map((keywords) => pickKeywords(keywords, order));
}

/** Brings one file up to date with `texts`. What it holds for the same model and text is taken over; equal texts are embedded once. */
async function embedFile(
  path: string,
  texts: readonly Keywords[],
  embedder: Embedder,
  model: string,
  tally: { truncated: number },
  { signal, saveSeconds }: { signal: AbortSignal | undefined; saveSeconds: number },
  onBatch: (done: number, tokens: number) => void,
): Promise<{ vectors: number; computed: number }> {
  const dimension = embedder.projection.shape[0]!;
  const out = new Float32Array(texts.length * dimension);
  const digests = texts.map((text) => createHash('sha256').update(wrapText(text)).digest('base64').slice(0, 22));
  const digestPath = path.replace(/\.safetensors$/, '.digests.json');
  const present = await presentVectors(path, digestPath, model, dimension);
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
  const { contextLength } = embedder.model.decoder.config;
  const sequences = jobs.map(({ text }) => {
    const { ids, truncated } = embeddableText(embedder.model.tokenizer, text, contextLength);
    if (truncated) tally.truncated++;
    return ids;
  });
  const partial = await PartialVectors.open(path.replace(/\.safetensors$/, '.partial'), model, dimension);
  let computed = 0;
  let saved = performance.now();
  let vectors: Float32Array;
  try {
    vectors = await embedSequences(embedder, sequences, {
      signal,
      onBatch,
      known: (i) => partial.get(jobs[i]!.digest),
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
  jobs.forEach(({ rows }, i) => {
    for (const row of rows) out.set(vectors.subarray(i * dimension, (i + 1) * dimension), row * dimension);
  });
  if (jobs.length > 0 || !existsSync(path) || present.rows !== texts.length) {
    // The digests name the model, so a stale pair of files is never taken for a fresh one.
    await writeSafetensors(
      path,
      { embeddings: { dtype: 'F32', shape: [texts.length, dimension], data: out } },
      { model },
    );
    await writeFileAtomic(digestPath, JSON.stringify({ model, digests }));
  }
  await partial.remove();
  return { vectors: texts.length, computed };
}

/** Vectors already in a file, by their text's digest; none where the file is of another model. */
async function presentVectors(
  path: string,
  digestPath: string,
  model: string,
  dimension: number,
): Promise<Map<string, Float32Array> & { rows?: number }> {
  const present: Map<string, Float32Array> & { rows?: number } = new Map();
  if (!existsSync(path) || !existsSync(digestPath)) return present;
  try {
    const known = JSON.parse(await readFile(digestPath, 'utf8')) as { model: string; digests: string[] };
    const { tensors, metadata } = await readSafetensors(path);
    const table = tensors.embeddings;
    if (known.model !== model || metadata.model !== model || table === undefined) return present;
    if (table.shape[0] !== known.digests.length || table.shape[1] !== dimension) return present;
    const data = table.data as Float32Array;
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
