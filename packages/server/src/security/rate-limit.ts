/** Senders that are remembered; beyond them the one that was heard least lately is forgotten, and begins again with a full bucket. */
const REMEMBERED = 20_000;

interface Bucket {
  /** requests that may still come at once */
  tokens: number;
  /** when that was so, milliseconds */
  at: number;
}

/**
 * Token buckets, one a sender: `rate` requests a second in the long run, twice as many at once. No timer, no store: a sender costs one entry, and
 * there are at most 20,000 of them.
 */
export class RateLimit {
  readonly #buckets = new Map<string, Bucket>();

  /** @param now clock, milliseconds */
  constructor(
    private readonly now: () => number = () => performance.now(),
    private readonly remembered: number = REMEMBERED,
  ) {}

  /**
   * Takes one request of `sender` off its bucket.
   * @param rate requests a second
   * @returns 0, or the whole seconds to wait for where there is none left
   */
  take(sender: string, rate: number): number {
    const now = this.now();
    const most = Math.max(1, 2 * rate);
    const bucket = this.#buckets.get(sender) ?? { tokens: most, at: now };
    bucket.tokens = Math.min(most, bucket.tokens + ((now - bucket.at) / 1000) * rate);
    bucket.at = now;
    // The map keeps the order of entry: whoever was heard last stands last.
    this.#buckets.delete(sender);
    this.#buckets.set(sender, bucket);
    if (this.#buckets.size > this.remembered) this.#buckets.delete(this.#buckets.keys().next().value!);
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return 0;
    }
    return Math.max(1, Math.ceil((1 - bucket.tokens) / rate));
  }

  get senders(): number {
    return this.#buckets.size;
  }
}

/** The part of an address that one sender has to itself: all of IPv4, the first 64 bits of IPv6. */
export function senderOf(address: string): string {
  const plain = address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
  if (!plain.includes(':')) return plain;
  const [head = '', tail] = plain.split('%', 1)[0]!.split('::', 2) as [string, string?];
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const rest = tail === '' ? [] : tail.split(':');
    while (groups.length + rest.length < 8) groups.push('0');
    groups.push(...rest);
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}
