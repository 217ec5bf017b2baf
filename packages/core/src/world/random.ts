/**
 * Random numbers that depend on nothing but (seed, stream, index): PCG32 (O'Neill 2014, XSH-RR 64/32) whose 64-bit state is kept in
 * two 32-bit halves, started from a SplitMix-style hash. A stream can be opened anywhere, so no part of the world
 * depends on how much randomness another part drew.
 */
export class Random {
  private hi = 0;
  private lo = 0;
  private spare = Number.NaN;

  constructor(seed: number, stream: number, index = 0) {
    this.restart(seed, stream, index);
  }

  /** Goes to the beginning of another (seed, stream, index), without a new object: sessions do this a million times. */
  restart(seed: number, stream: number, index: number): void {
    this.hi = mix(mix(mix(seed | 0) ^ stream) ^ index);
    this.lo = mix(this.hi ^ Math.floor(seed / 0x100000000) ^ 0x5bd1e995);
    this.spare = Number.NaN;
    this.next();
  }

  /** The next 32 bits as an unsigned integer. */
  next(): number {
    const hi = this.hi;
    const lo = this.lo;
    // state = state * 6364136223846793005 + 1442695040888963407 (mod 2^64), by 16-bit limbs of the low word.
    const lowLow = (lo & 0xffff) * 0x7f2d;
    const lowHigh = (lo >>> 16) * 0x7f2d + (lowLow >>> 16);
    const highLow = (lo & 0xffff) * 0x4c95 + (lowHigh & 0xffff);
    let carry = (lo >>> 16) * 0x4c95 + Math.floor(lowHigh / 65536) + Math.floor(highLow / 65536);
    let newLo = ((highLow & 0xffff) << 16) | (lowLow & 0xffff);
    carry = (carry + Math.imul(hi, 0x4c957f2d) + Math.imul(lo, 0x5851f42d)) | 0;
    const sum = (newLo >>> 0) + 0xf767814f;
    newLo = sum | 0;
    this.lo = newLo;
    this.hi = (carry + 0x14057b7e + (sum > 0xffffffff ? 1 : 0)) | 0;
    // Output of the old state: rotr32(((s >> 18) ^ s) >> 27, s >> 59).
    const shiftedHi = hi >>> 18;
    const shiftedLo = (lo >>> 18) | (hi << 14);
    const x = ((lo ^ shiftedLo) >>> 27) | ((hi ^ shiftedHi) << 5);
    const rotation = hi >>> 27;
    return ((x >>> rotation) | (x << (-rotation & 31))) >>> 0;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.next() / 4294967296;
  }

  /** Uniform integer in [0, n). */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** Standard normal (Box–Muller). */
  normal(): number {
    if (!Number.isNaN(this.spare)) {
      const value = this.spare;
      this.spare = Number.NaN;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** One of the items, each as likely. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  /** Index drawn in proportion to `weights`. */
  weighted(weights: ArrayLike<number>): number {
    let total = 0;
    for (let i = 0; i < weights.length; i++) total += weights[i]!;
    let left = this.uniform() * total;
    for (let i = 0; i < weights.length; i++) {
      left -= weights[i]!;
      if (left < 0) return i;
    }
    return weights.length - 1;
  }
}

function mix(value: number): number {
  let x = (value + 0x9e3779b9) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return x ^ (x >>> 15);
}

/** A fixed standard-normal-like value for a pair of integers: the same pair always gives the same value. */
export function pairNormal(seed: number, a: number, b: number): number {
  const first = mix(mix(seed ^ 0x3c6ef372) ^ Math.imul(a, 0x9e3779b1));
  let sum = 0;
  // The sum of four uniforms, scaled to unit variance: cheap, and close enough to a normal for a nuisance term.
  let x = mix(first ^ Math.imul(b, 0x85ebca77));
  for (let i = 0; i < 4; i++) {
    sum += (x >>> 0) / 4294967296;
    x = mix(x);
  }
  return (sum - 2) * Math.sqrt(3);
}

/** Walker's alias table: draws an index in proportion to fixed weights in constant time. */
export class AliasTable {
  private readonly threshold: Float64Array;
  private readonly alias: Int32Array;

  constructor(weights: ArrayLike<number>) {
    const n = weights.length;
    this.threshold = new Float64Array(n);
    this.alias = new Int32Array(n);
    let total = 0;
    for (let i = 0; i < n; i++) total += weights[i]!;
    const small: number[] = [];
    const large: number[] = [];
    for (let i = 0; i < n; i++) {
      this.threshold[i] = (weights[i]! * n) / total;
      (this.threshold[i]! < 1 ? small : large).push(i);
    }
    while (small.length > 0 && large.length > 0) {
      const low = small.pop()!;
      const high = large.at(-1)!;
      this.alias[low] = high;
      this.threshold[high] = this.threshold[high]! - (1 - this.threshold[low]!);
      if (this.threshold[high]! < 1) small.push(large.pop()!);
    }
    for (const i of [...small, ...large]) this.threshold[i] = 1;
  }

  draw(random: Random): number {
    const at = random.uniform() * this.threshold.length;
    const cell = Math.floor(at);
    return at - cell < this.threshold[cell]! ? cell : this.alias[cell]!;
  }
}
