import type { EventLog, LoggedEvent } from '../events/event-log.js';
import type { Assigned } from './experiment-book.js';

/** Begins the ids of events that the server writes itself; clients' ids must not begin so. */
export const OWN_EVENTS = 'larr:';

/** A ranking that was made under an experiment, as it stands in the event log. */
export interface ExposureEvent extends LoggedEvent {
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
  /** the newest ones; a Set keeps the order in which they came */
  readonly #known = new Set<string>();

  /** @param counted told of exposures that were written, and of those that could not be, which the user's next ranking tries again */
  constructor(
    private readonly log: EventLog,
    private readonly counted: (count: number, outcome: 'written' | 'failed') => void,
    private readonly remembered = 1_000_000,
  ) {}

  /** @returns when those that were new are on the disk, or could not be written */
  async record(user: string, assigned: readonly Assigned[], bundle: string, requestId: string): Promise<void> {
    const now = new Date().toISOString();
    const fresh: ExposureEvent[] = [];
    for (const { experiment, arm } of assigned) {
      const id = `${OWN_EVENTS}exposure:${experiment.id}:${user}`;
      if (this.#known.has(id)) continue;
      this.#known.add(id);
      if (this.#known.size > this.remembered) this.#known.delete(this.#known.values().next().value!);
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
    if (fresh.length === 0) return;
    try {
      const { accepted } = await this.log.append(fresh);
      if (accepted > 0) this.counted(accepted, 'written');
    } catch {
      for (const { id } of fresh) this.#known.delete(id);
      this.counted(fresh.length, 'failed');
    }
  }
}
