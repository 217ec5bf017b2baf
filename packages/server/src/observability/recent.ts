/** Seconds of one slot, and how many are kept: the last five minutes. */
const SLOT_SECONDS = 10;
const SLOTS = 30;

/** Clock in milliseconds that never goes back. */
export type Clock = () => number;

/** What was counted in the last five minutes, in slots of ten seconds. */
export class RecentCount {
  readonly #slots = new Float64Array(SLOTS);
  readonly #ring: SlotRing;

  constructor(clock: Clock) {
    this.#ring = new SlotRing(clock, (slot) => {
      this.#slots[slot] = 0;
    });
  }

  add(count = 1): void {
    this.#slots[this.#ring.now()]! += count;
  }

  total(): number {
    this.#ring.now();
    return this.#slots.reduce((sum, count) => sum + count, 0);
  }

  /** per slot, oldest first; the last one is still filling */
  series(): number[] {
    return this.#ring.order().map((slot) => this.#slots[slot]!);
  }
}

/** Neighbouring buckets' bounds are 5 % apart, so a quantile is at most 2.5 % off. */
const GROWTH = Math.log(1.05);
const SMALLEST = 1e-5;
const BUCKETS = 330; // up to 98 s

/** Times of the last five minutes, as a histogram per slot: quantiles without keeping each time. */
export class RecentTimes {
  readonly #counts = new Uint32Array(SLOTS * BUCKETS);
  readonly #ring: SlotRing;

  constructor(clock: Clock) {
    this.#ring = new SlotRing(clock, (slot) => this.#counts.fill(0, slot * BUCKETS, (slot + 1) * BUCKETS));
  }

  observe(seconds: number): void {
    const bucket = Math.min(BUCKETS - 1, Math.max(0, Math.round(Math.log(seconds / SMALLEST) / GROWTH)));
    this.#counts[this.#ring.now() * BUCKETS + bucket]!++;
  }

  /** Quantiles in seconds over all slots; null where nothing was timed. */
  summary(): TimesSummary {
    this.#ring.now();
    const all = new Uint32Array(BUCKETS);
    this.#counts.forEach((count, i) => {
      all[i % BUCKETS]! += count;
    });
    return summarised(all);
  }

  /** The same, per slot, oldest first. */
  series(): TimesSummary[] {
    return this.#ring.order().map((slot) => summarised(this.#counts.subarray(slot * BUCKETS, (slot + 1) * BUCKETS)));
  }
}

export interface TimesSummary {
  count: number;
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

function summarised(counts: Uint32Array): TimesSummary {
  const count = counts.reduce((sum, n) => sum + n, 0);
  const quantile = (q: number): number | null => {
    if (count === 0) return null;
    let left = Math.ceil(q * count);
    for (let bucket = 0; bucket < counts.length; bucket++) {
      left -= counts[bucket]!;
      if (left <= 0) return SMALLEST * Math.exp(bucket * GROWTH);
    }
    return null;
  };
  return { count, p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) };
}

/** Which slot is now; those that time has passed over are emptied. */
export class SlotRing {
  /** number of the newest slot since the clock began */
  #newest: number;

  constructor(
    private readonly clock: Clock,
    private readonly empty: (slot: number) => void,
  ) {
    this.#newest = this.#number();
  }

  now(): number {
    const number = this.#number();
    for (let passed = Math.max(this.#newest + 1, number - SLOTS + 1); passed <= number; passed++)
      this.empty(passed % SLOTS);
    this.#newest = Math.max(this.#newest, number);
    return this.#newest % SLOTS;
  }

  order(): number[] {
    this.now();
    return Array.from({ length: SLOTS }, (_, i) => (this.#newest + 1 + i) % SLOTS);
  }

  #number(): number {
    return Math.floor(this.clock() / (SLOT_SECONDS * 1000));
  }
}

export const RECENT = { slotSeconds: SLOT_SECONDS, slots: SLOTS };
