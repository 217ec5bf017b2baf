import type { GraphWriter, Value } from './graph.js';

/**
 * Some columns of what a network reads. Columns `per` context (a user in a moment, and what follows from them) are the same for many
 * POIs: they come as [C, columns], one row a context, beside those of each row [B, columns].
 */
export interface SourcePart {
  value: Value;
  /** which columns of the network's input these are, in the order of `value` */
  columns: readonly number[];
  per: 'context' | 'row';
}

/**
 * The input x [B, width] of a network in parts. A linear layer on it is computed once a context for their columns and once a row for the
 * others, which gives the same sum: x Wᵀ = x_context W_contextᵀ + x_row W_rowᵀ.
 */
export class Source {
  readonly width: number;
  readonly #graph: GraphWriter;
  readonly #parts: readonly SourcePart[];
  /** i32 [B]: the context of each row */
  readonly #context: Value;
  readonly #side: Partial<Record<SourcePart['per'], { value: Value; columns: number[] } | null>> = {};
  #whole: Value | null = null;

  constructor(graph: GraphWriter, parts: readonly SourcePart[], context: Value) {
    this.#graph = graph;
    this.#parts = parts;
    this.#context = context;
    this.width = parts.reduce((sum, { columns }) => sum + columns.length, 0);
  }

  /** x [B, width] as one matrix, columns in their order: for what is not linear in it. */
  whole(): Value {
    if (this.#whole !== null) return this.#whole;
    const sides = (['context', 'row'] as const).flatMap((per) => this.side(per) ?? []);
    const order = sides.flatMap(({ columns }) => columns);
    const place = new Array<number>(this.width);
    order.forEach((column, at) => {
      place[column] = at;
    });
    const context = this.side('context');
    const parts = sides.map((side) => (side === context ? this.#graph.gather(side.value, this.#context) : side.value));
    const x = this.#graph.concat(parts, 1);
    this.#whole = order.every((column, at) => column === at) ? x : this.#graph.select(x, 1, place);
    return this.#whole;
  }

  /** All columns of one kind side by side; null where there are none. */
  side(per: SourcePart['per']): { value: Value; columns: number[] } | null {
    let found = this.#side[per];
    if (found === undefined) {
      const parts = this.#parts.filter((part) => part.per === per);
      found =
        parts.length === 0
          ? null
          : {
              value: this.#graph.concat(
                parts.map(({ value }) => value),
                1,
              ),
              columns: parts.flatMap(({ columns }) => columns),
            };
      this.#side[per] = found;
    }
    return found;
  }

  /**
   * x Wᵀ + b: [B, out].
   * @param weight [out, width]
   */
  linear(name: string, weight: Float32Array, out: number, bias: Float32Array | null): Value {
    const graph = this.#graph;
    const of = (per: SourcePart['per'], columns: readonly number[]): Value => {
      const picked = new Float32Array(out * columns.length);
      for (let o = 0; o < out; o++) {
        for (let i = 0; i < columns.length; i++) picked[o * columns.length + i] = weight[o * this.width + columns[i]!]!;
      }
      return graph.weight(`${name}.weight.${per}`, picked, [out, columns.length]);
    };
    const b = bias === null ? undefined : graph.weight(`${name}.bias`, bias, [out]);
    const [context, row] = [this.side('context'), this.side('row')];
    if (context === null) return graph.linear(row!.value, of('row', row!.columns), b);
    const shared = graph.gather(graph.linear(context.value, of('context', context.columns), b), this.#context);
    return row === null ? shared : graph.linear(row.value, of('row', row.columns), shared);
  }
}
