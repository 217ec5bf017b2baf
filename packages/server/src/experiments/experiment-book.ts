import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { armOf, DataError, ExperimentDefinition, isHeldOut, SLOTS, slotOf, writeFileAtomic } from '@larr/core';
import { z } from 'zod';
import { ApiError } from '../api/errors.js';

export const EXPERIMENT_STATES = ['draft', 'running', 'paused', 'stopped'] as const;
export type ExperimentState = (typeof EXPERIMENT_STATES)[number];

/** Something that was done to an experiment. */
const Change = z.object({ at: z.iso.datetime(), what: z.string() }).meta({ id: 'ExperimentChange' });

/** An experiment as it is kept. */
export const ExperimentRecord = z
  .object({
    id: z
      .string()
      .meta({ description: 'Told by every exposure; an experiment made anew under the same name has another.' }),
    definition: ExperimentDefinition,
    state: z.enum(EXPERIMENT_STATES),
    slots: z.array(z.tuple([z.int().min(0), z.int().max(SLOTS)])).meta({
      description: `Slots of the layer that it holds, of ${SLOTS}: [first, behind the last], in the order they were taken.`,
    }),
    createdAt: z.iso.datetime(),
    startedAt: z.iso.datetime().nullable(),
    stoppedAt: z.iso.datetime().nullable(),
    history: z.array(Change),
  })
  .meta({ id: 'ExperimentRecord' });
export type ExperimentRecord = z.infer<typeof ExperimentRecord>;

const BookFile = z.object({
  format: z.literal('larr-experiments'),
  version: z.literal(1),
  holdout: z.object({ share: z.number().min(0).max(1), history: z.array(Change) }),
  experiments: z.array(ExperimentRecord),
});
type BookFile = z.infer<typeof BookFile>;

const FILE = 'experiments.json';

/** The arm of an experiment that a user is in, and what it changes. */
export interface Assigned {
  experiment: ExperimentRecord;
  arm: ExperimentDefinition['arms'][number];
}

/**
 * All experiments of a server, in one file that is replaced as a whole before a change holds. Assignment reads memory alone and depends on the file and the
 * user's id, so that any number of servers with a copy of it agree.
 */
export class ExperimentBook {
  readonly #path: string;
  readonly #now: () => Date;
  #book: BookFile;
  /** [layer, by slot the index into running, −1 for none] */
  #layers: [string, Int16Array][] = [];
  #running: ExperimentRecord[] = [];
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(path: string, book: BookFile, now: () => Date) {
    this.#path = path;
    this.#book = book;
    this.#now = now;
    this.#compile();
  }

  /**
   * Opens the experiments kept in `directory`; none where there is no file yet.
   * @throws DataError EXPERIMENTS_CORRUPT
   */
  static async open(directory: string, now: () => Date = () => new Date()): Promise<ExperimentBook> {
    const path = join(directory, FILE);
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (text === null)
      return new ExperimentBook(
        path,
        { format: 'larr-experiments', version: 1, holdout: { share: 0, history: [] }, experiments: [] },
        now,
      );
    try {
      return new ExperimentBook(path, BookFile.parse(JSON.parse(text)), now);
    } catch (cause) {
      throw new DataError(
        'EXPERIMENTS_CORRUPT',
        `${path} is not what a server keeps its experiments in: put a copy back, or move it away to begin without any`,
        { file: path, cause },
      );
    }
  }

  get experiments(): readonly ExperimentRecord[] {
    return this.#book.experiments;
  }

  /** Share of all users that are in no experiment, and how it came about. */
  get holdout(): Readonly<BookFile['holdout']> {
    return this.#book.holdout;
  }

  /** @throws ApiError EXPERIMENT_UNKNOWN (404) */
  get(name: string): ExperimentRecord {
    const found = this.#book.experiments.find(({ definition }) => definition.name === name);
    if (found === undefined) throw new ApiError(404, 'EXPERIMENT_UNKNOWN', 'there is no experiment of this name');
    return found;
  }

