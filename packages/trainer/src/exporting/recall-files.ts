import { join } from 'node:path';
import {
  type BundleFile,
  DataError,
  type Dataset,
  encodeSafetensors,
  isHan,
  type KeywordText,
  readSafetensors,
  unitsOf,
} from '@larr/core';
import { centreAndNormalise, type Rows } from '../embedding/centring.js';
import { COMMON_SHARE, FEWEST_POIS, LARGEST_SHARE, notePhrases, phrasesIn } from '../embedding/phrase-index.js';
import { checkVectors } from '../embedding/vectors-manifest.js';
import { GraphWriter } from './onnx/graph.js';

/** POIs whose texts terms are taken from: more would say the same again. */
const SAMPLED_POIS = 50_000;
/** Terms that a bundle carries at most, the most frequent ones. */
const MOST_TERMS = 20_000;

/** What recall searches with, and how much of it. */
export interface RecallFiles {
  files: Record<string, BundleFile>;
  pois: number;
  terms: number;
}

/**
 * What a server needs to find POIs without a language model: every POI's stage-2 vector; the vectors of scene keywords; and for terms of
 * POIs' texts the mean vector of the POIs that have them. The mean of all POIs is taken off first, and of each scene field its own, since what all share
 * tells nothing apart (method.md, section 7); rows are unit vectors, so a product is a cosine. A POI without a text has zeros.
 * @param vectors what `larr embed` wrote for this dataset and split
 * @throws DataError those of checkVectors
 */
export async function recallFiles(dataset: Dataset, vectors: string): Promise<RecallFiles> {
  await checkVectors(vectors, dataset);
  const pois = await embeddings(join(vectors, 'pois.safetensors'));
  if (pois.shape[0] !== dataset.manifest.pois)
    throw new DataError(
      'VECTORS_MISMATCH',
      `${vectors} has vectors of ${pois.shape[0]} POIs, and the dataset has ${dataset.manifest.pois}: run "larr embed" again`,
    );
  centreAndNormalise(pois);
  const texts = await dataset.poiTexts();
  const terms = termVectors(texts, pois);
  const scene = await embeddings(join(vectors, 'scene.safetensors'));
  const fields = dataset.split.scene.map(({ field, texts: all }) => ({
    field,
    texts: all.filter((text) => text !== ''),
  }));
  let at = 0;
  for (const { texts: own } of fields) {
    centreAndNormalise(rowsOf(scene, at, at + own.length));
    at += own.length;
  }
  return {
    files: {
      'recall/pois.safetensors': encodeSafetensors({ vectors: pois }),
      'recall/terms.safetensors': encodeSafetensors({ terms: terms.vectors, scene }),
      'recall/terms.json': `${JSON.stringify({ poi: terms.fields, common: terms.common, scene: fields })}\n`,
      'recall/search.onnx': searchGraph(pois.shape[1]),
    },
    pois: pois.shape[0],
    terms: terms.fields.reduce((sum, { terms: own }) => sum + own.length, 0),
  };
}

/** cosines [POIs] = vectors [POIs, d] · query [d, 1] */
function searchGraph(d: number): Uint8Array {
  const graph = new GraphWriter();
  const vectors = graph.input('vectors', 'f32', ['pois', d]);
  const query = graph.input('query', 'f32', [d, 1]);
  graph.output('similarities', graph.squeeze(graph.matmul(vectors, query), 1), ['pois']);
  return graph.encode('larr-recall');
}

async function embeddings(file: string): Promise<Rows> {
  const { tensors } = await readSafetensors(file);
  const table = tensors.embeddings;
  if (table === undefined || table.dtype !== 'F32' || table.shape.length !== 2)
    throw new DataError('BAD_VECTORS', `${file} has no f32 table "embeddings". Run embed again.`);
  // the file's own bytes stay as they are
  return { data: (table.data as Float32Array).slice(), shape: [table.shape[0]!, table.shape[1]!] };
}

