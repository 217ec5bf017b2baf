import { isUtf8 } from 'node:buffer';
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';

/** Why a file is no UTF-8 text; `message` follows the file's name. */
export interface NotText {
  code: 'NOT_TEXT' | 'BAD_ENCODING';
  message: string;
  /** Line of the first bad byte, from 1. */
  line?: number;
}

/** What files that are often mistaken for text begin with. */
const beginnings: [bytes: string, what: string][] = [
  ['50415231', 'a Parquet file: end its name in .parquet, or say "format": "parquet"'],
  ['504b0304', 'a zip archive or an Excel workbook: save it as CSV'],
  ['d0cf11e0', 'an old Excel workbook: save it as CSV'],
  ['1f8b', 'a gzip file: end its name in .gz'],
  ['28b52ffd', 'a Zstandard file: end its name in .zst'],
];

/**
 * Looks through a file (or a `.gz` one) for the first place where it is not UTF-8 text.
 * @returns null where all of it is, or where it cannot be looked into
 */
export async function whyNotText(file: string): Promise<NotText | null> {
  if (file.toLowerCase().endsWith('.zst')) return null;
  const raw = createReadStream(file, { highWaterMark: 1 << 20 });
  const gzip = file.toLowerCase().endsWith('.gz');
  const stream = gzip ? raw.pipe(createGunzip()) : raw;
  let at = 0;
  let line = 1;
  let held = Buffer.alloc(0);
  try {
    for await (const piece of stream) {
      let chunk = piece as Buffer;
      if (at === 0 && held.length === 0) {
        const found = notTextFromStart(chunk);
        if (found !== null) return found;
      }
      if (held.length > 0) chunk = Buffer.concat([held, chunk]);
      const whole = chunk.subarray(0, chunk.length - incompleteTail(chunk));
      const bad = firstBad(whole);
      if (bad !== null) return described(bad, whole, at, line);
      at += whole.length;
      for (let i = whole.indexOf(10); i >= 0; i = whole.indexOf(10, i + 1)) line++;
      held = Buffer.from(chunk.subarray(whole.length));
    }
  } catch {
    return null;
  } finally {
    raw.destroy();
  }
  return held.length > 0 ? described({ offset: 0, nul: false }, held, at, line) : null;
}

function notTextFromStart(chunk: Buffer): NotText | null {
  const head = chunk.subarray(0, 4).toString('hex');
  const known = beginnings.find(([bytes]) => head.startsWith(bytes));
  if (known !== undefined) return { code: 'NOT_TEXT', message: ` is not text but looks like ${known[1]}.` };
  if (/^(fffe|feff)/.test(head))
    return { code: 'BAD_ENCODING', message: ' is UTF-16, not UTF-8. Convert it: iconv -f UTF-16 -t UTF-8.', line: 1 };
  return null;
}

function firstBad(chunk: Buffer): { offset: number; nul: boolean } | null {
  const nul = chunk.indexOf(0);
  if (nul < 0 && isUtf8(chunk)) return null;
  const invalid = isUtf8(chunk) ? -1 : firstInvalid(chunk);
  return nul >= 0 && (invalid < 0 || nul < invalid) ? { offset: nul, nul: true } : { offset: invalid, nul: false };
}

function described(
  { offset, nul }: { offset: number; nul: boolean },
  chunk: Buffer,
  at: number,
  from: number,
): NotText {
  let line = from;
  for (let i = chunk.indexOf(10); i >= 0 && i < offset; i = chunk.indexOf(10, i + 1)) line++;
  const place = `, line ${line}, byte ${at + offset + 1}`;
  if (nul) return { code: 'NOT_TEXT', message: `${place}: is not text; it holds a zero byte.`, line };
  // Text in another encoding has its odd bytes among letters; a binary file has control bytes all over.
  const near = chunk.subarray(Math.max(0, offset - 2048), offset + 2048);
  const control = near.filter((byte) => byte < 9 || (byte > 13 && byte < 32)).length;
  if (control > near.length / 50)
    return { code: 'NOT_TEXT', message: `${place}: is not text; its bytes are those of a binary file.`, line };
  const byte = chunk[offset]!.toString(16).padStart(2, '0');
  return {
    code: 'BAD_ENCODING',
    message: `${place}: not valid UTF-8 (the byte 0x${byte}). Convert the file from its own encoding, e.g. iconv -f ISO-8859-1 -t UTF-8, or -f GB18030.`,
    line,
  };
}

/** Bytes at the end that begin a character whose rest is in the next chunk. */
function incompleteTail(chunk: Buffer): number {
  for (let back = 1; back <= Math.min(3, chunk.length); back++) {
    const byte = chunk[chunk.length - back]!;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) > back ? back : 0;
  }
  return 0;
}

/** Offset of the first character that is not UTF-8: the end of the longest valid beginning, by halving. */
function firstInvalid(chunk: Buffer): number {
  let valid = 0;
  let beyond = chunk.length;
  const characters = (end: number) => end - incompleteTail(chunk.subarray(0, end));
  while (beyond - valid > 1) {
    const middle = (valid + beyond) >> 1;
    if (isUtf8(chunk.subarray(0, characters(middle)))) valid = middle;
    else beyond = middle;
  }
  return characters(valid);
}
