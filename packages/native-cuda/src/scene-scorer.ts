import { count, floats, holder, ints, isBf16, pin, shape } from './arrays.js';
import { activeGpuSync } from './device.js';
import { KernelError } from './errors.js';
import { native } from './native.js';

/** Sizes of the encoder: width d, attention heads, feed-forward width, hidden width of the projection head, width of z. */
export interface EncoderDims {
  d: number;
  heads: number;
  ffn: number;
  headHidden: number;
  out: number;
}

export interface SceneScorerOptions {
  /** [entries, d]: one embedding per (field, text). Not copied on the processor where there are more than 16,384 entries: must not be written then. */
  table: Float32Array;
  /** [entries]: the field of each entry, 0 .. fields-1. */
  fieldOf: Int32Array;
  fields: number;
  /** By PyTorch-like names, see {@link weightShapes}. */
  weights: Record<string, Float32Array>;
  dims: EncoderDims;
  /** `bf16`: weights and activations between products in bf16, accumulated in f32. Default `f32`. */
  dtype?: 'f32' | 'bf16';
}

/** Names and shapes of the encoder's weights ([out, in] matrices), in the order the kernels take them. */
export function weightShapes(fields: number, { d, ffn, headHidden, out }: EncoderDims): Record<string, number[]> {
  return {
    agg: [d],
    field: [fields, d],
    in_proj_weight: [3 * d, d],
    in_proj_bias: [3 * d],
    out_proj_weight: [d, d],
    out_proj_bias: [d],
    norm1_weight: [d],
    norm1_bias: [d],
    ffn1_weight: [ffn, d],
    ffn1_bias: [ffn],
    ffn2_weight: [d, ffn],
    ffn2_bias: [d],
    norm2_weight: [d],
    norm2_bias: [d],
    head1_weight: [headHidden, d],
    head1_bias: [headHidden],
    head2_weight: [out, headHidden],
    head2_bias: [out],
  };
}

export interface ScoreOptions {
  /** [rows, fields] entry indices, -1 = missing. */
  rows: Int32Array;
  /** [rows, out], or [out]: one target for every row. */
  targets: Float32Array;
  /** How many of the best rows to name; 0 (default) for none. */
  topK?: number;
  /** Also the attention weights. Default false. */
  attention?: boolean;
}

export interface ScoreResult {
  /** [rows]: z_i · target_i. */
  scores: Float32Array;
  /** The best rows and their scores, best first, equal scores by row. */
  top: { rows: Int32Array; scores: Float32Array };
  /** [rows, heads, 1 + fields]: of the aggregation token, then of each field; 0 where missing. */
  attention: Float32Array | null;
}

/**
 * The scene encoder of docs/method.md, section 5, with aggregation pooling, folded exactly (docs/kernels.md, B): at construction one
 * logit per head and one value vector per table entry, per row only their softmax, the sum, and the layers above. Immutable; many
 * calls may run at once. A missing keyword (-1) is left out of attention.
 *
 * On the GPU that `LARR_DEVICE=cuda[:n]` names, where it does: table and weights are copied there once, rows and results at every call.
 * The constructor then waits for the driver where nobody has asked it yet, and folds the whole table.
 *
 * @throws KernelError BAD_ARGUMENT, BAD_SHAPE or DETACHED naming the argument or weight; OUT_OF_RANGE naming row and field of an index
 *   that is neither -1 nor an entry of that field; DISPOSED; NO_SUCH_DEVICE where `LARR_DEVICE` asks for a GPU that is not there or too old;
 *   OUT_OF_MEMORY where the machine or the GPU has not enough of it; KERNEL_FAILED for what else the GPU refuses.
 */
export class SceneScorer implements Disposable {
  readonly fields: number;
  readonly dims: Readonly<EncoderDims>;
  /** Where it runs: `cpu` or `cuda:<index>`. */
  readonly device: string;
  /** Why it runs on the processor although `LARR_DEVICE` names a GPU: a row is too wide for the shared memory of its blocks. */
  readonly whyCpu: string | undefined;
  #encoder: object | null;

