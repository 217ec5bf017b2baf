import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { UsageError, writeFileAtomic } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';
import type { Similarity } from './embedder.js';
import { nearest, type PoiIndex, type RecallHit } from './recall.js';

/** An HNSW graph (Malkov and Yashunin 2016) over POI vectors: finds nearly all of the nearest in a fraction of exact search's time. */
export interface NearestIndex {
  search(vector: Float32Array, k: number): RecallHit[];
  /** `shareFound` when it was built. */
  recallAt10: number;
  pois: number;
}

export interface BuildOptions {
  seed: number;
  threads: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** usearch's name of each similarity, and the similarity that its distance stands for. */
const metrics = {
  cosine: { kind: 'cos', of: (distance: number) => 1 - distance },
  dot: { kind: 'ip', of: (distance: number) => 1 - distance },
  distance: { kind: 'l2sq', of: (distance: number) => -distance },
} as const satisfies Record<Similarity, unknown>;

/** Neighbours kept of each vector, and candidates looked at when one is added and when one is looked for. */
const GRAPH = { connectivity: 16, expansion_add: 128, expansion_search: 96 };
/** POIs asked for their neighbours to tell what the graph misses. */
const ASKED = 200;
/** Vectors added between looks at the signal. */
const ADDED_AT_ONCE = 5000;

const FILE = 'pois.usearch';
const DESCRIPTION = 'pois.usearch.json';

interface Description {
  format: 'larr-nearest-index';
  version: 2;
  /** Of the vectors, the similarity and the graph's settings. */
  identity: string;
  recallAt10: number;
  pois: number;
}

/**
 * The index of a vectors directory: the one that is kept there where it is of these vectors, else built and kept. POIs without a
 * text are not in it.
 * @throws UsageError `NO_NEAREST_INDEX` where the library has no build for this system
 */
export async function openNearestIndex(
  vectors: string,
  index: PoiIndex,
  similarity: Similarity,
  { seed, threads, signal, onProgress }: BuildOptions,
): Promise<NearestIndex> {
  const { Index } = await library();
  const { kind, of } = metrics[similarity];
  const { dimension, pois } = index;
  const empty = new Index({
    dimensions: dimension,
    metric: kind as never,
    quantization: 'f32' as never,
    multi: false,
    ...GRAPH,
  });
  const graph = {
    search(vector: Float32Array, k: number): RecallHit[] {
      const { keys, distances } = empty.search(vector, Math.min(k, empty.size()), threads);
      return Array.from(keys, (poi, i) => ({ poi: Number(poi), similarity: of(distances[i]!) }));
    },
  };
  const path = join(vectors, FILE);
  const hash = createHash('sha256').update(JSON.stringify([kind, GRAPH]));
  await pipeline(createReadStream(join(vectors, 'pois.safetensors'), { highWaterMark: 1 << 20 }), hash, { end: false });
  const identity = hash.digest('hex');
  const kept = await readDescription(join(vectors, DESCRIPTION));
  if (kept?.identity === identity && existsSync(path)) {
    empty.view(path);
    return { ...graph, recallAt10: kept.recallAt10, pois };
  }
  const present = rowsWithText(index);
  for (let at = 0; at < present.length; at += ADDED_AT_ONCE) {
    signal?.throwIfAborted();
    const some = present.subarray(at, at + ADDED_AT_ONCE);
    const rows = new Float32Array(some.length * dimension);
    some.forEach((poi, i) => {
      rows.set(index.vectors.subarray(poi * dimension, (poi + 1) * dimension), i * dimension);
    });
    empty.add(BigUint64Array.from(some, BigInt), rows, threads);
    onProgress?.(at + some.length, present.length);
    await new Promise(setImmediate);
  }
  const recallAt10 = shareFound(graph, index, present, similarity, seed);
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    empty.save(temporary);
    await rm(join(vectors, DESCRIPTION), { force: true }); // Never a description of another graph.
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
  const description: Description = {
    format: 'larr-nearest-index',
    version: 2,
    identity,
    recallAt10,
    pois: present.length,
  };
  await writeFileAtomic(join(vectors, DESCRIPTION), `${JSON.stringify(description, null, 2)}\n`);
  return { ...graph, recallAt10, pois };
}

/** Numbers of the POIs that have a vector. */
function rowsWithText({ vectors, pois, dimension }: PoiIndex): Int32Array {
  const rows: number[] = [];
  for (let poi = 0; poi < pois; poi++) {
    for (let i = poi * dimension; i < (poi + 1) * dimension; i++) {
      if (vectors[i] === 0) continue;
      rows.push(poi);
      break;
    }
  }
  return Int32Array.from(rows);
}

/** The share of the ten nearest others, by exact search, that a graph finds: of some POIs that the seed draws from `present`. */
export function shareFound(
  graph: Pick<NearestIndex, 'search'>,
  index: PoiIndex,
  present: Int32Array,
  similarity: Similarity,
  seed: number,
): number {
  let found = 0;
  let wanted = 0;
  for (const i of shuffled(present.length, draws(seed, 'asked of the index')).subarray(0, ASKED)) {
    const asked = present[i]!;
    const vector = index.vectors.slice(asked * index.dimension, (asked + 1) * index.dimension);
    // The POI itself is found by every graph.
    const others = (hits: RecallHit[]) => hits.flatMap(({ poi }) => (poi === asked ? [] : [poi])).slice(0, 10);
    const exact = others(nearest(vector, index, 11, similarity));
    const got = new Set(others(graph.search(vector, 11)));
    found += exact.filter((poi) => got.has(poi)).length;
    wanted += exact.length;
  }
  return wanted === 0 ? 1 : found / wanted;
}

async function library(): Promise<typeof import('usearch')> {
  try {
    return await import('usearch');
  } catch (cause) {
    throw new UsageError(
      'NO_NEAREST_INDEX',
      `The library of HNSW indexes (usearch) cannot be loaded on this system: ${(cause as Error).message}. Search with --index exact.`,
      { cause },
    );
  }
}

async function readDescription(path: string): Promise<Description | null> {
  try {
    const found = JSON.parse(await readFile(path, 'utf8')) as Description;
    return found.format === 'larr-nearest-index' && found.version === 2 ? found : null;
  } catch {
    return null;
  }
}