  /** The experiments that a user takes part in: at most one of each layer. */
  assign(user: string): Assigned[] {
    if (this.#running.length === 0 || isHeldOut(this.#book.holdout.share, user)) return [];
    const found: Assigned[] = [];
    for (const [layer, owner] of this.#layers) {
      const at = owner[slotOf(layer, user)]!;
      if (at < 0) continue;
      const experiment = this.#running[at]!;
      const { salt, name, arms } = experiment.definition;
      found.push({ experiment, arm: arms[armOf(salt ?? name, arms, user)]! });
    }
    return found;
  }

  /**
   * Makes a draft, or changes an experiment: a draft in everything, one that was started only in traffic and description, since what users were given and
   * how it is judged must not change under way.
   * @throws ApiError EXPERIMENT_STATE, EXPERIMENT_LAYER_FULL (409)
   */
  put(definition: ExperimentDefinition): Promise<ExperimentRecord> {
    return this.#change((book) => {
      const at = this.#stamp();
      const old = book.experiments.find((e) => e.definition.name === definition.name);
      if (old === undefined) {
        const record: ExperimentRecord = {
          id: randomBytes(6).toString('hex'),
          definition,
          state: 'draft',
          slots: [],
          createdAt: at,
          startedAt: null,
          stoppedAt: null,
          history: [{ at, what: 'created' }],
        };
        book.experiments.push(record);
        return record;
      }
      if (old.state !== 'draft') {
        const { traffic: _, description: __, ...fixed } = definition;
        const { traffic: before, description: ___, ...was } = old.definition;
        if (old.state === 'stopped' || JSON.stringify(fixed) !== JSON.stringify(was))
          throw conflict(
            'EXPERIMENT_STATE',
            old.state === 'stopped'
              ? 'it is stopped: make a new experiment'
              : 'it has been started: only traffic and description can change. Stop it and make a new one for anything else',
          );
        if (definition.traffic !== before) {
          old.slots = this.#slotsFor(book, old, definition.traffic);
          old.history.push({ at, what: `traffic ${before} → ${definition.traffic}` });
        }
      } else old.history.push({ at, what: 'changed' });
      old.definition = definition;
      return old;
    });
  }

  /** @throws ApiError EXPERIMENT_UNKNOWN (404), EXPERIMENT_STATE, EXPERIMENT_LAYER_FULL, EXPERIMENT_CONFLICT (409) */
  start(name: string): Promise<ExperimentRecord> {
    return this.#change((book) => {
      const record = this.#of(book, name);
      if (record.state !== 'draft' && record.state !== 'paused')
        throw conflict('EXPERIMENT_STATE', `it is ${record.state}; a draft or a paused one can be started`);
      const at = this.#stamp();
      mustNotContradict(book, record);
      if (record.state === 'draft') {
        record.slots = this.#slotsFor(book, record, record.definition.traffic);
        record.startedAt = at;
      }
      record.history.push({ at, what: record.state === 'draft' ? 'started' : 'resumed' });
      record.state = 'running';
      return record;
    });
  }

  /** Nobody is assigned until it is started again; it keeps its slots. @throws ApiError as `start` */
  pause(name: string): Promise<ExperimentRecord> {
    return this.#change((book) => {
      const record = this.#of(book, name);
      if (record.state !== 'running')
        throw conflict('EXPERIMENT_STATE', `it is ${record.state}; a running one can be paused`);
      record.state = 'paused';
      record.history.push({ at: this.#stamp(), what: 'paused' });
      return record;
    });
  }

  /** Ends it for good and gives its slots back. @throws ApiError as `start` */
  stop(name: string): Promise<ExperimentRecord> {
    return this.#change((book) => {
      const record = this.#of(book, name);
      if (record.state !== 'running' && record.state !== 'paused')
        throw conflict('EXPERIMENT_STATE', `it is ${record.state}; a running or paused one can be stopped`);
      const at = this.#stamp();
      record.state = 'stopped';
      record.stoppedAt = at;
      record.slots = [];
      record.history.push({ at, what: 'stopped' });
      return record;
    });
  }

  /** Forgets a draft or a stopped experiment. @throws ApiError as `start` */
  remove(name: string): Promise<ExperimentRecord> {
    return this.#change((book) => {
      const record = this.#of(book, name);
      if (record.state === 'running' || record.state === 'paused')
        throw conflict('EXPERIMENT_STATE', `it is ${record.state}; stop it first`);
      book.experiments.splice(book.experiments.indexOf(record), 1);
      return record;
    });
  }

  /** Holds a share of all users out of every experiment; those held out before a raise stay so. */
  async setHoldout(share: number): Promise<void> {
    await this.#change((book) => {
      if (share !== book.holdout.share)
        book.holdout.history.push({ at: this.#stamp(), what: `${book.holdout.share} → ${share}` });
      book.holdout.share = share;
    });
  }

  #stamp(): string {
    return this.#now().toISOString();
  }

  #of(book: BookFile, name: string): ExperimentRecord {
    const { definition } = this.get(name);
    return book.experiments.find((e) => e.definition.name === definition.name)!;
  }

  /** Works on a copy; it counts when it is on the disk. Changes go one after another. */
  #change<T>(work: (book: BookFile) => T): Promise<T> {
    const result = this.#queue.then(async () => {
      const copy = structuredClone(this.#book);
      const value = work(copy);
      await writeFileAtomic(this.#path, `${JSON.stringify(copy, null, 2)}\n`);
      this.#book = copy;
      this.#compile();
      return value;
    });
    this.#queue = result.catch(() => {});
    return result;
  }

  /**
   * The slots for a share of the layer's users: those it holds already and the lowest free ones, or fewer of its own, the newest given back first.
   * So raised traffic only ever adds users.
   */
  #slotsFor(book: BookFile, record: ExperimentRecord, traffic: number): [number, number][] {
    const wanted = Math.round(traffic * SLOTS);
    const held = record.slots.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i));
    const slots = held.slice(0, wanted);
    if (slots.length < wanted) {
      const taken = new Uint8Array(SLOTS);
      for (const other of book.experiments)
        if (other.definition.layer === record.definition.layer)
          for (const [from, to] of other.slots) taken.fill(1, from, to);
      for (let slot = 0; slot < SLOTS && slots.length < wanted; slot++) if (taken[slot] === 0) slots.push(slot);
      if (slots.length < wanted)
        throw conflict(
          'EXPERIMENT_LAYER_FULL',
          `layer ${record.definition.layer} has ${(100 * slots.length) / SLOTS} % of its users left for this experiment, and ${(100 * wanted) / SLOTS} % are wanted`,
        );
    }
    const ranges: [number, number][] = [];
    for (const slot of slots) {
      const last = ranges.at(-1);
      if (last !== undefined && last[1] === slot) last[1]++;
      else ranges.push([slot, slot + 1]);
    }
    return ranges;
  }

  #compile(): void {
    this.#running = this.#book.experiments.filter(({ state }) => state === 'running');
    const layers = new Map<string, Int16Array>();
    this.#running.forEach(({ definition, slots }, i) => {
      const owner = layers.get(definition.layer) ?? new Int16Array(SLOTS).fill(-1);
      layers.set(definition.layer, owner);
      for (const [from, to] of slots) owner.fill(i, from, to);
    });
    this.#layers = [...layers];
  }
}

