import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../errors.js';

/** A file of an event log. */
export interface Segment {
  number: number;
  name: string;
  path: string;
}

/** Name of the `number`-th file of an event log. */
export const segmentName = (number: number): string => `events-${String(number).padStart(8, '0')}.jsonl`;

/** The number in a segment's name; null for other files. */
export function segmentNumber(name: string): number | null {
  const match = /^events-(\d{8})\.jsonl$/.exec(name);
  return match === null ? null : Number(match[1]);
}

/**
 * The files of an event log, oldest first.
 * @throws UsageError `EVENTS_MISSING` where the directory is not there
 */
export async function segmentsOf(directory: string): Promise<Segment[]> {
  const names = await readdir(directory).catch((cause: NodeJS.ErrnoException) => {
    const why = { ENOENT: 'there is no such directory', ENOTDIR: 'it is a file' }[cause.code ?? ''] ?? cause.message;
    throw new UsageError(
      'EVENTS_MISSING',
      `${directory} is no event log: ${why}. Name the directory that \`larr serve --events\` was given`,
      {
        file: directory,
        cause,
      },
    );
  });
  return names
    .flatMap((name) => {
      const number = segmentNumber(name);
      return number === null ? [] : [{ number, name, path: join(directory, name) }];
    })
    .sort((a, b) => a.number - b.number);
}

/** How many bytes at the beginning of a segment are whole lines: behind them is at most a line that is being written, or that a crash cut short. */
export async function wholeLines(path: string): Promise<number> {
  const file = await open(path, 'r');
  try {
    return await wholeLinesOf(file, (await file.stat()).size);
  } finally {
    await file.close();
  }
}

async function wholeLinesOf(file: FileHandle, size: number): Promise<number> {
  const block = Buffer.alloc(64 * 1024);
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - block.length);
    const { bytesRead } = await file.read(block, 0, end - start, start);
    const newline = block.subarray(0, bytesRead).lastIndexOf(0x0a);
    if (newline >= 0) return start + newline + 1;
    end = start;
  }
  return 0;
}

/** Files of an event log that hold whole lines only, whatever is written meanwhile. */
export interface LogSnapshot extends AsyncDisposable {
  files: { segment: number; path: string; bytes: number }[];
}

/**
 * Takes the log as it stands. Finished segments are read where they are; of the newest, which is still written to, and of those that a crash cut short, the
 * whole lines are copied.
 * @throws UsageError `EVENTS_MISSING`
 */
export async function snapshotLog(directory: string): Promise<LogSnapshot> {
  const segments = await segmentsOf(directory);
  const files: LogSnapshot['files'] = [];
  const copies: string[] = [];
  const drop = async () => {
    for (const copy of copies) await rm(copy, { force: true });
  };
  try {
    for (const [i, { number, path }] of segments.entries()) {
      const bytes = await wholeLines(path);
      if (bytes === 0) continue;
      if (i < segments.length - 1 && (await stat(path)).size === bytes) files.push({ segment: number, path, bytes });
      else {
        const copy = join(tmpdir(), `larr-events-${process.pid}-${Math.random().toString(36).slice(2)}.jsonl`);
        copies.push(copy);
        await copyPrefix(path, copy, bytes);
        files.push({ segment: number, path: copy, bytes });
      }
    }
  } catch (error) {
    await drop();
    throw error;
  }
  return { files, [Symbol.asyncDispose]: drop };
}

/** What every line of an event log has, beside the fields of its type. */
export interface LogEvent {
  id: string;
  type: string;
  /** when the server had it, ISO 8601 */
  received: string;
  [field: string]: unknown;
}

/** The event that a line of a log holds, or why it holds none. What the server knows, its sinks send and a compaction takes are the lines that this calls events. */
export function eventOf(line: string): { event: LogEvent; why: null } | { event: null; why: string } {
  const none = (why: string) => ({ event: null, why });
  let event: Record<string, unknown>;
  try {
    event = JSON.parse(line);
  } catch {
    return none('it is not JSON');
  }
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return none('it is not an object');
  for (const field of ['id', 'type']) if (typeof event[field] !== 'string') return none(`its ${field} is not a text`);
  if (typeof event.received !== 'string' || Number.isNaN(Date.parse(event.received)))
    return none('its received is not a time');
  for (const field of ['position', 'value'])
    if (event[field] != null && !Number.isFinite(Number(event[field]))) return none(`its ${field} is not a number`);
  return { event: event as LogEvent, why: null };
}

/** A line of an event log that is no event. */
export interface BadLine {
  file: string;
  /** from 1 */
  line: number;
  why: string;
}

/** How many lines of a log are no events, and which, as far as they are named. */
export interface BadLines {
  count: number;
  first: BadLine[];
}

/** More bad lines than this are counted and not named: a file of noise has millions. */
export const NAMED_BAD_LINES = 20;

/** Adds up what was found in several files, in their order. */
export function addBadLines(into: BadLines, more: BadLines): void {
  into.count += more.count;
  into.first = [...into.first, ...more.first].slice(0, NAMED_BAD_LINES);
}

/** `a.jsonl:2 (it is not JSON), a.jsonl:7 (…) and 3 more`. */
export function namedBadLines({ count, first }: BadLines): string {
  const named = first.map(({ file, line, why }) => `${file}:${line} (${why})`).join(', ');
  return count > first.length ? `${named} and ${count - first.length} more` : named;
}

/**
 * The lines of a file of an event log that are no events; empty ones count for nothing.
 * @param file what the file is called where `path` is a copy of it
 * @param onEvent given every line that is one, without its end; awaited
 */
export async function badLinesOf(
  path: string,
  file = path,
  onEvent?: (line: string) => void | Promise<void>,
): Promise<BadLines> {
  const bad: BadLines = { count: 0, first: [] };
  let line = 0;
  for await (const text of linesOf(path)) {
    line++;
    if (text.trim() === '') continue;
    const { event, why } = eventOf(text);
    if (event !== null) await onEvent?.(text);
    else addBadLines(bad, { count: 1, first: [{ file, line, why }] });
  }
  return bad;
}

/** Only a line feed ends a line, as it does for the server: to Node's readline a carriage return does too. */
async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = '';
  for await (const block of createReadStream(path, 'utf8')) {
    const lines = (block as string).split('\n');
    lines[0] = rest + lines[0];
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== '') yield rest;
}

/**
 * Copies the events of a file of an event log to `copy`, without the lines that are none.
 * @param file what the file is called where `path` is a copy of it
 * @returns what was left out
 */
export async function copyEvents(path: string, copy: string, file = path): Promise<BadLines> {
  const target = await open(copy, 'wx', 0o600);
  try {
    let waiting: string[] = [];
    let size = 0;
    const write = async () => {
      await target.appendFile(waiting.join(''));
      waiting = [];
      size = 0;
    };
    const bad = await badLinesOf(path, file, async (line) => {
      waiting.push(`${line}\n`);
      size += line.length;
      if (size > 1 << 20) await write();
    });
    await write();
    return bad;
  } finally {
    await target.close();
  }
}

async function copyPrefix(from: string, to: string, bytes: number): Promise<void> {
  const source = await open(from, 'r');
  const target = await open(to, 'wx', 0o600);
  try {
    const block = Buffer.alloc(1 << 20);
    for (let at = 0; at < bytes; ) {
      const { bytesRead } = await source.read(block, 0, Math.min(block.length, bytes - at), at);
      if (bytesRead === 0) break;
      await target.write(block, 0, bytesRead);
      at += bytesRead;
    }
  } finally {
    await source.close();
    await target.close();
  }
}
