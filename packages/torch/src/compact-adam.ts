import { native } from './addon.js';
import { TensorError } from './errors.js';
import { type AdamOptions, checkedOptions, restore } from './optimiser-options.js';
import { noGrad, tidy } from './scopes.js';
import type { Tensor } from './tensor.js';

declare const compact: unique symbol;
type NativeCompact = { [compact]: true };

const compactCreate = native.compactCreate as (
  parameters: readonly Tensor[],
  lows: readonly Tensor[],
  seed: number,
  composed: boolean,
) => NativeCompact;
const compactStep = native.compactStep as (
  state: NativeCompact,
  lr: number,
  beta1: number,
  beta2: number,
  eps: number,
  weightDecay: number,
) => void;
const compactState = native.compactState as (
  state: NativeCompact,
  i: number,
) => [low: Tensor, mean: Tensor, square: Tensor, step: Tensor];
const compactSeed = native.compactSeed as (state: NativeCompact) => Tensor;
const compactDispose = native.compactDispose as (state: NativeCompact) => void;
const zeroGradients = native.zeroGradients as (parameters: readonly Tensor[]) => void;

/**
 * f32 numbers as the nearest bf16, ties away from zero, and an i16: the difference between the bits of both. `joinHalves` puts them together
 * again, to the same bits: denormals, infinities and all; only of NaNs there is one. From 3.396e38 on the bf16 is infinite.
 */
export const splitHalves = native.splitHalves as (x: Tensor) => [high: Tensor, low: Tensor];

/** The f32 numbers that `splitHalves` took apart. */
export const joinHalves = native.joinHalves as (high: Tensor, low: Tensor) => Tensor;

/** bf16 parameters, contiguous, and the other half of each (`splitHalves`), which steps change with them. */
export interface CompactGroup {
  params: readonly Tensor[];
  lows: readonly Tensor[];
  weightDecay?: number;
}

export interface CompactAdamOptions extends AdamOptions {
  /** Of the random numbers that rounding takes; default 0. */
  seed?: number;
  /** Steps by LibTorch's operators in place of loops and kernels of our own: slower, the same bits. For machines without them, and to compare with. */
  composed?: boolean;
}

/**
 * AdamW (Loshchilov and Hutter 2019) in ten bytes a weight, gradient and all, where f32 takes sixteen: weights are bf16 with the rest of an
 * exact f32 master beside them, gradients bf16, both moments bf16, rounded up or down by chance in proportion (Gupta et al. 2015), since a mean
 * of squares rounded to the nearest stands still. Where a parameter has a gradient already, the next is added to it by the same rounding: sums over many
 * pieces of a batch lose nothing in the mean. Seed, step and place decide every random number: the same bits on any number of threads, on
 * every instruction set, and on CUDA.
 */
export class CompactAdamW implements Disposable {
  /** The learning rate of the next step. */
  lr: number;
  readonly #options: Required<AdamOptions>;
  #groups: { params: readonly Tensor[]; weightDecay: number; state: NativeCompact }[] = [];

  constructor(groups: readonly CompactGroup[], options: CompactAdamOptions = {}) {
    this.#options = checkedOptions(options, 0.01, 'CompactAdamW');
    this.lr = this.#options.lr;
    const { seed = 0, composed = false } = options;
    this.#groups = groups.map(({ params, lows, weightDecay }, i) => ({
      params: [...params],
      weightDecay: weightDecay ?? this.#options.weightDecay,
      state: compactCreate(params, lows, seed + i, composed),
    }));
  }

  /** One update by the gradients that there are; parameters without one are left alone. */
  step(): void {
    const { betas, eps } = this.#options;
    for (const { state, weightDecay } of this.#live())
      compactStep(state, this.lr, betas[0], betas[1], eps, weightDecay);
  }

  zeroGrad(): void {
    for (const { params } of this.#live()) zeroGradients(params);
  }

  /** Lower halves, moments, step counts and seeds, sharing memory: `<i>.low`, `<i>.mean`, `<i>.square`, `<i>.step`, i counting over all groups; `seed.<group>`. */
  stateDict(): Record<string, Tensor> {
    const state: Record<string, Tensor> = {};
    this.#eachState((name, tensor) => {
      state[name] = tensor;
    });
    return state;
  }

  /** @throws TensorError TENSOR_STATE when the state is not of such parameters; nothing says then how much of it was taken */
  loadStateDict(state: Record<string, Tensor>): void {
    noGrad(() => tidy(() => this.#eachState((name, tensor) => restore(tensor, state, name, 'CompactAdamW'))));
  }

  /** Lets go of the moments. The parameters and their lower halves are not its own. */
  dispose(): void {
    for (const { state } of this.#groups) compactDispose(state);
    this.#groups = [];
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live() {
    if (this.#groups.length === 0)
      throw new TensorError('TENSOR_DISPOSED', 'CompactAdamW', [], 'the optimiser was disposed of already');
    return this.#groups;
  }

  #eachState(visit: (name: string, tensor: Tensor) => void): void {
    let n = 0;
    this.#live().forEach(({ params, state }, group) => {
      visit(`seed.${group}`, compactSeed(state));
      params.forEach((_, i) => {
        const [low, mean, square, step] = compactState(state, i);
        visit(`${n}.low`, low);
        visit(`${n}.mean`, mean);
        visit(`${n}.square`, square);
        visit(`${n}.step`, step);
        n++;
      });
    });
  }
}