const rowsOf = ({ data, shape: [, d] }: Rows, from: number, to: number): Rows => ({
  data: data.subarray(from * d, to * d),
  shape: [to - from, d],
});

/** Terms of the texts of one keyword. */
interface FieldTerms {
  field: string;
  terms: string[];
}

/** A term, and the POIs that have it. */
interface Term {
  field: string;
  term: string;
  having: number[];
}

/** Terms of each keyword's texts, and the unit vector of the mean of the POIs that have each; the words that are too common behind the others. */
export function termVectors(
  texts: readonly (readonly KeywordText[])[],
  pois: Rows,
): { vectors: Rows; fields: FieldTerms[]; common: FieldTerms[] } {
  const d = pois.shape[1];
  const step = Math.max(1, Math.ceil(texts.length / SAMPLED_POIS));
  const sampled = texts.map((keywords, poi) => ({ keywords, poi })).filter(({ poi }) => poi % step === 0);
  const byField = new Map<string, Map<string, number[]>>();
  // words written with hyphens, which are one whatever their parts are
  const joined = new Set<string>();
  for (const { keywords, poi } of sampled) {
    for (const { keyword, text } of keywords) {
      let terms = byField.get(keyword);
      if (terms === undefined) {
        terms = new Map();
        byField.set(keyword, terms);
      }
      const units = unitsOf(text);
      for (const unit of units) if (unit.length > 1) joined.add(unit.join(' '));
      notePhrases(terms, poi, phrasesIn(units.flat()));
    }
  }
  const most = LARGEST_SHARE * sampled.length;
  const common = new Set(
    [...byField.values()].flatMap((terms) => [...terms].flatMap(([term, { length }]) => (length > most ? [term] : []))),
  );
  // "hotpot in" says no more than "hotpot"
  const ofItself = (term: string): boolean => {
    if (joined.has(term)) return true;
    if (!isHan(term) && [...term].length === 1) return false;
    const words = term.split(' ');
    return !common.has(words[0]!) && !common.has(words.at(-1)!);
  };
  const kept = [...byField].flatMap(([field, terms]) =>
    [...terms].flatMap(([term, having]) =>
      having.length >= FEWEST_POIS && having.length <= most && ofItself(term) ? [{ field, term, having }] : [],
    ),
  );
  kept.sort((a, b) => b.having.length - a.having.length || (a.term < b.term ? -1 : 1));
  kept.length = Math.min(kept.length, MOST_TERMS);
  // of phrases of such words it is enough to know the words
  const tooCommon = [...byField].flatMap(([field, terms]) =>
    [...terms].flatMap(([term, having]) =>
      having.length > most && (!term.includes(' ') || joined.has(term)) ? [{ field, term, having }] : [],
    ),
  );
  const grouped = (terms: readonly Term[]): { field: string; terms: Term[] }[] =>
    [...byField.keys()].map((field) => ({ field, terms: terms.filter((one) => one.field === field) }));
  const [fields, frequent] = [grouped(kept), grouped(tooCommon)];
  const named = (some: typeof fields): FieldTerms[] =>
    some.map(({ field, terms }) => ({ field, terms: terms.map(({ term }) => term) }));
  const data = new Float32Array((kept.length + tooCommon.length) * d);
  let at = 0;
  for (const { having } of [...fields, ...frequent].flatMap(({ terms }) => terms)) {
    const own = data.subarray(at, at + d);
    at += d;
    // the mean of nearly all is nothing but rounding
    if (having.length > COMMON_SHARE * sampled.length) continue;
    for (const poi of having) for (let i = 0; i < d; i++) own[i]! += pois.data[poi * d + i]!;
    const length = Math.hypot(...own);
    if (length > 0) for (let i = 0; i < d; i++) own[i]! /= length;
  }
  return {
    vectors: { data, shape: [kept.length + tooCommon.length, d] },
    fields: named(fields),
    common: named(frequent),
  };
}