/**
 * Two experiments of different layers may have the same users, so they must not set the same thing; nor one the bundle and the other what ranks, which that
 * bundle may not have learnt: each arm was tried by itself.
 */
function mustNotContradict(book: BookFile, record: ExperimentRecord): void {
  const mine = settingsOf(record);
  for (const other of book.experiments) {
    if (other.state !== 'running' && other.state !== 'paused') continue;
    if (other.definition.layer === record.definition.layer) continue;
    const theirs = settingsOf(other);
    const { name, layer } = other.definition;
    const remedy = 'put both into one layer, where a user is in one of them only';
    const both = [...theirs].find((what) => mine.has(what));
    if (both !== undefined)
      throw conflict('EXPERIMENT_CONFLICT', `experiment ${name} of layer ${layer} sets ${both} too: ${remedy}`);
    for (const [one, another] of [
      ['bundle', 'by'],
      ['by', 'bundle'],
    ] as const)
      if (theirs.has(one) && mine.has(another))
        throw conflict(
          'EXPERIMENT_CONFLICT',
          `experiment ${name} of layer ${layer} sets ${one} and this one sets ${another}, and not every bundle ranks by everything: ${remedy}`,
        );
  }
}

/** What the arms of an experiment set. */
function settingsOf({ definition }: ExperimentRecord): ReadonlySet<string> {
  return new Set(
    definition.arms.flatMap(({ bundle, parameters }) => [
      ...(bundle === undefined ? [] : ['bundle']),
      ...Object.keys(parameters),
    ]),
  );
}

function conflict(code: string, message: string): ApiError {
  return new ApiError(409, code, message);
}