  constructor(options: SceneScorerOptions) {
    const fields = count('fields', holder('options', options).fields);
    holder('dims', options.dims);
    holder('weights', options.weights);
    const dims = { ...options.dims };
    for (const name of ['d', 'heads', 'ffn', 'headHidden', 'out'] as const) count(`dims.${name}`, dims[name]);
    if (dims.d % dims.heads !== 0) {
      throw new KernelError('BAD_ARGUMENT', `dims.d = ${dims.d} must be a multiple of dims.heads = ${dims.heads}`);
    }
    if (!(options.fieldOf instanceof Int32Array))
      throw new KernelError('BAD_ARGUMENT', 'fieldOf must be an Int32Array [entries]');
    const entries = options.fieldOf.length;
    const fieldOf = ints('fieldOf', options.fieldOf, shape('[entries]', entries));
    const table = floats('table', options.table, shape('[entries, d]', entries, dims.d));
    const weights = Object.entries(weightShapes(fields, dims)).map(([name, sizes]) =>
      floats(
        `weights.${name}`,
        options.weights[name],
        shape(`[${sizes.map((_, i) => (sizes.length === 2 && i === 0 ? 'out' : 'in')).join(', ')}]`, ...sizes),
      ),
    );
    const sizes = Int32Array.of(fields, dims.d, dims.heads, dims.ffn, dims.headHidden, dims.out);
    pin(table);
    const gpu = activeGpuSync();
    const [encoder, whyCpu] = native().makeEncoder(table, fieldOf, weights, sizes, isBf16(options.dtype), gpu);
    this.#encoder = encoder;
    this.whyCpu = whyCpu || undefined;
    this.device = gpu < 0 || whyCpu ? 'cpu' : `cuda:${gpu}`;
    this.fields = fields;
    this.dims = dims;
  }

  /** z, [rows, out], for rows [rows, fields] of entry indices; into `out` where given. Runs off the event loop. */
  async encode(rows: Int32Array, out?: Float32Array): Promise<Float32Array> {
    const call = this.#prepare(rows, out, false);
    pin(rows, call.z);
    await call.run(true);
    return call.z;
  }

  /** {@link encode} on the calling thread (and the kernels' own). */
  encodeSync(rows: Int32Array, out?: Float32Array): Float32Array {
    const call = this.#prepare(rows, out, false);
    call.run(false);
    return call.z;
  }

  /** z and the attention weights, [rows, heads, 1 + fields]: of the aggregation token, then of each field; 0 where missing. */
  async encodeWithAttention(rows: Int32Array): Promise<{ z: Float32Array; attention: Float32Array }> {
    const call = this.#prepare(rows, undefined, true);
    pin(rows);
    await call.run(true);
    return { z: call.z, attention: call.attention as Float32Array };
  }

  /** Scores of pairs, the best of them, and on request why. */
  async score(options: ScoreOptions): Promise<ScoreResult> {
    const n = this.#rows(holder('options', options).rows);
    const one = options.targets instanceof Float32Array && options.targets.length === this.dims.out && n !== 1;
    const wanted = one ? shape('[out]', this.dims.out) : shape('[rows, out]', n, this.dims.out);
    const targets = floats('targets', options.targets, wanted);
    const topK = count('topK', options.topK ?? 0, 0);
    const scores = new Float32Array(n);
    const attention = options.attention ? this.#attention(n) : null;
    pin(options.rows, targets);
    const [rows, best] = await native().score(
      this.#open(),
      options.rows,
      n,
      targets,
      one,
      scores,
      attention,
      topK,
      true,
    );
    return { scores, top: { rows, scores: best }, attention };
  }

  /** Lets go of the packed weights; calls under way finish. */
  dispose(): void {
    this.#encoder = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #open(): object {
    if (this.#encoder === null) throw new KernelError('DISPOSED', 'the scene scorer has been disposed of');
    return this.#encoder;
  }

  #rows(rows: unknown): number {
    const n = rows instanceof Int32Array ? Math.ceil(rows.length / this.fields) : 0;
    return ints('rows', rows, shape('[rows, fields]', n, this.fields)).length / this.fields;
  }

  #attention(n: number): Float32Array {
    return new Float32Array(n * this.dims.heads * (1 + this.fields));
  }

  #prepare(rows: Int32Array, out: Float32Array | undefined, wantAttention: boolean) {
    const encoder = this.#open();
    const n = this.#rows(rows);
    const z =
      out === undefined
        ? new Float32Array(n * this.dims.out)
        : floats('out', out, shape('[rows, out]', n, this.dims.out));
    const attention = wantAttention ? this.#attention(n) : null;
    return { z, attention, run: (async: boolean) => native().encode(encoder, rows, n, z, attention, async) };
  }
}
