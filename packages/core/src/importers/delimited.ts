import { readFile } from 'node:fs/promises';
import { DataError } from '../errors.js';
import type { ImportedColumn } from './import-tables.js';

export interface DelimitedFormat {
  /** Column names. Without `header: false` the first line must name exactly these. */
  columns: readonly string[];
  /** Any text, such as "\t", "|" or "::". */
  delimiter: string;
  header?: boolean;
  /** Fields may be in double quotes, a doubled quote standing for one; default true. */
  quoted?: boolean;
  /** Default UTF-8, in which a wrong byte is an error. In ISO 8859-1 every byte is a character, so text that is really UTF-8 is the error. */
  encoding?: 'utf-8' | 'latin1';
}

/** A text table of a public dataset, checked line by line. */
export interface DelimitedTable {
  rows: string[][];
  /** The line of the file that each row begins at. */
  lines: number[];
  /**
   * Checks every value of a column.
   * @param what a valid value is, for the message: "a rating from 1 to 5"
   * @throws DataError `BAD_VALUE` with file, line and column
   */
  check(column: string, valid: (value: string) => boolean, what: string): void;
  /** Every column as it is, for `importTables`; empty fields become missing. */
  asText(): Record<string, ImportedColumn>;
}

/**
 * Reads a published text table, which is small enough for memory, strictly: every line must have every column.
 * @throws DataError `FILE_MISSING`, `BAD_ENCODING`, `BAD_HEADER`, `SHORT_ROW`, `LONG_ROW`, `BAD_QUOTE`, `TABLE_EMPTY`; the
 * message names file, line and column
 */
export async function readDelimited(file: string, format: DelimitedFormat): Promise<DelimitedTable> {
  const text = decode(file, await readBytes(file), format.encoding ?? 'utf-8', format.delimiter);
  const rows: string[][] = [];
  const lines: number[] = [];
  const { columns } = format;
  let first = format.header !== false;
  for (const { fields, line } of records(file, text, format)) {
    if (first) {
      first = false;
      const wrong = columns.findIndex((name, i) => fields[i] !== name);
      if (wrong >= 0 || fields.length !== columns.length) {
        const at = wrong >= 0 ? wrong : columns.length;
        throw new DataError(
          'BAD_HEADER',
          `${file}, line 1: column ${at + 1} is ${JSON.stringify(fields[at] ?? '(nothing)')} where ${JSON.stringify(columns[at] ?? '(the end)')} is expected. Is this the published file?`,
          { file, row: 1, field: columns[at] ?? '' },
        );
      }
      continue;
    }
    if (fields.length !== columns.length) {
      const short = fields.length < columns.length;
      throw new DataError(
        short ? 'SHORT_ROW' : 'LONG_ROW',
        `${file}, line ${line}: ${fields.length} columns instead of ${columns.length}${short ? `; the first one missing is "${columns[fields.length]}"` : ''}. The file is cut off or changed; fetch it again.`,
        { file, row: line, field: columns[fields.length] ?? '' },
      );
    }
    rows.push(fields);
    lines.push(line);
  }
  if (rows.length === 0) throw new DataError('TABLE_EMPTY', `${file} has no rows.`, { file });
  return {
    rows,
    lines,
    check(column, valid, what) {
      const at = columns.indexOf(column);
      const bad = rows.findIndex((row) => !valid(row[at]!));
      if (bad >= 0) throw badField(file, lines[bad]!, at + 1, column, rows[bad]![at]!, what);
    },
    asText() {
      return Object.fromEntries(
        columns.map((name, i) => [name, { type: 'VARCHAR' as const, values: rows.map((row) => row[i]!) }]),
      );
    },
  };
}

/** The error of one field of a published file. @param number the column's number, from 1 */
export function badField(
  file: string,
  line: number,
  number: number,
  column: string,
  value: string,
  what: string,
): DataError {
  return new DataError(
    'BAD_VALUE',
    `${file}, line ${line}, column ${number} (${column}): ${JSON.stringify(value)} is not ${what}. The file is changed or another one; fetch it again.`,
    { file, row: line, field: column },
  );
}

/**
 * The lines of a published text file whose records differ in length, empty ones left out.
 * @throws DataError `FILE_MISSING`, `BAD_ENCODING`, `TABLE_EMPTY`
 */
export async function readLines(file: string): Promise<{ text: string; line: number }[]> {
  const text = decode(file, await readBytes(file), 'utf-8', '\t');
  const lines = text.split(/\r?\n/).map((text, i) => ({ text, line: i + 1 }));
  const filled = lines.filter(({ text }) => text !== '');
  if (filled.length === 0) throw new DataError('TABLE_EMPTY', `${file} has no rows.`, { file });
  return filled;
}

/** The first line of a file, for formats that were published with and without a column. @throws DataError `FILE_MISSING` */
export async function firstLine(file: string): Promise<string> {
  const text = new TextDecoder('latin1').decode(await readBytes(file));
  return text.slice(0, text.search(/\r?\n|$/));
}

