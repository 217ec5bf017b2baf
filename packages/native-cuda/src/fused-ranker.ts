import { count, finite, floats, holder, ints, pin, shape } from './arrays.js';
import { KernelError } from './errors.js';
import { native } from './native.js';

/**
 * What a ranker's network reads of a row: `[context ids' embeddings ; context dense ; z ; behaviour ; ids' embeddings ; dense ; POI vector]`.
 * Dense values come raw and enter as (value − mean) · scale.
 */
export interface RankerInputSizes {
  /** width of an ID's embedding */
  embedding: number;
  /** numbers of features that are the same for a whole context */
  contextIds: number;
  contextDense: number;
  /** widths of the context's vectors, 0 = none */
  z: number;
  behaviour: number;
  /** features of the row; true where one follows from the POI alone */
  ids: readonly boolean[];
  dense: readonly boolean[];
  /** width of the POI's vector, 0 = none */
  poi: number;
}

/**
 * The sizes of a bundle's ranker inputs (`inputs` of its manifest).
 * @param followFromPoi of each ID and dense feature of the row, whether it follows from the POI alone; none where a list is empty
 */
export function rankerInputSizes(
  inputs: {
    ids: { context: readonly number[]; row: readonly number[] };
    dense: { context: readonly number[]; row: readonly number[] };
    z_s: number | null;
    behaviour: number | null;
    poi: boolean;
    tables: Readonly<Record<string, { dim: number }>>;
  },
  followFromPoi: { ids: readonly boolean[]; dense: readonly boolean[] },
): RankerInputSizes {
  const { ids, dense, tables } = inputs;
  return {
    embedding: tables.table?.dim ?? 0,
    contextIds: ids.context.length,
    contextDense: dense.context.length,
    z: inputs.z_s ?? 0,
    behaviour: inputs.behaviour ?? 0,
    ids: ids.row.map((_, i) => followFromPoi.ids[i] ?? false),
    dense: dense.row.map((_, i) => followFromPoi.dense[i] ?? false),
    poi: inputs.poi ? (tables.poi_vectors?.dim ?? 0) : 0,
  };
}

/** Writes register `to`: of the inputs (`from` null) or of a register, x Wᵀ + b. A register is one vector a row. */
export interface LayerStep {
  kind: 'layer';
  from: number | null;
  to: number;
  /** name of a weight [out, in] */
  weight: string;
  /** name of a weight [out]; null = none */
  bias: string | null;
  relu: boolean;
}

/** Writes the registers `to`, one a gate: Σ_e softmax(gate)_e · expert_e over the experts that the gate sees. */
export interface MixStep {
  kind: 'mix';
  /** registers as wide as there are experts */
  gates: readonly number[];
  /** registers of one width */
  experts: readonly number[];
  to: readonly number[];
  /** [gates][experts] */
  seen: readonly (readonly boolean[])[];
}

/** Most experts that one mix step may name. */
export const MOST_EXPERTS = 256;

export interface FusedRankerOptions {
  inputs: RankerInputSizes;
  /** f32, by name; `dense.mean` and `dense.scale` [contextDense + dense] are those of the dense features */
  weights: Record<string, Float32Array>;
  /** width of each register */
  registers: readonly number[];
  steps: readonly (LayerStep | MixStep)[];
  /** registers of width 1: the click's logit, and the order's where the model learnt orders */
  logits: readonly number[];
  /** added to the click's logit */
  clickShift: number;
  /** f32 [·, embedding]; not copied, so it must not be written */
  embedding: Float32Array;
  /** the same for the POIs' vectors [·, poi]; null where the network takes none */
  pois: Float32Array | null;
  /** f32 [rows of the embedding table, logits], not copied: what each of a row's IDs adds to the logits beside the network; null = nothing */
  terms: Float32Array | null;
  /**
   * Name of a weight u [logits, embedding]: logit k gains ½ Σ_d u_{k,d} S_d², S the sum of the embeddings of all of a row's IDs, its context's too. That is a
   * factorisation machine's second order and half the squares of the IDs themselves, which `terms` takes back: w_{k,id} − ½ Σ_d u_{k,d} v_{id,d}². Null = nothing
   */
  secondOrder: string | null;
  /** Most bytes kept of what follows from POIs alone. */
  memory: number;
}

