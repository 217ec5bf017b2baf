import { appendFile, type FileHandle, open, readdir, readFile, truncate } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type BadLine,
  eventOf,
  type LogEvent,
  makeDirectory,
  NAMED_BAD_LINES,
  segmentName,
  segmentNumber,
} from '@larr/core';

export interface EventLogOptions {
  /** A new file is begun beyond this size, bytes. */
  segmentBytes?: number;
  /** How many of the newest ids are remembered for idempotence. */
  rememberedIds?: number;
  /** Told once, where the files that are read for their ids hold what is no event. */
  onDamage?: (damage: LogDamage) => void;
}

/** What opening a log found in its files that is no event. No event is lost by it: the lines around are kept, and read. */
export interface LogDamage {
  /** Lines that are no events, anywhere but at the end of the newest file. They stay where they are and are passed over. */
  lines: number;
  /** The first of them, at most `NAMED_BAD_LINES`. */
  places: BadLine[];
  /** What a crash left at the end of the newest file: moved to `file`, so that the next event begins a line; null where there was nothing. */
  torn: { bytes: number; file: string } | null;
}

interface Waiting {
  events: readonly LogEvent[];
  resolve: (result: Appended) => void;
  reject: (reason: Error) => void;
}

export interface Appended {
  accepted: number;
  /** Events whose id was in the log already: acknowledged again, written once. */
  duplicates: number;
}

/**
 * An append-only log of events: JSON lines in numbered files. `append` resolves only when its events are on the disk (fdatasync);
 * requests that come while a write is under way share the next one. A line that a crash cut short is set aside when the log is opened
 * again: it was never acknowledged.
 */
export class EventLog {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #ids: RecentIds;
  #segment: number;
  #file: FileHandle;
  #size: number;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #closed = false;
  readonly #listeners = new Set<() => void>();

  private constructor(
    directory: string,
    segmentBytes: number,
    ids: RecentIds,
    segment: number,
    file: FileHandle,
    size: number,
  ) {
    this.#directory = directory;
    this.#segmentBytes = segmentBytes;
    this.#ids = ids;
    this.#segment = segment;
    this.#file = file;
    this.#size = size;
  }

  /** Opens the log in `directory`, which is made if it is not there. Damaged lines do not keep it shut: they are told to `onDamage`. */
  static async open(directory: string, options: EventLogOptions = {}): Promise<EventLog> {
    makeDirectory(directory);
    const ids = new RecentIds(options.rememberedIds ?? 1_000_000);
    const segments = (await readdir(directory))
      .map(segmentNumber)
      .filter((number) => number !== null)
      .sort((a, b) => a - b);
    const newest = segments.at(-1) ?? 1;
    const damage: LogDamage = { lines: 0, places: [], torn: null };
    if (segments.length > 0) damage.torn = await mendEnd(join(directory, segmentName(newest)));
    const remembered: string[][] = [];
    let count = 0;
    // Newest first, until enough ids are known; then in the order they were written.
    for (const segment of segments.toReversed()) {
      const { ids: of, bad } = await readSegment(join(directory, segmentName(segment)));
      remembered.unshift(of);
      damage.lines += bad.length;
      damage.places = [...bad, ...damage.places].slice(0, NAMED_BAD_LINES);
      count += of.length;
      if (count >= ids.capacity) break;
    }
    for (const id of remembered.flat()) ids.add(id);
    const file = await open(join(directory, segmentName(newest)), 'a');
    await syncDirectory(directory);
    const { size } = await file.stat();
    if (damage.lines > 0 || damage.torn !== null) options.onDamage?.(damage);
    return new EventLog(directory, options.segmentBytes ?? 64 << 20, ids, newest, file, size);
  }

