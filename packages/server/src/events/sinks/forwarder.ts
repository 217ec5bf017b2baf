import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, eventOf, segmentName, segmentsOf, writeFileAtomic } from '@larr/core';
import type { EventLog } from '../event-log.js';
import type { EventSink, OutgoingEvent } from './sink.js';

export interface ForwarderOptions {
  /** the event log's directory; where the sink has come to is kept beside it */
  directory: string;
  /** tells this sink's place from other sinks' */
  name: string;
  /** bytes of lines that go in one batch, about */
  batchBytes?: number;
  /** first and longest wait after a failure, milliseconds */
  retryMs?: [first: number, longest: number];
  onSent?: (events: number) => void;
  /** told of each failure, and once more with null when the sink takes events again */
  onTrouble?: (error: Error | null) => void;
  /** told of lines of the log that are no events and were passed over */
  onSkipped?: (lines: number) => void;
  /** told when a stop cannot keep its place: what was sent since it was last kept is sent again by the next run */
  onPlaceLost?: (error: Error) => void;
}

interface Place {
  segment: number;
  offset: number;
}

/** Events that lie together in a file, the lines among them that are none, and where they end. */
interface Batch {
  events: OutgoingEvent[];
  skipped: number;
  end: Place;
}

/** Null where a line is no event: a sink that waited for it to become one would wait for ever. */
function outgoing(line: string): OutgoingEvent | null {
  const { event } = eventOf(line);
  return event === null ? null : { id: event.id, type: event.type, user: String(event.user ?? ''), line };
}

/**
 * Passes the events of a log on to a sink, in order, at least once each: from where the last run came to, and as they are written. It reads the log's files, so it
 * keeps nobody waiting and loses nothing while the sink is away; the place moves on only when the sink has a batch. Only what is on the disk is passed on.
 */
export class Forwarder {
  readonly #path: string;
  #place: Place | null = null;
  #kept: Place | null = null;
  #stopping = false;
  #wake: (() => void) | null = null;
  #running: Promise<void> | null = null;

  constructor(
    private readonly log: EventLog,
    private readonly sink: EventSink,
    private readonly options: ForwarderOptions,
  ) {
    this.#path = join(options.directory, `sink-${options.name}.json`);
  }