/** Candidates of one request. Inputs that the network has not are null. */
export interface RankerRows {
  rows: number;
  contexts: number;
  /** [rows]: the context of each row */
  context: Int32Array;
  /** [contexts, contextIds] rows of the embedding table */
  contextIds: Int32Array | null;
  /** [contexts, contextDense] raw */
  contextDense: Float32Array | null;
  /** [contexts, z] */
  z: Float32Array | null;
  /** [contexts, behaviour] */
  behaviour: Float32Array | null;
  /** [rows, ids] rows of the embedding table */
  ids: Int32Array | null;
  /** [rows, dense] raw */
  dense: Float32Array | null;
  /** [rows] rows of the POI vectors */
  poi: Int32Array | null;
  /**
   * [rows]: the number of the row's POI, −1 = none, and which state of the POI this is. Rows with the same two have the same values of what follows
   * from the POI alone, which is then computed once. Null: computed for every row.
   */
  kept: { poi: Int32Array; version: Int32Array } | null;
}

/**
 * A network of layers, experts and gates over ID embeddings, dense features and vectors, for the candidates of a request, in f32: what a PLE, MMoE, ESMM, DNN,
 * Wide & Deep or DeepFM is when it serves. What follows from the context is computed once a context, what follows from a POI alone once a POI and kept; the rest goes through in blocks
 * of rows that stay in the processor's cache. Immutable; many calls may run at once.
 *
 * @throws KernelError BAD_ARGUMENT or BAD_SHAPE naming the argument or step; OUT_OF_RANGE naming the place of an index outside its table; DISPOSED.
 */
export class FusedRanker implements Disposable {
  readonly inputs: Readonly<RankerInputSizes>;
  readonly #orders: boolean;
  #ranker: object | null;

