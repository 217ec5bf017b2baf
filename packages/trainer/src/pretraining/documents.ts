import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DataError, type Dataset, type KeywordText } from '@larr/core';
import { draws, shuffled } from '../language-model/draws.js';
import { requireRoomForFile } from '../language-model/heap-room.js';
import type { Tokenizer } from '../language-model/tokenizer.js';

/** A text to learn: token ids, of which the first `prompt` are given and not learnt. */
export interface Document {
  ids: Int32Array;
  prompt: number;
}

/** Documents by number. */
export interface DocumentList {
  readonly length: number;
  at(number: number): Document | undefined;
}

/** Tokens that are laid out in one piece of memory. */
const TOKENS_TOGETHER = 1 << 20;

/** Documents that lie one behind another, 4 bytes a token and 32 a document: an object for each would be some 200. */
export class StoredDocuments implements DocumentList {
  readonly #pieces: Int32Array[] = [];
  /** Of each document: its piece, where it begins and ends there, and its prompt. */
  readonly #piece: number[] = [];
  readonly #start: number[] = [];
  readonly #end: number[] = [];
  readonly #prompt: number[] = [];
  #used = 0;

  get length(): number {
    return this.#start.length;
  }

  push({ ids, prompt }: Document): void {
    if (this.#pieces.length === 0 || this.#used + ids.length > this.#pieces.at(-1)!.length) {
      this.#pieces.push(new Int32Array(Math.max(TOKENS_TOGETHER, ids.length)));
      this.#used = 0;
    }
    this.#pieces.at(-1)!.set(ids, this.#used);
    this.#piece.push(this.#pieces.length - 1);
    this.#start.push(this.#used);
    this.#used += ids.length;
    this.#end.push(this.#used);
    this.#prompt.push(prompt);
  }

  at(number: number): Document | undefined {
    const start = this.#start[number];
    if (start === undefined) return undefined;
    return {
      ids: this.#pieces[this.#piece[number]!]!.subarray(start, this.#end[number]),
      prompt: this.#prompt[number]!,
    };
  }

  *[Symbol.iterator](): Generator<Document> {
    for (let i = 0; i < this.length; i++) yield this.at(i)!;
  }
}

/** The keywords of `keywords` that `names` lists, in the order of `names`. */
export function pickKeywords(keywords: readonly KeywordText[], names: readonly string[]): KeywordText[] {
  return names.flatMap((name) => keywords.filter((k) => k.keyword === name));
}

/**
 * The domain corpus (eq. 5–6): of each POI `x` = wrapped name ⊕ wrapped location, `y` = its other wrapped keywords, then
 * the end token. POIs without any `y` teach nothing and are left out.
 * @returns the documents, and how many were cut to the context length
 */
export function domainDocuments(
  pois: readonly KeywordText[][],
  templates: Dataset['manifest']['texts'],
  tokenizer: Tokenizer,
  contextLength: number,
): { documents: StoredDocuments; truncated: number } {
  const documents = new StoredDocuments();
  let truncated = 0;
  for (const keywords of pois) {
    const x = pickKeywords(keywords, templates.cptInput);
    const y = pickKeywords(keywords, templates.cptTarget);
    if (y.length === 0) continue;
    const start = tokenizer.bosId === null ? [] : [tokenizer.bosId];
    const given = tokenizer.encodeWrapped(x);
    const learnt = tokenizer.encodeWrapped(y);
    const end = tokenizer.eosId === null ? [] : [tokenizer.eosId];
    const ids = Int32Array.from([...start, ...given, ...learnt, ...end]);
    if (ids.length > contextLength) truncated++;
    const prompt = start.length + given.length;
    // A document whose prompt fills the context has nothing left to learn.
    if (Math.min(ids.length, contextLength) > Math.max(prompt, 1))
      documents.push({ ids: ids.subarray(0, contextLength), prompt });
  }
  return { documents, truncated };
}

/** General text, learnt on every token; a text longer than the context becomes several documents. */
export function generalDocuments(
  texts: readonly string[],
  tokenizer: Tokenizer,
  contextLength: number,
): StoredDocuments {
  const documents = new StoredDocuments();
  for (const text of texts) {
    const start = tokenizer.bosId === null ? [] : [tokenizer.bosId];
    const end = tokenizer.eosId === null ? [] : [tokenizer.eosId];
    const ids = Int32Array.from([...start, ...tokenizer.encode(text), ...end]);
    for (let at = 0; at < ids.length - 1; at += contextLength) {
      const piece = ids.subarray(at, at + contextLength);
      if (piece.length > 1) documents.push({ ids: piece, prompt: 0 });
    }
  }
  return documents;
}

/**
 * The texts of a JSON-lines file with a `text` field each; empty where the file does not exist.
 * @throws DataError `BAD_CORPUS` naming file and line; `TOO_MANY_TEXTS`
 */
export async function readGeneralCorpus(datasetDirectory: string): Promise<string[]> {
  const path = join(datasetDirectory, 'corpus', 'general.jsonl');
  requireRoomForFile(path);
  const texts: string[] = [];
  for await (const { line, number } of corpusLines(path)) {
    if (typeof line.text !== 'string') throw new DataError('BAD_CORPUS', `${path}, line ${number}: no "text".`);
    texts.push(line.text);
  }
  return texts;
}

/** The objects of a JSON-lines file, blank lines left out; empty where it does not exist. */
export async function readCorpusLines(path: string): Promise<Record<string, unknown>[]> {
  const out: Record<string, unknown>[] = [];
  for await (const { line } of corpusLines(path)) out.push(line);
  return out;
}

/** The lines that are not blank, one after another, and their numbers, from 1. */
async function* corpusLines(path: string): AsyncGenerator<{ line: Record<string, unknown>; number: number }> {
  if (!existsSync(path)) return;
  let number = 0;
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
    number++;
    if (line.trim() === '') continue;
    let parsed: Record<string, unknown>;
    try {
      parsed = JSON.parse(line) as Record<string, unknown>;
    } catch (error) {
      throw new DataError('BAD_CORPUS', `${path}, line ${number}, is not JSON: ${(error as Error).message}`);
    }
    yield { line: parsed, number };
  }
}

/** Splits off `count` documents (at most a tenth) that training never sees; which ones, the seed decides. */
export function holdOut(
  documents: DocumentList,
  count: number,
  seed: number,
  stream: string,
): { train: DocumentList; heldOut: Document[] } {
  const order = shuffled(documents.length, draws(seed, `held out ${stream}`));
  const kept = Math.min(count, Math.floor(documents.length / 10));
  return {
    heldOut: Array.from(order.subarray(0, kept), (i) => documents.at(i)!),
    train: { length: order.length - kept, at: (i) => documents.at(order[kept + i]!) },
  };
}

/** How far a stream of documents was read. */
export interface StreamCursor {
  epoch: number;
  next: number;
}

/** Gives documents without end, each epoch in an order of its own. */
export function documentStream(documents: DocumentList, seed: number, name: string) {
  let epoch = -1;
  let order: Int32Array = new Int32Array(0);
  return (cursor: StreamCursor): Document => {
    if (cursor.next >= documents.length) {
      cursor.epoch++;
      cursor.next = 0;
    }
    if (cursor.epoch !== epoch) {
      epoch = cursor.epoch;
      order = shuffled(documents.length, draws(seed, `order ${name}`, epoch));
    }
    return documents.at(order[cursor.next++]!)!;
  };
}
