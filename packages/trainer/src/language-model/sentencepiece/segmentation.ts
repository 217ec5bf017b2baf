import type { SentencePieceModel } from './model-file.js';

/** A part of the normalised text and its id. */
export interface Segment {
  text: string;
  id: number;
}

/** Cuts normalised text into pieces. */
export type Segmenter = (normalised: string) => Segment[];

export function makeSegmenter(model: SentencePieceModel): Segmenter {
  return model.kind === 'unigram' ? unigram(model) : bytePairs(model);
}

/** Ids of the pieces that segmentation may make, by their text. */
function segmentable({ pieces }: SentencePieceModel): Map<string, number> {
  const taken = new Set(['normal', 'user-defined', 'unused']);
  return new Map(pieces.flatMap(({ text, type }, id) => (taken.has(type) ? [[text, id] as const] : [])));
}

/** How much worse than the worst piece an unknown character is. */
const UNKNOWN_PENALTY = 10;
/** What each byte of a user-defined symbol after its first is worth (SentencePiece 0.2.2). */
const SYMBOL_BONUS = 0.1;

/** Scores of a unigram model's pieces: a user-defined symbol's, which has none that was learnt, is such that it is always taken. */
export function scoresOf({ pieces }: SentencePieceModel): number[] {
  const utf8 = new TextEncoder();
  return pieces.map(({ text, type, score }) =>
    type === 'user-defined' ? SYMBOL_BONUS * (utf8.encode(text).length - 1) : score,
  );
}

/**
 * Unigram (Kudo 2018): the segmentation of the greatest sum of scores, by dynamic programming. Scores and sums are f32 as in the
 * reference implementation, each sum rounded before it is compared, so that ties and near ties fall as they do there.
 */
function unigram(model: SentencePieceModel): Segmenter {
  const { pieces, unknownId } = model;
  const worst = pieces.reduce((a, { type, score }) => (type === 'normal' ? Math.min(a, score) : a), Number.MAX_VALUE);
  const unknownScore = Math.fround(worst - UNKNOWN_PENALTY);
  const trie = new Trie(segmentable(model));
  const scores = Float32Array.from(scoresOf(model));
  return (text) => {
    const size = text.length;
    const score = new Float32Array(size + 1);
    const from = new Int32Array(size + 1).fill(-1);
    const ids = new Int32Array(size + 1);
    for (let start = 0; start < size; ) {
      const character = text.codePointAt(start)! > 0xffff ? 2 : 1;
      let alone = false;
      let node = 0;
      for (let end = start; end < size; ) {
        node = trie.child(node, text.charCodeAt(end++));
        if (node < 0) break;
        const id = trie.id(node);
        if (id < 0 || pieces[id]!.type === 'unused') continue;
        const candidate = Math.fround(scores[id]! + score[start]!);
        if (from[end] === -1 || candidate > score[end]!) {
          score[end] = candidate;
          from[end] = start;
          ids[end] = id;
        }
        alone ||= end - start === character;
      }
      if (!alone) {
        const end = start + character;
        const candidate = Math.fround(unknownScore + score[start]!);
        if (from[end] === -1 || candidate > score[end]!) {
          score[end] = candidate;
          from[end] = start;
          ids[end] = unknownId;
        }
      }
      start += character;
    }
    const segments: Segment[] = [];
    for (let end = size; end > 0; end = from[end]!) segments.push({ text: text.slice(from[end]!, end), id: ids[end]! });
    return segments.reverse();
  };
}

/** Pieces by their UTF-16 units. */
class Trie {
  readonly #children = new Map<number, number>();
  readonly #ids: number[] = [-1];

  constructor(pieces: ReadonlyMap<string, number>) {
    for (const [text, id] of pieces) {
      let node = 0;
      for (let i = 0; i < text.length; i++) {
        const key = node * 65536 + text.charCodeAt(i);
        let next = this.#children.get(key);
        if (next === undefined) {
          next = this.#ids.push(-1) - 1;
          this.#children.set(key, next);
        }
        node = next;
      }
      this.#ids[node] = id;
    }
  }

