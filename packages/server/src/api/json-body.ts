import { isAscii } from 'node:buffer';
import { ApiError } from './errors.js';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const [OPEN_ARRAY, OPEN_OBJECT, CLOSE_ARRAY, CLOSE_OBJECT] = [0x5b, 0x7b, 0x5d, 0x7d] as const;

/** Throws when the JSON text nests deeper than `limit`. Looks at the bytes alone, so that a hostile body is refused before it is parsed. */
export function checkDepth(body: Buffer, limit: number): void {
  // What has not so many brackets cannot nest so deep.
  if (occurrences(body, OPEN_ARRAY, limit) + occurrences(body, OPEN_OBJECT, limit) <= limit) return;
  let depth = 0;
  let inString = false;
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]!;
    if (inString) {
      if (byte === BACKSLASH) i++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) {
      inString = true;
    } else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      if (++depth > limit) throw new ApiError(400, 'BODY_TOO_DEEP', `the body nests deeper than ${limit} levels`);
    } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) {
      depth--;
    }
  }
}

/** How often a byte occurs, counted to `most` + 1. */
function occurrences(body: Buffer, byte: number, most: number): number {
  let count = 0;
  for (let at = body.indexOf(byte); at >= 0 && count <= most; at = body.indexOf(byte, at + 1)) count++;
  return count;
}

/** Refuses what is not UTF-8 instead of putting replacement characters into ids; a byte order mark is no JSON either. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Parses a JSON body. Throws `BODY_NOT_JSON` with the reason and nothing of the server's. Own `__proto__` keys are refused. */
export function parseJsonBody(body: Buffer, depthLimit: number): unknown {
  checkDepth(body, depthLimit);
  let text: string;
  try {
    text = isAscii(body) ? body.toString('latin1') : utf8.decode(body);
  } catch {
    throw new ApiError(400, 'BODY_NOT_JSON', 'the body is not valid UTF-8, which JSON is');
  }
  if (text.trim() === '') throw new ApiError(400, 'BODY_NOT_JSON', 'the body is empty; a JSON object is expected');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ApiError(400, 'BODY_NOT_JSON', 'the body is not JSON');
  }
  if (text.includes('__proto__') && hasOwnProto(value)) {
    throw new ApiError(400, 'BODY_INVALID', 'a field named __proto__ is not accepted', '__proto__');
  }
  if (SURROGATE_ESCAPE.test(text) && !isWellFormed(value)) {
    throw new ApiError(
      400,
      'BODY_NOT_JSON',
      'the body has half of a surrogate pair in it (\\ud800 to \\udfff), which is no character',
    );
  }
  return value;
}

function hasOwnProto(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Object.hasOwn(value, '__proto__')) return true;
  return Object.values(value).some(hasOwnProto);
}

const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;
/** With the flag u a whole pair is one character, so this matches halves alone. */
const HALF = /\p{Surrogate}/u;

/** Whether every text in it can be written as UTF-8: readers of the event log, which is such a text, would stop at one that cannot. */
function isWellFormed(value: unknown): boolean {
  if (typeof value === 'string') return !HALF.test(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.entries(value).every(([key, item]) => !HALF.test(key) && isWellFormed(item));
}
