import { TrainingError } from '@larr/core';
import { init, keep, type Tensor, zeros } from '@larr/torch';

/** Fills a fresh tensor in place. */
export type Initialiser = (tensor: Tensor) => void;

export const zero: Initialiser = () => {};

export const normal =
  (std: number): Initialiser =>
  (tensor) => {
    init.normal_(tensor, std);
  };

export const constant =
  (value: number): Initialiser =>
  (tensor) => {
    tensor.fill_(value);
  };

/** Glorot's uniform law for a weight that maps `fanIn` numbers to `fanOut`: U(±√(6 / (fanIn + fanOut))). */
export const glorot =
  (fanIn: number, fanOut: number): Initialiser =>
  (tensor) => {
    const bound = Math.sqrt(6 / (fanIn + fanOut));
    init.uniform_(tensor, -bound, bound);
  };

/**
 * The tensors of one model under stable names: the names are what checkpoints, bundles and the ONNX export know.
 *
 * - `dense` parameters are updated in every step (AdamW);
 * - `tables` are embedding tables; where `sparse`, only the rows that a batch touched are updated;
 * - `buffers` are saved but not trained (standardised scene table, running statistics of batch normalisation).
 */
export class Parameters {
  readonly dense = new Map<string, Tensor>();
  readonly tables = new Map<string, Tensor>();
  readonly buffers = new Map<string, Tensor>();
  readonly #constants: Tensor[] = [];

  constructor(
    readonly device: string,
    readonly sparse = true,
  ) {}

  parameter(name: string, shape: number[], initialise: Initialiser): Tensor {
    return this.#own(this.dense, name, shape, initialise).requiresGrad_();
  }

  table(name: string, shape: number[], initialise: Initialiser): Tensor {
    return this.#own(this.tables, name, shape, initialise).requiresGrad_();
  }

  /** Registers `tensor` itself (ownership passes to this object). */
  buffer(name: string, tensor: Tensor): Tensor {
    this.#fresh(name);
    const kept = keep(tensor.detach().to({ device: this.device }));
    this.buffers.set(name, kept);
    return kept;
  }

  /** A tensor that follows from the configuration (a mask, an index): owned and placed, but not saved. */
  constant(tensor: Tensor): Tensor {
    const kept = keep(tensor.to({ device: this.device }));
    this.#constants.push(kept);
    return kept;
  }

  /** Every named tensor: what a checkpoint of the model holds. */
  state(): Record<string, Tensor> {
    return Object.fromEntries([...this.dense, ...this.tables, ...this.buffers]);
  }

  /**
   * Copies `state` into the model's tensors.
   * @throws TrainingError `CHECKPOINT_MISMATCH` where a name is missing, unknown, or of another shape.
   */
  load(state: Record<string, Tensor>): void {
    const own = this.state();
    for (const name of Object.keys(state)) {
      if (!own[name]) throw mismatch(`it has "${name}", which this model has not`);
    }
    for (const [name, tensor] of Object.entries(own)) {
      const saved = state[name];
      if (!saved) throw mismatch(`"${name}" is missing from it`);
      if (saved.shape.join() !== tensor.shape.join()) {
        throw mismatch(`"${name}" is [${saved.shape}] there and [${tensor.shape}] here`);
      }
    }
    for (const [name, tensor] of Object.entries(own)) tensor.detach().copy_(state[name]!);
  }

  count(): number {
    let total = 0;
    for (const tensor of [...this.dense.values(), ...this.tables.values()]) total += tensor.numel;
    return total;
  }

  dispose(): void {
    for (const map of [this.dense, this.tables, this.buffers]) {
      for (const tensor of map.values()) {
        tensor.grad?.dispose();
        tensor.dispose();
      }
      map.clear();
    }
    for (const tensor of this.#constants.splice(0)) tensor.dispose();
  }

  #own(map: Map<string, Tensor>, name: string, shape: number[], initialise: Initialiser): Tensor {
    this.#fresh(name);
    const tensor = keep(zeros(shape, { device: this.device }));
    initialise(tensor);
    map.set(name, tensor);
    return tensor;
  }

  #fresh(name: string): void {
    if (this.dense.has(name) || this.tables.has(name) || this.buffers.has(name)) {
      throw new TrainingError('DUPLICATE_PARAMETER', `two parameters of one model are named "${name}"`);
    }
  }
}

function mismatch(what: string): TrainingError {
  return new TrainingError(
    'CHECKPOINT_MISMATCH',
    `the checkpoint belongs to another model: ${what}. Use the configuration it was trained with, or another --out`,
  );
}
