import { join } from 'node:path';
import { analyseLog, type Day, usersPerArm, type Verdict, verdicts } from '@larr/core';
import { ApiError } from '../api/errors.js';
import type { EventLog } from '../events/event-log.js';
import type { ModelRegistry } from '../ranking/model-registry.js';
import { type Assigned, ExperimentBook, type ExperimentRecord } from './experiment-book.js';
import { Exposures } from './exposures.js';
import { SharedWork } from './shared-work.js';

/** A report is given out this long after it was worked out: it reads the whole log of the experiment's days. */
const REPORT_TTL_MS = 5_000;

/** What an experiment says so far. */
export interface ExperimentReport {
  experiment: ExperimentRecord;
  asOf: string;
  days: Day[];
  verdicts: Verdict[];
  /** Lines of the event log that could not be read, and are in no figure. */
  unreadableLines: number;
  /** Users of the control that one look at the end needs to find the primary metric's smallest lift with power .8; null before the control has a figure. */
  usersNeeded: number | null;
}

/** What the rank request of a user is changed to. */
export interface RankSettings {
  bundle: string | undefined;
  parameters: { by?: 'pCtr' | 'pCtcvr' | undefined; k?: number | undefined };
}

export interface ExperimentsOptions {
  /** where experiments are kept */
  directory: string;
  /** where the event log lies */
  events: string;
  /** counts exposures that were written, or could not be */
  onExposures: (count: number, outcome: 'written' | 'failed') => void;
}

/** The experiments of a server: kept, assigned, logged and reported. */
export class Experiments {
  readonly #reports = new SharedWork<ExperimentReport>(REPORT_TTL_MS);

  private constructor(
    readonly book: ExperimentBook,
    private readonly exposures: Exposures,
    private readonly models: ModelRegistry,
    private readonly events: string,
  ) {}

  /** @throws DataError EXPERIMENTS_CORRUPT */
  static async open(options: ExperimentsOptions, log: EventLog, models: ModelRegistry): Promise<Experiments> {
    const book = await ExperimentBook.open(options.directory);
    return new Experiments(book, new Exposures(log, options.onExposures), models, options.events);
  }

  /** Aliases of bundles that an experiment needs and that are not loaded: while there are some, none of its arms is given to anybody. */
  missingBundles({ definition }: ExperimentRecord): string[] {
    const wanted = definition.arms.flatMap(({ bundle }) => (bundle === undefined ? [] : [bundle]));
    return [...new Set(wanted)].filter((alias) => this.models.get(alias)?.broken !== false);
  }

  /** The experiments that a user's rankings are made under. */
  assign(user: string): Assigned[] {
    const assigned = this.book.assign(user);
    return assigned.length === 0
      ? assigned
      : assigned.filter(({ experiment }) => this.missingBundles(experiment).length === 0);
  }

  /** What the arms of a user set together; no two experiments that can meet set the same. */
  settingsOf(assigned: readonly Assigned[]): RankSettings {
    const settings: RankSettings = { bundle: undefined, parameters: {} };
    for (const { arm } of assigned) {
      settings.bundle ??= arm.bundle;
      Object.assign(settings.parameters, arm.parameters);
    }
    return settings;
  }

  /**
   * A ranking was made. Resolves at once, or, where an experiment asks for durable exposures, when they are on the disk.
   * @throws ApiError EXPOSURE_NOT_WRITTEN (503) where a durable exposure could not be written
   */
  async exposed(user: string, assigned: readonly Assigned[], bundle: string, requestId: string): Promise<void> {
    const written = this.exposures.record(user, assigned, bundle, requestId);
    if (!assigned.some(({ experiment }) => experiment.definition.durableExposures)) return;
    if (!(await written))
      throw new ApiError(
        503,
        'EXPOSURE_NOT_WRITTEN',
        "an experiment counts this user only when the event log has it, and the log cannot be written: see to the server's disk, then try again",
        undefined,
        1,
      );
  }

  /**
   * Starts a draft, or a paused experiment again, after each arm has ranked once.
   * @throws ApiError EXPERIMENT_UNUSABLE (409) where an arm cannot rank; those of ExperimentBook.start
   */
  async start(name: string): Promise<ExperimentRecord> {
    const record = this.book.get(name);
    await this.#load(this.missingBundles(record));
    for (const { name: arm, bundle, parameters } of record.definition.arms) {
      try {
        await this.models.use(bundle, async (model) => {
          const example = model.examples[0];
          if (example !== undefined) await model.rank({ ...example, ...parameters }, () => {});
        });
      } catch (error) {
        if (error instanceof ApiError && error.code === 'NOT_READY') throw error;
        const why = error instanceof ApiError ? error.message : 'its model fails';
        throw new ApiError(409, 'EXPERIMENT_UNUSABLE', `arm ${arm} cannot rank: ${why}`);
      }
    }
    return this.book.start(name);
  }

  /** Loads the bundles of started experiments from below the server's `--bundles`, where an alias is a directory's name: after a start of the server. */
  async loadMissing(): Promise<void> {
    const started = this.book.experiments.filter(({ state }) => state === 'running' || state === 'paused');
    await this.#load(new Set(started.flatMap((record) => this.missingBundles(record))));
  }

  async #load(aliases: Iterable<string>): Promise<void> {
    const root = this.models.options?.root;
    if (root == null) return;
    // The registry remembers what failed and says it; whoever needs the alias finds that it is missing.
    for (const alias of aliases) await this.models.load(join(root, alias), alias).catch(() => {});
  }

  /** The report of an experiment that was started, worked out at most five seconds ago. @throws ApiError EXPERIMENT_UNKNOWN (404), EXPERIMENT_STATE (409) */
  async report(name: string): Promise<ExperimentReport> {
    const record = this.book.get(name);
    if (record.startedAt === null)
      throw new ApiError(409, 'EXPERIMENT_STATE', 'it has not been started, so there is nothing to report');
    return this.#reports.get(`${record.id} ${record.state}`, () => this.#analyse(record));
  }

  async #analyse(record: ExperimentRecord): Promise<ExperimentReport> {
    const { definition: plan } = record;
    const asOf = new Date();
    const { days, unreadableLines } = await analyseLog(this.events, {
      id: record.id,
      plan,
      startedAt: new Date(record.startedAt!),
      stoppedAt: record.stoppedAt === null ? null : new Date(record.stoppedAt),
      prePeriodDays: plan.prePeriodDays,
    });
    const control = days.at(-1)?.figures.arms[0];
    const figure = control?.metrics[plan.primary];
    const variation =
      figure?.standardError == null || figure.value === 0
        ? null
        : control!.users * (figure.standardError / figure.value) ** 2;
    return {
      experiment: record,
      asOf: asOf.toISOString(),
      days,
      verdicts: verdicts(days, plan, plan.primary),
      unreadableLines,
      usersNeeded:
        variation === null
          ? null
          : usersPerArm({
              lift: plan.smallestLift[plan.primary],
              variation,
              alpha: plan.alpha,
              ratio: plan.arms[1]!.weight / plan.arms[0]!.weight,
            }),
    };
  }
}
