import { AdamW, CompactAdamW, randint, type Tensor, tidy } from '@larr/torch';

/** What the steps of a stage ask of an optimiser. */
export interface StageOptimizer extends Disposable {
  /** The learning rate of the next step. */
  lr: number;
  step(): void;
  zeroGrad(): void;
  /** All that the next steps hang on, sharing memory. */
  stateDict(): Record<string, Tensor>;
  loadStateDict(state: Record<string, Tensor>): void;
}

/**
 * AdamW over all parameters; norms' gains, biases and rows of the embedding are not decayed.
 * @param lows by the name of their parameter the other halves of those that are held in halves (`halveWeights`): for these in bf16 throughout
 */
export function adamW(
  parameters: Record<string, Tensor>,
  lr: number,
  weightDecay: number,
  lows: Record<string, Tensor> = {},
): StageOptimizer {
  const isDecayed = ([name, t]: [string, Tensor]) => t.ndim > 1 && name !== 'embedding' && !name.startsWith('rows.');
  const options = { lr, betas: [0.9, 0.98] as const, eps: 1e-8 };
  const groups = (some: [string, Tensor][]) =>
    [
      { named: some.filter(isDecayed), weightDecay },
      { named: some.filter((one) => !isDecayed(one)), weightDecay: 0 },
    ]
      .filter(({ named }) => named.length > 0)
      .map(({ named, weightDecay }) => ({
        params: named.map(([, t]) => t),
        lows: named.flatMap(([name]) => lows[name] ?? []),
        weightDecay,
      }));
  const named = Object.entries(parameters);
  const whole = groups(named.filter(([name]) => lows[name] === undefined));
  const halved = groups(named.filter(([name]) => lows[name] !== undefined));
  if (halved.length === 0) return new AdamW(whole, options);
  const seed = tidy(() => randint(0, 2 ** 31 - 1, [1], { dtype: 'i64' }).item());
  const compact = new CompactAdamW(halved, { ...options, seed });
  return whole.length === 0 ? compact : new Both(new AdamW(whole, options), compact);
}

/** Whole f32 parameters and halved ones. */
class Both implements StageOptimizer {
  readonly #whole: AdamW;
  readonly #halved: CompactAdamW;

  constructor(whole: AdamW, halved: CompactAdamW) {
    this.#whole = whole;
    this.#halved = halved;
  }

  get lr(): number {
    return this.#whole.lr;
  }
  set lr(value: number) {
    this.#whole.lr = this.#halved.lr = value;
  }

  step(): void {
    this.#whole.step();
    this.#halved.step();
  }

  zeroGrad(): void {
    this.#whole.zeroGrad();
    this.#halved.zeroGrad();
  }

  stateDict(): Record<string, Tensor> {
    const halved = Object.entries(this.#halved.stateDict()).map(([name, t]) => [PREFIX + name, t]);
    return { ...this.#whole.stateDict(), ...Object.fromEntries(halved) };
  }

  loadStateDict(state: Record<string, Tensor>): void {
    this.#whole.loadStateDict(state);
    const halved = Object.entries(state).filter(([name]) => name.startsWith(PREFIX));
    this.#halved.loadStateDict(Object.fromEntries(halved.map(([name, t]) => [name.slice(PREFIX.length), t])));
  }

  [Symbol.dispose](): void {
    this.#whole.dispose();
    this.#halved.dispose();
  }
}

const PREFIX = 'halved.';