  constructor(options: FusedRankerOptions) {
    const { inputs, registers, steps, weights } = holder('options', options);
    holder('weights', weights);
    for (const [name, list] of Object.entries({ registers, steps, logits: options.logits }))
      if (!Array.isArray(list)) throw new KernelError('BAD_ARGUMENT', `${name} must be an array`);
    count('inputs.embedding', holder('inputs', inputs).embedding);
    for (const name of ['contextIds', 'contextDense', 'z', 'behaviour', 'poi'] as const)
      count(`inputs.${name}`, inputs[name], 0);
    const dense = inputs.contextDense + inputs.dense.length;
    const weight = (name: string, words: string, ...sizes: number[]): Float32Array =>
      floats(`weights["${name}"]`, weights[name], shape(words, ...sizes));
    const standard = (name: string): Float32Array =>
      dense === 0 ? new Float32Array(0) : weight(name, '[contextDense + dense]', dense);
    const width = (register: number, what: string): number => {
      const found = registers[register];
      if (found === undefined) throw new KernelError('BAD_ARGUMENT', `${what}: there is no register ${register}`);
      return count(`registers[${register}]`, found);
    };
    const x =
      (inputs.contextIds + inputs.ids.length) * inputs.embedding + dense + inputs.z + inputs.behaviour + inputs.poi;
    const encoded = steps.map((step, i) => {
      if (step.kind === 'mix') {
        const seen = step.seen.flatMap((row) => {
          if (row.length === step.experts.length) return row.map(Number);
          throw new KernelError(
            'BAD_SHAPE',
            `steps[${i}].seen must have rows of ${step.experts.length} experts, got one of ${row.length}`,
          );
        });
        return [2, false, -1, Int32Array.from(step.to), null, null, ...[step.gates, step.experts, seen].map(int32)];
      }
      const [out, into] = [
        width(step.to, `steps[${i}].to`),
        step.from === null ? x : width(step.from, `steps[${i}].from`),
      ];
      const w = weight(step.weight, '[out, in]', out, into);
      const b = step.bias === null ? null : weight(step.bias, '[out]', out);
      return [step.from === null ? 0 : 1, step.relu, step.from ?? -1, Int32Array.of(step.to), w, b, null, null, null];
    });
    const table = (name: string, value: Float32Array | null, columns: number): Float32Array | null => {
      if (columns === 0) return null;
      const rows = value instanceof Float32Array ? Math.ceil(value.length / columns) : 0;
      return floats(name, value, shape(`[rows, ${columns}]`, rows, columns));
    };
    const tasks = options.logits.length;
    const secondOrder =
      options.secondOrder === null ? null : weight(options.secondOrder, '[logits, embedding]', tasks, inputs.embedding);
    const memory = finite('memory', options.memory);
    if (memory < 0) throw new KernelError('BAD_ARGUMENT', `memory must not be negative, got ${memory}`);
    const embedding = table('embedding', options.embedding, inputs.embedding)!;
    const pois = table('pois', options.pois, inputs.poi);
    const ids = embedding.length / inputs.embedding;
    const terms =
      options.terms === null ? null : floats('terms', options.terms, shape('[rows of embedding, logits]', ids, tasks));
    if (secondOrder !== null && terms === null)
      throw new KernelError(
        'BAD_ARGUMENT',
        'secondOrder needs terms, which take the squares of the IDs themselves back',
      );
    pin(embedding, pois, terms);
    this.#ranker = native().makeRanker(
      int32([inputs.embedding, inputs.contextIds, inputs.contextDense, inputs.z, inputs.behaviour, inputs.poi]),
      int32(inputs.ids.map(Number)),
      int32(inputs.dense.map(Number)),
      standard('dense.mean'),
      standard('dense.scale'),
      int32(registers),
      encoded,
      int32(options.logits),
      finite('clickShift', options.clickShift),
      embedding,
      pois,
      Math.floor(memory),
      secondOrder,
      terms,
    );
    this.inputs = { ...inputs };
    this.#orders = options.logits.length > 1;
  }

  /** Bytes of the packed weights, and of what is kept of POIs now. */
  get bytes(): { weights: number; kept: number } {
    const [weights, kept] = native().rankerBytes(this.#open());
    return { weights, kept };
  }

  /**
   * p_ctr and p_ctcvr = p_ctr · σ(order logit), [rows] each; p_ctcvr null where the model learnt no orders. Runs off the event loop; the arrays must not be
   * written meanwhile.
   */
  async score(rows: RankerRows): Promise<{ pCtr: Float32Array; pCtcvr: Float32Array | null }> {
    const ranker = this.#open();
    const { inputs } = this;
    const n = count('rows', holder('rows', rows).rows, 0);
    const contexts = count('contexts', rows.contexts, 0);
    const matrix = <T extends Float32Array | Int32Array>(
      check: (name: string, value: unknown, wanted: ReturnType<typeof shape>) => T,
      name: keyof RankerRows,
      of: 'rows' | 'contexts',
      columns: number,
    ): T | null =>
      columns === 0
        ? null
        : check(name, rows[name], shape(`[${of}, ${columns}]`, of === 'rows' ? n : contexts, columns));
    const given = [
      matrix(ints, 'context', 'rows', 1),
      matrix(ints, 'contextIds', 'contexts', inputs.contextIds),
      matrix(floats, 'contextDense', 'contexts', inputs.contextDense),
      matrix(floats, 'z', 'contexts', inputs.z),
      matrix(floats, 'behaviour', 'contexts', inputs.behaviour),
      matrix(ints, 'ids', 'rows', inputs.ids.length),
      matrix(floats, 'dense', 'rows', inputs.dense.length),
      matrix(ints, 'poi', 'rows', Math.min(1, inputs.poi)),
      rows.kept === null ? null : ints('kept.poi', rows.kept.poi, shape('[rows]', n)),
      rows.kept === null ? null : ints('kept.version', rows.kept.version, shape('[rows]', n)),
    ];
    const pCtr = new Float32Array(n);
    const pCtcvr = this.#orders ? new Float32Array(n) : null;
    pin(...given);
    await native().rankRows(ranker, n, contexts, ...given, pCtr, pCtcvr, true);
    return { pCtr, pCtcvr };
  }

  /** Lets go of weights and tables; calls under way finish. */
  dispose(): void {
    this.#ranker = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #open(): object {
    if (this.#ranker === null) throw new KernelError('DISPOSED', 'the ranker has been disposed of');
    return this.#ranker;
  }
}

const int32 = (values: readonly number[]): Int32Array => Int32Array.from(values);
