import { native } from './addon.js';
import { scalar } from './creation.js';
import { TensorError } from './errors.js';
import { type AdamOptions, checkedNumber, checkedOptions, restore } from './optimiser-options.js';
import { noGrad, tidy } from './scopes.js';
import type { Tensor } from './tensor.js';

declare const adam: unique symbol;
declare const rowwise: unique symbol;
declare const adagrad: unique symbol;
type NativeAdam = { [adam]: true };
type NativeRowwise = { [rowwise]: true };
type NativeAdagrad = { [adagrad]: true };
type Settings = [lr: number, beta1: number, beta2: number, eps: number, weightDecay: number];

const adamCreate = native.adamCreate as (parameters: readonly Tensor[], decoupled: boolean) => NativeAdam;
const adamStep = native.adamStep as (state: NativeAdam, ...settings: Settings) => void;
const adamState = native.adamState as (state: NativeAdam, i: number) => [mean: Tensor, square: Tensor, step: Tensor];
const adamDispose = native.adamDispose as (state: NativeAdam) => void;
const rowwiseCreate = native.rowwiseCreate as (tables: readonly Tensor[]) => NativeRowwise;
const rowwiseStep = native.rowwiseStep as (state: NativeRowwise, ...settings: Settings) => void;
const rowwiseState = native.rowwiseState as (state: NativeRowwise, i: number) => [mean: Tensor, square: Tensor];
const rowwiseGetStep = native.rowwiseGetStep as (state: NativeRowwise) => number;
const rowwiseSetStep = native.rowwiseSetStep as (state: NativeRowwise, step: number) => void;
const rowwiseDispose = native.rowwiseDispose as (state: NativeRowwise) => void;
const adagradCreate = native.adagradCreate as (tables: readonly Tensor[], initial: number) => NativeAdagrad;
const adagradStep = native.adagradStep as (state: NativeAdagrad, lr: number, eps: number) => void;
const adagradState = native.adagradState as (state: NativeAdagrad, i: number) => Tensor;
const adagradDispose = native.adagradDispose as (state: NativeAdagrad) => void;
const zeroGradients = native.zeroGradients as (parameters: readonly Tensor[]) => void;

/**
 * Scales all gradients so that their norm together is at most maxNorm (Pascanu et al. 2013). Sparse gradients count too.
 * @returns the norm before; not finite when a gradient is not
 */
export const clipGradNorm = native.clipGradientNorm as (parameters: readonly Tensor[], maxNorm: number) => number;

/** Parameters with a learning rate or weight decay of their own. */
export interface ParameterGroup {
  params: readonly Tensor[];
  lr?: number;
  weightDecay?: number;
}

interface Group {
  params: readonly Tensor[];
  /** Its learning rate over the optimiser's. */
  ratio: number;
  weightDecay: number;
  state: NativeAdam;
}

/** Adam's two forms share all but where the weight decay goes. */
class DenseAdam implements Disposable {
  /** The learning rate of the next step; groups with one of their own keep their ratio to it. */
  lr: number;
  readonly #operator: string;
  readonly #options: Required<AdamOptions>;
  #groups: Group[] = [];

