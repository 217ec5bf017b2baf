import type { SentencePieceModel } from './model-file.js';

/** What stands for a blank in pieces: U+2581. */
export const BLANK = '\u2581';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const blankBytes = encoder.encode(BLANK);
const SPACE = 0x20;

/**
 * A normaliser as SentencePiece runs it: characters replaced by the model's precompiled map (longest match; NFKC and more, where
 * the model was trained so), blanks folded and escaped, a blank put before the text. User-defined symbols are left as they are.
 */
export function makeNormaliser(model: SentencePieceModel): (text: string) => string {
  const { addDummyPrefix, removeExtraWhitespace, escapeWhitespace, charactersMap } = model.normaliser;
  const replace = charactersMap.length === 0 ? () => null : characterReplacer(charactersMap);
  const symbolAt = prefixMatcher(
    model.pieces.flatMap(({ type, text }) => (type === 'user-defined' ? [encoder.encode(text)] : [])),
  );
  const blank = escapeWhitespace ? blankBytes : Uint8Array.of(SPACE);
  return (text) => {
    const input = encoder.encode(text);
    const out = new Bytes(input.length + 8);
    /** What stands at `at`, normalised, and how much of the input it takes. */
    const next = (at: number): { bytes: Uint8Array; length: number } => {
      const symbol = symbolAt(input, at);
      if (symbol > 0) return { bytes: input.subarray(at, at + symbol), length: symbol };
      const replaced = replace(input, at);
      if (replaced !== null) return replaced;
      const length = Math.min(characterLength(input[at]!), input.length - at);
      return { bytes: input.subarray(at, at + length), length };
    };
    let at = 0;
    if (removeExtraWhitespace) {
      while (at < input.length) {
        const { bytes, length } = next(at);
        if (!(bytes.length === 1 && bytes[0] === SPACE)) break;
        at += length;
      }
    }
    if (at >= input.length) return '';
    if (!model.whitespaceAsSuffix && addDummyPrefix) out.push(blank);
    let afterBlank = removeExtraWhitespace;
    while (at < input.length) {
      const { bytes, length } = next(at);
      let from = 0;
      while (afterBlank && bytes[from] === SPACE) from++;
      for (let i = from; i < bytes.length; i++) {
        if (bytes[i] === SPACE) out.push(blank);
        else out.add(bytes[i]!);
      }
      if (from < bytes.length) afterBlank = bytes[bytes.length - 1] === SPACE;
      if (!removeExtraWhitespace) afterBlank = false;
      at += length;
    }
    if (removeExtraWhitespace) while (out.endsWith(blank)) out.length -= blank.length;
    if (model.whitespaceAsSuffix && addDummyPrefix) out.push(blank);
    return decoder.decode(out.bytes.subarray(0, out.length));
  };
}

/** Bytes that grow. */
class Bytes {
  length = 0;
  bytes: Uint8Array;
  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
  }
  add(byte: number): void {
    if (this.length === this.bytes.length) {
      const grown = new Uint8Array(2 * this.bytes.length + 16);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes[this.length++] = byte;
  }
  push(some: Uint8Array): void {
    for (const byte of some) this.add(byte);
  }
  endsWith(some: Uint8Array): boolean {
    return this.length >= some.length && some.every((byte, i) => this.bytes[this.length - some.length + i] === byte);
  }
}

/** Bytes of the UTF-8 character that begins with `byte`. */
function characterLength(byte: number): number {
  if (byte < 0xc0) return 1;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}

/** Length of the longest of `symbols` at a place; 0 where there is none. */
function prefixMatcher(symbols: readonly Uint8Array[]): (input: Uint8Array, at: number) => number {
  const byFirst = new Map<number, Uint8Array[]>();
  for (const symbol of [...symbols].sort((a, b) => b.length - a.length)) {
    if (symbol.length > 0) byFirst.set(symbol[0]!, [...(byFirst.get(symbol[0]!) ?? []), symbol]);
  }
  return (input, at) =>
    byFirst.get(input[at]!)?.find((symbol) => symbol.every((byte, i) => input[at + i] === byte))?.length ?? 0;
}

/**
 * The map of replacements: 4 bytes with the trie's size, the trie (a double array of Darts-clone, 32-bit units), then the
 * replacements, each ended by a zero byte; a leaf's value is where its replacement begins.
 */
function characterReplacer(
  map: Uint8Array,
): (input: Uint8Array, at: number) => { bytes: Uint8Array; length: number } | null {
  const view = new DataView(map.buffer, map.byteOffset, map.byteLength);
  const trieBytes = map.length < 4 ? 0 : view.getUint32(0, true);
  if (trieBytes === 0 || 4 + trieBytes > map.length) throw new RangeError('the map of characters is damaged');
  const units = Uint32Array.from({ length: trieBytes >> 2 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const results = map.subarray(4 + trieBytes);
  const offset = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6);
  return (input, at) => {
    let node = offset(units[0]!);
    let length = 0;
    let value = 0;
    for (let i = at; i < input.length; i++) {
      node ^= input[i]!;
      const unit = units[node];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== input[i]) break;
      node ^= offset(unit);
      if ((unit >>> 8) & 1) {
        length = i + 1 - at;
        value = units[node]! & 0x7fffffff;
      }
    }
    if (length === 0) return null;
    let end = value;
    while (end < results.length && results[end] !== 0) end++;
    return { bytes: results.subarray(value, end), length };
  };
}
