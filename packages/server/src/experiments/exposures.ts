import type { LogEvent } from '@larr/core';
import type { EventLog } from '../events/event-log.js';
import type { Assigned } from './experiment-book.js';

/** Begins the ids of events that the server writes itself; clients' ids must not begin so. */
export const OWN_EVENTS = 'larr:';

/** A ranking that was made under an experiment, as it stands in the event log. */
export interface ExposureEvent extends LogEvent {
  type: 'exposure';
  user: string;
  experiment: string;
  experimentId: string;
  arm: string;
  /** the bundle that answered */
  bundle: string;
  requestId: string;
  time: string;
  received: string;
}

/**
 * Writes each user's first exposure to each experiment into the event log. An id that follows from experiment and user lets the log drop repeats; those of
 * this process are not even offered to it. What the log forgot is written again, and the analysis takes the first.
 */
export class Exposures {
  /** the newest ones, in the order in which they came: the write under way, which tells whether it went well, or null for those on the disk */
  readonly #known = new Map<string, Promise<boolean> | null>();

  /** @param counted told of exposures that were written, and of those that could not be, which the user's next ranking tries again */
  constructor(
    private readonly log: EventLog,
    private readonly counted: (count: number, outcome: 'written' | 'failed') => void,
    private readonly remembered = 1_000_000,
  ) {}

  /** @returns whether all are on the disk, when that is known; those that another ranking of the user is writing are waited for too */
  async record(user: string, assigned: readonly Assigned[], bundle: string, requestId: string): Promise<boolean> {
    const now = new Date().toISOString();
    const fresh: ExposureEvent[] = [];
    const writes = new Set<Promise<boolean>>();
    for (const { experiment, arm } of assigned) {
      const id = `${OWN_EVENTS}exposure:${experiment.id}:${user}`;
      const known = this.#known.get(id);
      if (known != null) writes.add(known);
      if (known !== undefined) continue;
      fresh.push({
        id,
        type: 'exposure',
        user,
        experiment: experiment.definition.name,
        experimentId: experiment.id,
        arm: arm.name,
        bundle,
        requestId,
        time: now,
        received: now,
      });
    }
    if (fresh.length > 0) {
      const write = this.#write(fresh);
      writes.add(write);
      for (const { id } of fresh) {
        this.#known.set(id, write);
        if (this.#known.size > this.remembered) this.#known.delete(this.#known.keys().next().value!);
      }
    }
    return (await Promise.all(writes)).every((written) => written);
  }

  async #write(events: readonly ExposureEvent[]): Promise<boolean> {
    try {
      const { accepted } = await this.log.append(events);
      if (accepted > 0) this.counted(accepted, 'written');
      for (const { id } of events) if (this.#known.has(id)) this.#known.set(id, null);
      return true;
    } catch {
      for (const { id } of events) this.#known.delete(id);
      this.counted(events.length, 'failed');
      return false;
    }
  }
}