  /** Begins. @throws DataError SINK_PLACE_UNREADABLE */
  async start(): Promise<void> {
    this.#place = this.#kept = await this.#readPlace();
    const stopListening = this.log.onWritten(() => this.#wake?.());
    this.#running = this.#run().finally(stopListening);
  }

  /** Bytes of the log's newest file that the sink has not got yet, and whether there are older ones. */
  get behind(): { segments: number; bytes: number } {
    const { segment, bytes } = this.log.end;
    const at = this.#place ?? { segment, offset: bytes };
    return { segments: segment - at.segment, bytes: at.segment === segment ? bytes - at.offset : bytes };
  }

  /** Stops after the batch under way, keeps its place, closes the sink. Never rejects: what fails is told to `onPlaceLost`. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    try {
      await this.#running;
      await this.#keep();
    } catch (error) {
      this.options.onPlaceLost?.(error as Error);
    } finally {
      await this.sink.close().catch(() => {});
    }
  }

  async #run(): Promise<void> {
    const [first, longest] = this.options.retryMs ?? [100, 30_000];
    let wait = first;
    let troubled = false;
    while (!this.#stopping) {
      try {
        const batch = await this.#next();
        if (batch === null) {
          await this.#keep();
          await this.#sleep(null);
          continue;
        }
        if (batch.events.length > 0) await this.sink.send(batch.events);
        this.#place = batch.end;
        if (troubled) this.options.onTrouble?.(null);
        troubled = false;
        wait = first;
        this.options.onSent?.(batch.events.length);
        if (batch.skipped > 0) this.options.onSkipped?.(batch.skipped);
        // Not after each batch: what is sent twice after a crash is at most this.
        if (batch.end.segment !== this.#kept?.segment || batch.end.offset - this.#kept.offset > 4 << 20)
          await this.#keep();
      } catch (error) {
        troubled = true;
        this.options.onTrouble?.(error as Error);
        // A little at random, so that many servers do not come back at once.
        await this.#sleep(wait * (0.5 + Math.random() / 2));
        wait = Math.min(longest, wait * 2);
      }
    }
  }

  /** The next whole lines that are on the disk; null where there are none. */
  async #next(): Promise<Batch | null> {
    const place = this.#place!;
    const { segment, bytes } = this.log.end;
    if (place.segment > segment || (place.segment === segment && place.offset >= bytes)) return null;
    const batchBytes = this.options.batchBytes ?? 512 << 10;
    const next = async (): Promise<Place> => {
      // Files that were taken away are passed over.
      const later = (await segmentsOf(this.options.directory)).find(({ number }) => number > place.segment);
      return { segment: later?.number ?? segment, offset: 0 };
    };
    const file = await open(join(this.options.directory, segmentName(place.segment)), 'r').catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      },
    );
    if (file === null) return { events: [], skipped: 0, end: await next() };
    try {
      const limit = place.segment === segment ? bytes : (await file.stat()).size;
      if (place.offset >= limit) return { events: [], skipped: 0, end: await next() };
      for (let size = batchBytes; ; size *= 2) {
        const wanted = Math.min(size, limit - place.offset);
        const { buffer, bytesRead } = await file.read(Buffer.alloc(wanted), 0, wanted, place.offset);
        const whole = buffer.subarray(0, bytesRead).lastIndexOf(0x0a) + 1;
        if (whole === 0 && bytesRead === wanted && wanted < limit - place.offset) continue;
        if (whole === 0) {
          if (place.segment === segment) return null;
          // An older file that ends without a line's end: a crash cut the line, and nothing of it was acknowledged.
          const torn = buffer.toString('utf8', 0, bytesRead).trim() !== '';
          return { events: [], skipped: torn ? 1 : 0, end: await next() };
        }
        const lines = buffer.subarray(0, whole).toString('utf8').split('\n');
        lines.pop();
        const given = lines.filter((line) => line.trim() !== '');
        const events = given.flatMap((line) => outgoing(line) ?? []);
        const skipped = given.length - events.length;
        const end = { segment: place.segment, offset: place.offset + whole };
        return { events, skipped, end };
      }
    } finally {
      await file.close();
    }
  }

  async #sleep(milliseconds: number | null): Promise<void> {
    if (this.#stopping) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      // A write during a wait after a failure does not shorten it.
      this.#wake = milliseconds === null ? resolve : () => this.#stopping && resolve();
      // An event may have been written between the look at the end and this.
      timer = setTimeout(resolve, milliseconds ?? 1000);
    });
    clearTimeout(timer);
    this.#wake = null;
  }

  async #readPlace(): Promise<Place> {
    const text = await readFile(this.#path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENOENT') return null;
      throw new DataError(
        'SINK_PLACE_UNREADABLE',
        `${this.#path}, where a sink has come to in the event log, cannot be read (${cause.code ?? cause.message}). Make it readable, or move it away to send the log from its beginning`,
        { file: this.#path, cause },
      );
    });
    if (text !== null) {
      try {
        const { segment, offset } = JSON.parse(text) as Place;
        if (Number.isSafeInteger(segment) && Number.isSafeInteger(offset) && offset >= 0) return { segment, offset };
      } catch {
        // From the beginning: at least once.
      }
    }
    return { segment: (await segmentsOf(this.options.directory))[0]?.number ?? this.log.end.segment, offset: 0 };
  }

  async #keep(): Promise<void> {
    if (this.#place === null || this.#place === this.#kept) return;
    await writeFileAtomic(this.#path, `${JSON.stringify(this.#place)}\n`);
    this.#kept = this.#place;
  }
}
