import { readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { BundleError, LarrError } from '@larr/core';
import { ApiError, notReady } from '../api/errors.js';
import type { RankingModel } from './ranking-model.js';

/** The alias that requests are answered by unless they, or an experiment's arm, say otherwise. */
export const CURRENT = 'current';

/** A loaded bundle, as `GET /v1/admin/state` shows it. */
export interface LoadedBundle {
  alias: string;
  model: RankingModel;
  /** directory as it was given; a symbolic link may point elsewhere by now */
  path: string;
  since: Date;
  /** requests that it answers now */
  inFlight: number;
}

/** Why a bundle that was asked for does not answer. */
export interface LoadFailure {
  alias: string;
  path: string;
  code: string;
  message: string;
  at: Date;
}

/** What happened to bundles, for metrics and the log. */
export type RegistryEvent =
  | { kind: 'loaded'; loaded: LoadedBundle; seconds: number }
  | { kind: 'failed'; failure: LoadFailure }
  | { kind: 'closed'; alias: string; model: RankingModel };

export interface RegistryOptions {
  /** reads, checks and self-tests a bundle's directory */
  load: (directory: string) => Promise<RankingModel>;
  /** the bundle that the server was started with: what a reload without a name loads */
  home: string;
  /** the directory that other bundles may be loaded from by name; null where none may */
  root: string | null;
  onEvent: (event: RegistryEvent) => void;
}

interface Place {
  path: string;
  /** where `path` led when it was loaded: what a rollback goes back to */
  real: string;
  bundle: string;
}

interface Slot extends LoadedBundle {
  place: Place;
  /** resolves the closing of a model that still answers */
  onIdle: (() => void) | null;
}

/**
 * The loaded models by alias. A bundle is loaded, with its self-test, beside the one that answers; then they change places between two
 * requests, and the old one is closed when the last request that it answers is done. A request has one model from beginning to end.
 * Where a bundle does not load, the one before it goes on.
 */
export class ModelRegistry {
  /** where bundles come from; null for a registry that only holds what is installed */
  readonly options: RegistryOptions | null;
  readonly #slots = new Map<string, Slot>();
  readonly #previous = new Map<string, Place>();
  readonly #failures = new Map<string, LoadFailure>();
  readonly #closing = new Set<Promise<void>>();
  /** loads go one after another: two at once would need the memory of both */
  #queue: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: RegistryOptions | null = null) {
    this.options = options;
  }

  /** The model that answers; null until one has loaded. */
  get current(): RankingModel | null {
    return this.get(CURRENT);
  }

  get(alias: string): RankingModel | null {
    return this.#slots.get(alias)?.model ?? null;
  }

  /** Every loaded bundle, the current one first. */
  get loaded(): readonly LoadedBundle[] {
    return [...this.#slots.values()].sort((a, b) => Number(b.alias === CURRENT) - Number(a.alias === CURRENT));
  }

  /** The last load of an alias where it failed; null once one has succeeded. */
  failure(alias = CURRENT): LoadFailure | null {
    return this.#failures.get(alias) ?? null;
  }

  /** The bundle that `rollback` goes back to; null where there was none before. */
  previous(alias = CURRENT): { path: string; bundle: string } | null {
    const place = this.#previous.get(alias);
    return place === undefined ? null : { path: place.real, bundle: place.bundle };
  }

  /**
   * Answers with the model of an alias, which stays loaded until `work` has settled.
   * @throws ApiError NOT_READY (503); BUNDLE_UNKNOWN (400) for an alias that nothing was loaded under
   */
  async use<T>(alias: string | undefined, work: (model: RankingModel) => Promise<T>): Promise<T> {
    const slot = this.#slots.get(alias ?? CURRENT);
    if (slot === undefined) {
      if (alias === undefined || alias === CURRENT) throw notReady();
      throw new ApiError(400, 'BUNDLE_UNKNOWN', `bundle: nothing is loaded as "${alias}"`, 'bundle');
    }
    slot.inFlight++;
    try {
      return await work(slot.model);
    } finally {
      if (--slot.inFlight === 0) slot.onIdle?.();
    }
  }

  /** Lets a model that is loaded already answer for an alias. */
  install(model: RankingModel, alias = CURRENT): void {
    this.#place(model, alias, { path: '', real: '', bundle: model.identity.bundle });
  }

  /**
   * Loads a bundle and lets it answer for an alias from the next request on.
   * @throws what the bundle's loading throws; the alias's model, if any, goes on then
   */
  load(path: string, alias = CURRENT): Promise<RankingModel> {
    return this.#inTurn(() => this.#replace(alias, path, null));
  }

  /**
   * Goes back to the bundle that answered before the last load of the alias; the one that answers now is then what a rollback goes back to.
   * @throws BundleError ROLLBACK_NOTHING, ROLLBACK_CHANGED where another bundle lies in its place by now, and those of `load`
   */
  rollback(alias = CURRENT): Promise<RankingModel> {
    return this.#inTurn(() => {
      const place = this.#previous.get(alias);
      if (place === undefined) {
        throw new BundleError('ROLLBACK_NOTHING', `nothing answered as "${alias}" before the bundle that does now`);
      }
      return this.#replace(alias, place.real, place.bundle);
    });
  }

  /** Closes what is loaded under an alias; `current` is only ever replaced. @returns false where there was nothing */
  async unload(alias: string): Promise<boolean> {
    return this.#inTurn(async () => {
      const slot = this.#slots.get(alias);
      if (slot === undefined || alias === CURRENT) return false;
      this.#slots.delete(alias);
      this.#previous.delete(alias);
      this.#failures.delete(alias);
      this.#retire(slot);
      return true;
    });
  }

  /** Closes every model, each after the requests that it answers. Nothing is loaded afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#queue.catch(() => {});
    for (const slot of this.#slots.values()) this.#retire(slot);
    this.#slots.clear();
    await Promise.all(this.#closing);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.catch(() => {}).then(work);
    this.#queue = result;
    return result;
  }

  async #replace(alias: string, path: string, expected: string | null): Promise<RankingModel> {
    const started = performance.now();
    let model: RankingModel;
    let real: string;
    try {
      if (this.#closed || this.options === null) throw new LarrError('STOPPING', 'the server is stopping');
      // A link may be moved while the bundle loads; all its files come from one directory.
      real = await realpath(path).catch((cause) => {
        throw new BundleError('BUNDLE_MISSING', `${path} is not there`, { file: path, cause });
      });
      model = await this.options.load(real);
      if (expected !== null && model.identity.bundle !== expected) {
        await model.close();
        throw new BundleError(
          'ROLLBACK_CHANGED',
          `${real} holds bundle ${model.identity.bundle} now, and ${expected} answered before: load the one that is wanted by its directory`,
        );
      }
    } catch (error) {
      const { code = 'INTERNAL', message } = error as { code?: string; message: string };
      const failure = { alias, path, code, message, at: new Date() };
      this.#failures.set(alias, failure);
      this.#tell({ kind: 'failed', failure });
      throw error;
    }
    const slot = this.#place(model, alias, { path, real, bundle: model.identity.bundle });
    this.#tell({ kind: 'loaded', loaded: slot, seconds: (performance.now() - started) / 1000 });
    return model;
  }

  #place(model: RankingModel, alias: string, place: Place): Slot {
    const old = this.#slots.get(alias);
    const slot: Slot = { alias, model, path: place.path, since: new Date(), inFlight: 0, place, onIdle: null };
    this.#slots.set(alias, slot);
    this.#failures.delete(alias);
    if (old !== undefined) {
      // Loaded again from the same place: what was before that stays the way back.
      if (old.place.bundle !== place.bundle) this.#previous.set(alias, old.place);
      this.#retire(old);
    }
    return slot;
  }

  #tell(event: RegistryEvent): void {
    this.options?.onEvent(event);
  }

  /** Closes a model that no new request gets, once those that it answers are done. */
  #retire(slot: Slot): void {
    const closing = (async () => {
      if (slot.inFlight > 0) await new Promise<void>((resolve) => (slot.onIdle = resolve));
      await slot.model.close();
      this.#tell({ kind: 'closed', alias: slot.alias, model: slot.model });
    })();
    this.#closing.add(closing);
    closing.finally(() => this.#closing.delete(closing)).catch(() => {});
  }
}