  constructor(params: readonly Tensor[] | readonly ParameterGroup[], options: AdamOptions, decoupled: boolean) {
    this.#operator = decoupled ? 'AdamW' : 'Adam';
    this.#options = checkedOptions(options, decoupled ? 0.01 : 0, this.#operator);
    this.lr = this.#options.lr;
    const groups = (params.length > 0 && 'params' in params[0]! ? params : [{ params }]) as readonly ParameterGroup[];
    for (const group of groups) {
      if (group.lr !== undefined && this.lr === 0) {
        throw new TensorError(
          'TENSOR_ARGUMENT',
          this.#operator,
          [],
          'a group with a learning rate of its own needs an lr above 0 beside it',
        );
      }
      this.#groups.push({
        params: [...group.params],
        ratio: group.lr === undefined ? 1 : group.lr / this.lr,
        weightDecay: group.weightDecay ?? this.#options.weightDecay,
        state: adamCreate(group.params, decoupled),
      });
    }
  }

  /** One update by the gradients that there are; parameters without one are left alone. */
  step(): void {
    const { betas, eps } = this.#options;
    for (const group of this.#live()) {
      adamStep(group.state, this.lr * group.ratio, betas[0], betas[1], eps, group.weightDecay);
    }
  }

  zeroGrad(): void {
    for (const group of this.#live()) zeroGradients(group.params);
  }

  /** The moments and step counts, sharing memory: `<i>.mean`, `<i>.square`, `<i>.step`, i counting over all groups. */
  stateDict(): Record<string, Tensor> {
    const state: Record<string, Tensor> = {};
    this.#eachState((name, tensor) => {
      state[name] = tensor;
    });
    return state;
  }

  /** @throws TensorError TENSOR_STATE when the state is not of such parameters; nothing says then how much of it was taken */
  loadStateDict(state: Record<string, Tensor>): void {
    noGrad(() => tidy(() => this.#eachState((name, tensor) => restore(tensor, state, name, this.#operator))));
  }

  /** Lets go of the moments. The parameters are not its own. */
  dispose(): void {
    for (const group of this.#groups) adamDispose(group.state);
    this.#groups = [];
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): Group[] {
    if (this.#groups.length === 0)
      throw new TensorError('TENSOR_DISPOSED', this.#operator, [], 'the optimiser was disposed of already');
    return this.#groups;
  }

  #eachState(visit: (name: string, tensor: Tensor) => void): void {
    let n = 0;
    for (const group of this.#live()) {
      group.params.forEach((_, i) => {
        const [mean, square, step] = adamState(group.state, i);
        visit(`${n}.mean`, mean);
        visit(`${n}.square`, square);
        visit(`${n}.step`, step);
        n++;
      });
    }
  }
}

/** AdamW: decoupled weight decay (Loshchilov and Hutter 2019), all parameters of a group in one fused kernel. */
export class AdamW extends DenseAdam {
  constructor(params: readonly Tensor[] | readonly ParameterGroup[], options: AdamOptions = {}) {
    super(params, options, true);
  }
}

/** Adam (Kingma and Ba 2015); weight decay, if any, is added to the gradient. */
export class Adam extends DenseAdam {
  constructor(params: readonly Tensor[] | readonly ParameterGroup[], options: AdamOptions = {}) {
    super(params, options, false);
  }
}

/**
 * Adam for embedding tables [rows, d] with sparse gradients (`embedding(…, {sparse: true})`): a step costs what the batch's rows
 * cost, whatever the table's size. Rows outside the batch keep their values and moments as they are (as in PyTorch's SparseAdam);
 * weight decay, if any, is decoupled and touches the batch's rows alone.
 */
export class RowwiseAdam implements Disposable {
  /** The learning rate of the next step. */
  lr: number;
  readonly #options: Required<AdamOptions>;
  readonly #tables: readonly Tensor[];
  #state: NativeRowwise | null;

  constructor(tables: readonly Tensor[], options: AdamOptions = {}) {
    this.#options = checkedOptions(options, 0, 'RowwiseAdam');
    this.lr = this.#options.lr;
    this.#tables = [...tables];
    this.#state = rowwiseCreate(tables);
  }

  /** One update of the rows that the gradients hold. */
  step(): void {
    const { betas, eps, weightDecay } = this.#options;
    rowwiseStep(this.#live(), this.lr, betas[0], betas[1], eps, weightDecay);
  }

  zeroGrad(): void {
    this.#live();
    zeroGradients(this.#tables);
  }

  /** The moments, sharing memory, and the step count: `<i>.mean`, `<i>.square`, `step`. */
  stateDict(): Record<string, Tensor> {
    const state = this.#live();
    const named: Record<string, Tensor> = { step: scalar(rowwiseGetStep(state), { dtype: 'i64' }) };
    this.#tables.forEach((_, i) => {
      const [mean, square] = rowwiseState(state, i);
      named[`${i}.mean`] = mean;
      named[`${i}.square`] = square;
    });
    return named;
  }

  /** @throws TensorError TENSOR_STATE when the state is not of such tables */
  loadStateDict(saved: Record<string, Tensor>): void {
    const state = this.#live();
    if (saved.step === undefined) throw new TensorError('TENSOR_STATE', 'RowwiseAdam', [], "the state has no 'step'");
    rowwiseSetStep(state, saved.step.item());
    noGrad(() =>
      tidy(() =>
        this.#tables.forEach((_, i) => {
          const [mean, square] = rowwiseState(state, i);
          restore(mean, saved, `${i}.mean`, 'RowwiseAdam');
          restore(square, saved, `${i}.square`, 'RowwiseAdam');
        }),
      ),
    );
  }

  /** Lets go of the moments. The tables are not its own. */
  dispose(): void {
    if (this.#state !== null) rowwiseDispose(this.#state);
    this.#state = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): NativeRowwise {
    if (this.#state === null)
      throw new TensorError('TENSOR_DISPOSED', 'RowwiseAdam', [], 'the optimiser was disposed of already');
    return this.#state;
  }
}

/** Defaults: lr 1e-2, eps 1e-10, initialSum 0, as PyTorch's Adagrad. */
export interface AdagradOptions {
  lr?: number;
  eps?: number;
  /** What the sum of squared gradients starts at; above 0 it holds the first steps back. */
  initialSum?: number;
}

/**
 * Adagrad (Duchi, Hazan and Singer 2011) for embedding tables [rows, d] with sparse gradients: sum ← sum + g²,
 * row ← row − lr g ∕ (√sum + eps). A step costs what the batch's rows cost; other rows keep their values and sums.
 */
export class RowwiseAdagrad implements Disposable {
  /** The learning rate of the next step. */
  lr: number;
  readonly #eps: number;
  readonly #tables: readonly Tensor[];
  #state: NativeAdagrad | null;

  constructor(tables: readonly Tensor[], { lr = 1e-2, eps = 1e-10, initialSum = 0 }: AdagradOptions = {}) {
    const atLeast0 = (name: string, value: number) =>
      checkedNumber(name, value, (x) => x >= 0 && Number.isFinite(x), 'a number from 0', 'RowwiseAdagrad');
    this.lr = atLeast0('lr', lr);
    this.#eps = atLeast0('eps', eps);
    this.#tables = [...tables];
    this.#state = adagradCreate(tables, atLeast0('initialSum', initialSum));
  }

  /** One update of the rows that the gradients hold. */
  step(): void {
    adagradStep(this.#live(), this.lr, this.#eps);
  }

  zeroGrad(): void {
    this.#live();
    zeroGradients(this.#tables);
  }

  /** The sums of squared gradients, sharing memory: `<i>.sum`. */
  stateDict(): Record<string, Tensor> {
    const state = this.#live();
    return Object.fromEntries(this.#tables.map((_, i) => [`${i}.sum`, adagradState(state, i)]));
  }

  /** @throws TensorError TENSOR_STATE when the state is not of such tables */
  loadStateDict(saved: Record<string, Tensor>): void {
    const state = this.#live();
    noGrad(() =>
      tidy(() => {
        for (let i = 0; i < this.#tables.length; i++)
          restore(adagradState(state, i), saved, `${i}.sum`, 'RowwiseAdagrad');
      }),
    );
  }

  /** Lets go of the sums. The tables are not its own. */
  dispose(): void {
    if (this.#state !== null) adagradDispose(this.#state);
    this.#state = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): NativeAdagrad {
    if (this.#state === null)
      throw new TensorError('TENSOR_DISPOSED', 'RowwiseAdagrad', [], 'the optimiser was disposed of already');
    return this.#state;
  }
}
