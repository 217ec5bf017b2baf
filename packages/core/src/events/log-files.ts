import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
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
    throw new UsageError('EVENTS_MISSING', `${directory} is no event log: ${cause.message}`, {
      file: directory,
      cause,
    });
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

/** The first line of a file of an event log that is no event, and why; null where all are. */
export async function unreadableLine(path: string): Promise<{ line: number; why: string } | null> {
  const input = createReadStream(path);
  try {
    let line = 0;
    for await (const text of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      if (text.trim() === '') continue;
      const why = whyNoEvent(text);
      if (why !== null) return { line, why };
    }
    return null;
  } finally {
    input.destroy();
  }
}

function whyNoEvent(text: string): string | null {
  let event: Record<string, unknown>;
  try {
    event = JSON.parse(text);
  } catch {
    return 'it is not JSON';
  }
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return 'it is not an object';
  for (const field of ['id', 'type']) if (typeof event[field] !== 'string') return `its ${field} is not a text`;
  if (typeof event.received !== 'string' || Number.isNaN(Date.parse(event.received)))
    return 'its received is not a time';
  for (const field of ['position', 'value'])
    if (event[field] != null && !Number.isFinite(Number(event[field]))) return `its ${field} is not a number`;
  return null;
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
