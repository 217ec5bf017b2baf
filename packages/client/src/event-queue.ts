import type { EventInput } from './api.generated.js';
import type { LarrClient } from './client.js';
import { type LarrApiError, LarrClientError, LarrRequestError } from './errors.js';

/** An event without an id gets one: sent again, it is the same event. */
export type NewEvent = Omit<EventInput, 'id'> & { id?: string };

export interface EventQueueOptions {
  /** Most events in one request; the server takes at most 1000. */
  batch?: number;
  /** Longest an event waits for others to go with it, milliseconds. */
  waitMs?: number;
  /** Most events that wait, those included that could not be sent yet. */
  capacity?: number;
  /** Told of each event that the server will never take, and why. It is gone from the queue. */
  onRefused?: (event: EventInput, error: LarrApiError) => void;
  /** Told when a batch could not be sent; its events stay and are sent again. */
  onTrouble?: (error: Error) => void;
}

/**
 * Sends events in batches, in the background. What `add` has taken is sent until the server has said that it is on its disk, however often that takes:
 * the ids make it one event there. In memory alone: a process that is killed loses what waits, so `close` before the end.
 */
export class EventQueue {
  readonly #client: LarrClient;
  readonly #options: Required<Omit<EventQueueOptions, 'onRefused' | 'onTrouble'>> &
    Pick<EventQueueOptions, 'onRefused' | 'onTrouble'>;
  #waiting: EventInput[] = [];
  #timer: ReturnType<typeof setTimeout> | null = null;
  #sending: Promise<void> | null = null;
  #closed = false;
  /** milliseconds to wait after a batch that could not be sent; 0 while all goes well */
  #pause = 0;

  constructor(client: LarrClient, options: EventQueueOptions = {}) {
    this.#client = client;
    this.#options = { batch: 500, waitMs: 200, capacity: 100_000, ...options };
  }

  /** Events that are not on the server's disk yet, as far as this side knows. */
  get size(): number {
    return this.#waiting.length;
  }

  /**
   * Takes an event; its id.
   * @throws LarrClientError when the queue is closed or full: what the server cannot take has to be kept, or dropped, by whoever makes it
   */
  add(event: NewEvent): string {
    if (this.#closed) throw new LarrClientError('the event queue is closed');
    if (this.#waiting.length >= this.#options.capacity)
      throw new LarrClientError(`${this.#waiting.length} events wait already: the server takes none, or too slowly`);
    const id = event.id ?? crypto.randomUUID();
    this.#waiting.push({ ...event, id });
    if (this.#waiting.length >= this.#options.batch && this.#pause === 0) this.#send();
    else this.#later(this.#options.waitMs);
    return id;
  }

  /** Sends what waits now. @throws what the client throws where that did not succeed; the events stay in the queue */
  async flush(signal?: AbortSignal): Promise<void> {
    // What is under way may have begun before the latest events came, or with another's patience.
    await this.#sending?.catch(() => {});
    await this.#sendAll(signal);
  }

  /** Sends what waits and takes no more. @throws as flush, and may then be called again */
  async close(signal?: AbortSignal): Promise<void> {
    this.#closed = true;
    this.#stopTimer();
    await this.flush(signal);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #later(ms: number): void {
    if (this.#timer !== null || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#send();
    }, ms);
    // Waiting to send is no reason for a program to stay.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  /** In the background: trouble is told, and tried again later, each time after a longer pause. */
  #send(): void {
    if (this.#sending !== null) return;
    this.#sendAll().then(
      () => {
        this.#pause = 0;
      },
      (error: Error) => {
        this.#pause = Math.min(30_000, Math.max(500, this.#pause * 2));
        this.#options.onTrouble?.(error);
        this.#stopTimer();
        this.#later(this.#pause);
      },
    );
  }

  /** All that waits, batch by batch, one at a time. */
  #sendAll(signal?: AbortSignal): Promise<void> {
    this.#sending ??= (async () => {
      try {
        while (this.#waiting.length > 0) await this.#sendBatch(signal);
      } finally {
        this.#sending = null;
      }
    })();
    return this.#sending;
  }

  async #sendBatch(signal: AbortSignal | undefined): Promise<void> {
    const events = this.#waiting.slice(0, this.#options.batch);
    try {
      await this.#client.events({ events }, signal === undefined ? {} : { signal });
      this.#waiting.splice(0, events.length);
    } catch (error) {
      // One event of a batch is wrong: the others have done nothing.
      const index = error instanceof LarrRequestError ? /^events\[(\d+)\]/.exec(error.field ?? '')?.[1] : undefined;
      if (index === undefined || events[Number(index)] === undefined) throw error;
      const [refused] = this.#waiting.splice(Number(index), 1);
      this.#options.onRefused?.(refused!, error as LarrApiError);
    }
  }
}
