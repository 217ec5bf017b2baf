interface Entry<T> {
  work: Promise<T>;
  /** when it settled, milliseconds; null while it runs */
  settled: number | null;
}

/**
 * Results that are worth keeping for a moment: who asks while one is worked out waits for it, and who asks within the time behind it gets it again. One
 * that fails is forgotten at once, so that the next who asks tries again.
 */
export class SharedWork<T> {
  readonly #entries = new Map<string, Entry<T>>();

  /** @param keptMs how long a result is given out after it was done, milliseconds */
  constructor(
    private readonly keptMs: number,
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** The result under `key`, made by `work` where there is none. @throws what `work` throws */
  get(key: string, work: () => Promise<T>): Promise<T> {
    for (const [old, { settled }] of this.#entries)
      if (settled !== null && this.now() - settled >= this.keptMs) this.#entries.delete(old);
    const known = this.#entries.get(key);
    if (known !== undefined) return known.work;
    const entry: Entry<T> = { work: work(), settled: null };
    this.#entries.set(key, entry);
    entry.work.then(
      () => {
        entry.settled = this.now();
      },
      () => this.#entries.delete(key),
    );
    return entry.work;
  }
}
