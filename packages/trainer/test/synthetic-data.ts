import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset, DatasetManifest, Samples, SplitManifest } from '@larr/core';
import { manualSeed, randn, saveSafetensors, setNumThreads, tidy } from '@larr/torch';
import { type ModelInputs, modelInputs } from '../src/models/inputs.js';
import type { TrainingData } from '../src/training/data.js';
import { ResidentPart } from '../src/training/resident-part.js';

// Test files run side by side, and the sums of these tests are far too small to share among threads.
setNumThreads(1);

/** A small generator of its own (mulberry32), so that test data do not move with the library's random numbers. */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const USERS = 60;
const POIS = 40;
const SCENES = [
  ['weather', ['', 'sunny', 'heavy rain', 'snow']],
  ['mealtime', ['', 'breakfast', 'lunch', 'dinner', 'late night']],
  ['weekday', ['', 'workday', 'weekend']],
] as const;

export function syntheticSplit(orders: boolean): { split: SplitManifest; manifest: DatasetManifest } {
  const split: SplitManifest = {
    kind: 'random',
    parts: {} as SplitManifest['parts'],
    categorical: [
      { name: 'user', role: 'user', size: USERS + 1, vocabulary: '' },
      { name: 'poi', role: 'poi', size: POIS + 1, vocabulary: '' },
      { name: 'district', role: 'context', size: 5, vocabulary: '' },
    ],
    dense: [{ name: 'price', role: 'poi-feature', mean: 2, std: 0.5 }],
    sequences: [{ name: 'clicks', of: 'poi', length: 4 }],
    scene: SCENES.map(([field, texts]) => ({ field, token: field, texts: [...texts] })),
  };
  const manifest: DatasetManifest = {
    format: 'larr-dataset',
    version: 1,
    name: 'synthetic',
    seed: 1,
    schemaDigest: 'digest-of-the-synthetic-schema',
    contentDigest: '0'.repeat(64),
    orders,
    defaultSplit: 'random',
    splits: { random: split },
    pois: POIS,
    users: USERS,
    keywords: { poi: [], user: [], scene: [] },
    texts: {} as DatasetManifest['texts'],
  };
  return { split, manifest };
}

/** What users and POIs are worth to a click, whatever is sampled. */
export function syntheticBiases(): { user: number[]; poi: number[]; scene: number[][] } {
  const truth = random(99);
  const user = Array.from({ length: USERS }, () => 2 * truth() - 1);
  const poi = Array.from({ length: POIS }, () => 2 * truth() - 1);
  return { user, poi, scene: SCENES.map(([, texts]) => texts.map(() => 2 * truth() - 1)) };
}

/** Clicks depend on user, POI, district and the scene; orders on clicks and price: there is something to learn. */
export function syntheticSamples(rows: number, seed: number, orders = true): Samples {
  const next = random(seed);
  const { user: userBias, poi: poiBias, scene: sceneBias } = syntheticBiases();
  const samples: Samples = {
    rows,
    categorical: new Int32Array(3 * rows),
    dense: new Float32Array(rows),
    scene: new Int32Array(SCENES.length * rows),
    sequences: [new Int32Array(4 * rows)],
    user: new Int32Array(rows),
    poi: new Int32Array(rows),
    click: new Float32Array(rows),
    order: orders ? new Float32Array(rows) : null,
    rowId: BigInt64Array.from({ length: rows }, (_, i) => BigInt(i)),
  };
  for (let r = 0; r < rows; r++) {
    const user = Math.floor(next() * USERS);
    const poi = Math.floor(next() * POIS);
    const district = Math.floor(next() * 5);
    const price = 2 + (next() - 0.5);
    samples.user[r] = user;
    samples.poi[r] = poi;
    // the last two POIs and the last user are unseen in training: index 0
    samples.categorical[r] = user >= USERS - 1 ? 0 : user + 1;
    samples.categorical[rows + r] = poi >= POIS - 2 ? 0 : poi + 1;
    samples.categorical[2 * rows + r] = district;
    samples.dense[r] = price;
    let logit = 1.2 * userBias[user]! + 1.5 * poiBias[poi]! + (district === 2 ? 0.8 : -0.2);
    SCENES.forEach(([, texts], f) => {
      const text = Math.floor(next() * texts.length);
      samples.scene[f * rows + r] = text;
      if (text > 0) logit += 1.2 * sceneBias[f]![text]!;
    });
    for (let i = 0; i < 4; i++) samples.sequences[0]![4 * r + i] = next() < 0.3 ? 0 : 1 + Math.floor(next() * POIS);
    const click = next() < 1 / (1 + Math.exp(-logit)) ? 1 : 0;
    samples.click[r] = click;
    if (samples.order) samples.order[r] = click === 1 && next() < 1 / (1 + Math.exp(2 * (price - 2))) ? 1 : 0;
  }
  return samples;
}

/** Data as `loadTrainingData` gives them, without files. */
export function syntheticData(options: { rows?: number; orders?: boolean; seed?: number } = {}): TrainingData {
  const { rows = 1200, orders = true, seed = 5 } = options;
  const { split, manifest } = syntheticSplit(orders);
  const inputs = modelInputs(split, orders, manifest.pois);
  const part = (count: number, offset: number) => {
    const samples = syntheticSamples(count, seed + offset, orders);
    return { samples, part: ResidentPart.from(samples, inputs, 'cpu') };
  };
  const train = part(rows, 0);
  const validation = part(500, 1);
  const test = part(500, 2);
  return {
    dataset: {
      directory: 'synthetic',
      manifest,
      split,
      splitName: 'random',
      poiIndices: async () => Int32Array.from({ length: POIS }, (_, poi) => (poi >= POIS - 2 ? 0 : poi + 1)),
    } as Partial<Dataset> as Dataset,
    inputs,
    device: 'cpu',
    train: train.part,
    validation,
    // one user in three is away from home
    test: { ...test, travelling: Uint8Array.from(test.samples.user, (user) => (user % 3 === 0 ? 1 : 0)) },
    dispose: () => {
      for (const held of [train, validation, test]) held.part.dispose();
    },
  };
}

/** A vectors directory as `larr embed` writes it, with random vectors of width d. */
export function syntheticVectors(inputs: ModelInputs, split: SplitManifest, d: number): string {
  const dir = join(temporaryDirectory(), 'vectors');
  mkdirSync(dir);
  const names = split.scene.flatMap(({ field, texts }) => texts.slice(1).map((text) => ({ field, text })));
  writeFileSync(join(dir, 'scene.json'), JSON.stringify(names));
  const manifest = {
    format: 'larr-vectors',
    version: 3,
    dataset: '0'.repeat(64),
    split: 'random',
    model: 'm',
    finetuned: null,
    dimension: d,
  };
  writeFileSync(join(dir, 'vectors.json'), JSON.stringify(manifest));
  tidy(() => {
    manualSeed(3);
    saveSafetensors(join(dir, 'scene.safetensors'), { embeddings: randn([names.length, d]) }, { model: 'm' });
    saveSafetensors(join(dir, 'pois.safetensors'), { embeddings: randn([inputs.pois, d]) }, { model: 'm' });
  });
  return dir;
}

export function temporaryDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'larr-trainer-'));
}

/** Small networks for quick tests. */
export const tinyConfig = {
  embeddingDim: 8,
  hidden: [16],
  ple: { levels: [[16, 8], [8]], sharedExperts: 1, taskExperts: 2, tower: [8] },
  larr: { vectorDim: 16, heads: 2, ffn: 32, headHidden: 16 },
  batchSize: 128,
  learningRate: 5e-3,
  schedule: 'constant',
} as const;