  /** Writes events that are not in the log yet. Resolves when they are on the disk. */
  append(events: readonly LogEvent[]): Promise<Appended> {
    if (this.#closed) return Promise.reject(new Error('the event log is closed'));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ events, resolve, reject });
      this.#writing ??= this.#writeAll();
    });
  }

  /** Where the log ends: everything before it is on the disk and stays. */
  get end(): { segment: number; bytes: number } {
    return { segment: this.#segment, bytes: this.#size };
  }

  /** Calls `listener` whenever the end has moved. @returns stops that */
  onWritten(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Writes what waits, then closes the file. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing;
    await this.#file.close();
  }

  async #writeAll(): Promise<void> {
    // Let the requests of this turn of the event loop come together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      const fresh: string[] = [];
      const lines: string[] = [];
      const results = batch.map(({ events }) => {
        let accepted = 0;
        for (const event of events) {
          if (!this.#ids.add(event.id)) continue;
          fresh.push(event.id);
          lines.push(JSON.stringify(event));
          accepted++;
        }
        return { accepted, duplicates: events.length - accepted };
      });
      try {
        if (lines.length > 0) await this.#write(`${lines.join('\n')}\n`);
        for (const [i, { resolve }] of batch.entries()) resolve(results[i]!);
      } catch (error) {
        for (const id of fresh) this.#ids.forget(id);
        for (const { reject } of batch) reject(error as Error);
      }
    }
    // In the same turn as the check above: an append that comes now must start a new write.
    this.#writing = null;
  }

  async #write(text: string): Promise<void> {
    if (this.#size >= this.#segmentBytes) {
      await this.#file.close();
      this.#segment++;
      this.#file = await open(join(this.#directory, segmentName(this.#segment)), 'a');
      this.#size = 0;
      await syncDirectory(this.#directory);
    }
    const bytes = Buffer.from(text);
    try {
      await this.#file.appendFile(bytes);
      await this.#file.datasync();
      this.#size += bytes.length;
      for (const listener of this.#listeners) listener();
    } catch (error) {
      // Nothing of a write that failed may stay: its events were refused, and will come again.
      await this.#file.truncate(this.#size).catch(() => {});
      throw error;
    }
  }
}

/** The newest ids, in the order they came; the oldest is forgotten first. */
class RecentIds {
  readonly #ids = new Set<string>();

  constructor(readonly capacity: number) {}

  /** False when it is known already. */
  add(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > this.capacity) this.#ids.delete(this.#ids.values().next().value!);
    return true;
  }

  forget(id: string): void {
    this.#ids.delete(id);
  }
}

/** Ids of a file's events, in order, and the lines that are none. What stands behind the last line's end is one of these. */
async function readSegment(path: string): Promise<{ ids: string[]; bad: BadLine[] }> {
  const ids: string[] = [];
  const bad: BadLine[] = [];
  const lines = (await readFile(path)).toString('utf8').split('\n');
  const end = lines.pop()!;
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '') continue;
    const { event, why } = eventOf(line);
    if (event !== null) ids.push(event.id);
    else bad.push({ file: path, line: i + 1, why });
  }
  if (end.trim() !== '') bad.push({ file: path, line: lines.length + 1, why: 'a crash cut it short' });
  return { ids, bad };
}

/**
 * Sees to it that a file ends with the end of a line, since the next event is written behind it. An event that only lacks its line's end gets it; what is no
 * event moves to a file beside the log. Neither was acknowledged, but the first is whole.
 * @returns what was moved, and where to
 */
async function mendEnd(path: string): Promise<LogDamage['torn']> {
  const bytes = await readFile(path);
  const whole = bytes.lastIndexOf(0x0a) + 1;
  if (whole === bytes.length) return null;
  const rest = bytes.subarray(whole);
  if (eventOf(rest.toString('utf8')).event !== null) {
    await appendSynced(path, Buffer.from('\n'));
    return null;
  }
  const file = `${path.slice(0, -basename(path).length)}${basename(path, '.jsonl')}.torn`;
  await appendSynced(file, Buffer.concat([rest, Buffer.from('\n')]));
  await truncate(path, whole);
  return { bytes: rest.length, file };
}

async function appendSynced(path: string, bytes: Buffer): Promise<void> {
  await appendFile(path, bytes, { flush: true });
}

/** A new file survives a power cut only when its directory is on the disk too. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