/** How often a watched bundle is looked at, milliseconds. */
const LOOK_EVERY_MS = 1000;

/** How long after a load that failed it is tried again, at first and at most, milliseconds. */
const [RETRY_MS, RETRY_AT_MOST_MS] = [2000, 60_000];

/**
 * Calls `changed` when another bundle lies at `path` than when it was looked at before: a symbolic link was moved, or the directory was
 * replaced; and again, ever more rarely, while that rejects: files of a copy may come after the manifest. Looks rather than listens: moved
 * links and network file systems send no events.
 * @param known what lay there before it was loaded, so that nothing is missed meanwhile (bundleStamp); by default what the first look finds
 * @returns stops it
 */
export function watchBundle(
  path: string,
  changed: () => unknown,
  {
    known = null,
    everyMs = LOOK_EVERY_MS,
    retryMs = RETRY_MS,
  }: { known?: string | null; everyMs?: number; retryMs?: number } = {},
): () => void {
  let stopped = false;
  let timer: NodeJS.Timeout;
  let wait = retryMs;
  let tryAgain = Number.POSITIVE_INFINITY;
  const look = async (): Promise<void> => {
    const found = await bundleStamp(path);
    if (stopped) return;
    // One that is gone is not a change: something is being put in its place.
    if (found !== null) {
      const another = known !== null && known !== found;
      if (another) wait = retryMs;
      known = found;
      if (another || performance.now() >= tryAgain) {
        tryAgain = Number.POSITIVE_INFINITY;
        try {
          await changed();
        } catch {
          tryAgain = performance.now() + wait;
          wait = Math.min(RETRY_AT_MOST_MS, 2 * wait);
        }
        if (stopped) return;
      }
    }
    timer = setTimeout(look, everyMs).unref();
  };
  void look();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** Tells one state of the bundle at `path` from another; null where there is none, or one that is being written. */
export async function bundleStamp(path: string): Promise<string | null> {
  try {
    const manifest = join(await realpath(path), 'manifest.json');
    const before = await stat(manifest);
    // A manifest is written last; one that is cut off, or that changes while it is read, belongs to a copy under way.
    JSON.parse(await readFile(manifest, 'utf8'));
    const { ino, mtimeMs, size } = await stat(manifest);
    if (ino !== before.ino || mtimeMs !== before.mtimeMs || size !== before.size) return null;
    return `${manifest} ${ino} ${mtimeMs} ${size}`;
  } catch {
    return null;
  }
}