  /** -1 where there is none. */
  child(node: number, unit: number): number {
    return this.#children.get(node * 65536 + unit) ?? -1;
  }

  /** The piece that ends here; -1 where none does. */
  id(node: number): number {
    return this.#ids[node]!;
  }
}

/**
 * BPE (Sennrich et al. 2016) as SentencePiece has it: again and again the neighbours whose joined piece has the greatest score are
 * joined, the leftmost of equals first. User-defined symbols stand apart; a piece that is unused falls back into its halves.
 */
function bytePairs(model: SentencePieceModel): Segmenter {
  const { pieces, unknownId } = model;
  const known = segmentable(model);
  const reserved = new Map(pieces.flatMap(({ text }, id) => (known.has(text) ? [] : [[text, id] as const])));
  const idOf = (text: string) => reserved.get(text) ?? known.get(text) ?? unknownId;
  const symbols = pieces
    .flatMap(({ text, type }) => (type === 'user-defined' && text !== '' ? [text] : []))
    .sort((a, b) => b.length - a.length);
  const byFirst = new Map<string, string[]>();
  for (const symbol of symbols) byFirst.set(symbol[0]!, [...(byFirst.get(symbol[0]!) ?? []), symbol]);

  return (text) => {
    const parts: string[] = [];
    const frozen: boolean[] = [];
    for (let at = 0; at < text.length; ) {
      const symbol = byFirst.get(text[at]!)?.find((one) => text.startsWith(one, at));
      const part = symbol ?? String.fromCodePoint(text.codePointAt(at)!);
      parts.push(part);
      frozen.push(symbol !== undefined);
      at += part.length;
    }
    const before = Int32Array.from(parts, (_, i) => i - 1);
    const after = Int32Array.from(parts, (_, i) => (i + 1 < parts.length ? i + 1 : -1));
    const agenda = new Agenda();
    const halves = new Map<string, [string, string]>();
    const consider = (left: number, right: number) => {
      if (left < 0 || right < 0 || frozen[left] || frozen[right]) return;
      const joined = parts[left]! + parts[right]!;
      const id = known.get(joined);
      if (id === undefined) return;
      agenda.push({ left, right, score: pieces[id]!.score, length: joined.length });
      if (pieces[id]!.type === 'unused') halves.set(joined, [parts[left]!, parts[right]!]);
    };
    for (let i = 0; i + 1 < parts.length; i++) consider(i, i + 1);
    for (let top = agenda.pop(); top !== undefined; top = agenda.pop()) {
      const { left, right, length } = top;
      // One of the two has been joined with another neighbour since.
      if (parts[left] === '' || parts[right] === '' || parts[left]!.length + parts[right]!.length !== length) continue;
      parts[left] += parts[right]!;
      parts[right] = '';
      after[left] = after[right]!;
      if (after[right]! >= 0) before[after[right]!] = left;
      consider(before[left]!, left);
      consider(left, after[left]!);
    }
    const segments: Segment[] = [];
    const put = (part: string): void => {
      const id = idOf(part);
      const apart = pieces[id]!.type === 'unused' ? halves.get(part) : undefined;
      if (apart === undefined) segments.push({ text: part, id });
      else apart.forEach(put);
    };
    if (parts.length > 0) for (let i = 0; i >= 0; i = after[i]!) put(parts[i]!);
    return segments;
  };
}

interface Joining {
  left: number;
  right: number;
  score: number;
  length: number;
}

/** A binary heap of joinings: the greatest score first, of equals the leftmost. */
class Agenda {
  readonly #heap: Joining[] = [];

  push(one: Joining): void {
    const heap = this.#heap;
    let i = heap.length;
    heap.push(one);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!precedes(one, heap[parent]!)) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = one;
  }

  pop(): Joining | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && precedes(heap[child + 1]!, heap[child]!)) child++;
      if (!precedes(heap[child]!, last)) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return top;
  }
}

function precedes(a: Joining, b: Joining): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}