/** A file's bytes. @throws DataError `FILE_MISSING` */
async function readBytes(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause) => {
    throw new DataError('FILE_MISSING', `${file} cannot be read. Give the directory with the files as published.`, {
      file,
      cause,
    });
  });
}

/**
 * Text of bytes.
 * @param delimiter what cuts a line into columns, for the message
 * @throws DataError `BAD_ENCODING` with the line and column of the first byte that is not valid in the encoding
 */
function decode(file: string, bytes: Uint8Array, encoding: 'utf-8' | 'latin1', delimiter: string): string {
  // Windows' superset of ISO 8859-1, as everybody reads it.
  const latin = new TextDecoder('latin1');
  if (encoding === 'utf-8') {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch {
      // Where it is, is found below.
    }
  }
  const misread = encoding === 'utf-8' ? invalidUtf8 : encodedUtf8;
  for (let start = 0, line = 1; start < bytes.length; line++) {
    const newline = bytes.indexOf(10, start);
    const end = newline < 0 ? bytes.length : newline;
    const at = misread(bytes.subarray(start, end));
    if (at >= 0) {
      const column = latin.decode(bytes.subarray(start, start + at)).split(delimiter).length;
      throw new DataError(
        'BAD_ENCODING',
        `${file}, line ${line}, column ${column}: ${
          encoding === 'utf-8'
            ? 'not valid UTF-8. Fetch the file again or convert it to UTF-8.'
            : 'UTF-8, where the published file is in ISO 8859-1. Fetch the file again or convert it back.'
        }`,
        { file, row: line },
      );
    }
    start = end + 1;
  }
  return latin.decode(bytes);
}

/** Position of the first byte of a line that is no UTF-8; −1 where all are. */
function invalidUtf8(line: Uint8Array): number {
  const valid = (length: number) => {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(line.subarray(0, length), { stream: true });
      return true;
    } catch {
      return false;
    }
  };
  if (valid(line.length)) {
    // A character that the line's end cuts off.
    const rest = line.findLastIndex((byte) => byte >= 0xc0);
    const length = rest < 0 ? 1 : line[rest]! >= 0xf0 ? 4 : line[rest]! >= 0xe0 ? 3 : 2;
    return rest >= 0 && rest + length > line.length ? rest : -1;
  }
  let [good, bad] = [0, line.length];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (valid(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

/** Position of the first letter of a line that is written in UTF-8's two bytes, "é" as "Ã©", which no text in ISO 8859-1 means; −1 where none is. */
function encodedUtf8(line: Uint8Array): number {
  for (let i = 0; i + 1 < line.length; i++)
    if (line[i]! >= 0xc2 && line[i]! <= 0xc3 && line[i + 1]! >= 0x80 && line[i + 1]! <= 0xbf) return i;
  return -1;
}

/** Records with the line they begin at. A quoted field may hold delimiters and line breaks. */
function* records(file: string, text: string, format: DelimitedFormat): Generator<{ fields: string[]; line: number }> {
  const { delimiter } = format;
  const quoted = format.quoted !== false;
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  let line = 1;
  while (at < text.length) {
    let end = text.indexOf('\n', at);
    if (end < 0) end = text.length;
    const whole = text.slice(at, text.charCodeAt(end - 1) === 13 ? end - 1 : end);
    if (!quoted || !whole.includes('"')) {
      if (whole !== '') yield { fields: whole.split(delimiter), line };
      at = end + 1;
      line++;
      continue;
    }
    const begin = line;
    const fields: string[] = [];
    for (;;) {
      if (text[at] === '"') {
        let field = '';
        for (;;) {
          const close = text.indexOf('"', at + 1);
          if (close < 0) {
            throw new DataError(
              'BAD_QUOTE',
              `${file}, line ${begin}, column ${fields.length + 1}: a quoted field never ends.`,
              { file, row: begin },
            );
          }
          field += text.slice(at + 1, close);
          at = close + 1;
          if (text[at] !== '"') break;
          field += '"';
        }
        line += field.split('\n').length - 1;
        const rest = fieldEnd(text, at, delimiter);
        // Text after the closing quote belongs to the field, as spreadsheet programs read it.
        field += text.slice(at, rest).replace(/\r$/, '');
        fields.push(field);
        at = rest;
      } else {
        const rest = fieldEnd(text, at, delimiter);
        fields.push(text.slice(at, rest).replace(/\r$/, ''));
        at = rest;
      }
      if (at >= text.length || text[at] === '\n') break;
      at += delimiter.length;
    }
    at++;
    line++;
    yield { fields, line: begin };
  }
}

function fieldEnd(text: string, from: number, delimiter: string): number {
  const newline = text.indexOf('\n', from);
  const end = newline < 0 ? text.length : newline;
  const next = text.indexOf(delimiter, from);
  return next < 0 || next > end ? end : next;
}
