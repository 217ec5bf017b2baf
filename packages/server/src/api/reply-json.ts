import type { RankedPoi } from './contracts/index.js';

/**
 * Writes replies with hundreds of candidates as bytes. One object after another through a general serialiser is what most of such an
 * answer's time would go to: here ids are copied, and probabilities written with the nine digits that a 32-bit number has.
 */
export class JsonWriter {
  #bytes = Buffer.allocUnsafe(1 << 16);
  #at = 0;

  /** What was written since the last time. */
  take(): Buffer {
    const taken = Buffer.from(this.#bytes.subarray(0, this.#at));
    this.#at = 0;
    return taken;
  }

  /** Text that is JSON already. */
  raw(json: string): void {
    this.#reserve(3 * json.length);
    this.#at += this.#bytes.write(json, this.#at, 'utf8');
  }

  /** Bytes that are JSON already: for the pieces that come with every candidate. */
  piece(json: Uint8Array): void {
    this.#reserve(json.length);
    const bytes = this.#bytes;
    const at = this.#at;
    for (let i = 0; i < json.length; i++) bytes[at + i] = json[i]!;
    this.#at = at + json.length;
  }

  string(text: string): void {
    const { length } = text;
    this.#reserve(length + 2);
    const bytes = this.#bytes;
    const start = this.#at;
    let at = start;
    bytes[at++] = QUOTE;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x20 || code > 0x7e || code === QUOTE || code === BACKSLASH) {
        // what is not plain is left to the language
        this.raw(JSON.stringify(text));
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = QUOTE;
    this.#at = at;
  }

  /** A whole number from 0 to 2³¹ − 1. */
  integer(value: number): void {
    this.#reserve(10);
    this.#at = this.#digits(value, digitsOf(value));
  }

  /** A number from 0 to 1, to nine significant digits: a 32-bit number is read back as it was. */
  probability(value: number): void {
    this.#reserve(24);
    const bytes = this.#bytes;
    if (value === 0 || value === 1) {
      bytes[this.#at++] = ZERO + value;
      return;
    }
    if (!(value >= 1e-6 && value < 1)) {
      this.raw(Number.isFinite(value) ? String(Number(value.toPrecision(9))) : 'null');
      return;
    }
    // zeros behind the point, then nine digits
    let zeros = 0;
    let scale = 1e9;
    for (let edge = 0.1; value < edge; edge /= 10) {
      zeros++;
      scale *= 10;
    }
    let digits = Math.round(value * scale);
    let count = 9;
    if (digits === 1e9) {
      // rounded up to one more digit before
      if (zeros === 0) {
        bytes[this.#at++] = ONE;
        return;
      }
      zeros--;
      digits = 1e8;
    }
    while (digits % 10 === 0) {
      digits /= 10;
      count--;
    }
    bytes[this.#at++] = ZERO;
    bytes[this.#at++] = POINT;
    for (let i = 0; i < zeros; i++) bytes[this.#at++] = ZERO;
    this.#at = this.#digits(digits, count);
  }

  /** Writes the lowest `count` digits; returns where they end. */
  #digits(value: number, count: number): number {
    const bytes = this.#bytes;
    const start = this.#at;
    let rest = value | 0;
    for (let at = start + count - 1; at >= start; at--) {
      const tenth = (rest / 10) | 0;
      bytes[at] = ZERO + rest - 10 * tenth;
      rest = tenth;
    }
    return start + count;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + bytes));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ZERO = 0x30;
const ONE = 0x31;
const POINT = 0x2e;

function digitsOf(value: number): number {
  let count = 1;
  for (let edge = 10; value >= edge; edge *= 10) count++;
  return count;
}

const [FIRST, NEXT, RANK, SCORE, P_CTR, P_CTCVR, NONE, END] = [
  '[{"poi":',
  ',{"poi":',
  ',"rank":',
  ',"score":',
  ',"pCtr":',
  ',"pCtcvr":',
  'null',
  '}',
].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer, Buffer, Buffer, Buffer, Buffer, Buffer];

/** The ranked POIs as a JSON array. */
export function writeRanked(json: JsonWriter, ranked: readonly RankedPoi[]): void {
  for (let i = 0; i < ranked.length; i++) {
    const { poi, rank, score, pCtr, pCtcvr, attention } = ranked[i]!;
    json.piece(i === 0 ? FIRST : NEXT);
    json.string(poi);
    json.piece(RANK);
    json.integer(rank);
    json.piece(SCORE);
    json.probability(score);
    json.piece(P_CTR);
    json.probability(pCtr);
    json.piece(P_CTCVR);
    if (pCtcvr === null) json.piece(NONE);
    else json.probability(pCtcvr);
    if (attention !== undefined) json.raw(`,"attention":${JSON.stringify(attention)}`);
    json.piece(END);
  }
  json.raw(ranked.length === 0 ? '[]' : ']');
}
