import { ATTRIBUTE_TYPE, ELEMENT_TYPE, type ElementType, ModelProto } from './messages.js';

/** ONNX operator set the graphs are written in: 17 is old enough for every runtime in use and has all the operators needed. */
const OPSET = 17;
/** IR version that belongs to opset 17. */
const IR_VERSION = 8;

/** Name of a value in the graph: an input, a weight, or an operator's output. */
export type Value = string;

/** A whole number stands for a fixed size; a word names a size known only when the graph runs (the batch). */
export type Dimension = number | string;

type Attribute = number | { float: number } | readonly number[];

/**
 * Writes an ONNX graph operator by operator. Every method appends one node and returns the name of its output, so a model reads like
 * its formula. Weights become initialisers in fp32; large tables should be inputs, so that their owner decides where the memory lives.
 */
export class GraphWriter {
  readonly #nodes: object[] = [];
  readonly #initializers: object[] = [];
  readonly #inputs: object[] = [];
  readonly #outputs: object[] = [];
  readonly #names = new Set<string>();
  #next = 0;

  /** Declares a graph input. */
  input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    this.#claim(name);
    this.#inputs.push(valueInfo(name, type, shape));
    return name;
  }

  /** Declares `value` as a graph output under `name`. */
  output(name: string, value: Value, shape: readonly Dimension[]): void {
    this.#claim(name);
    this.#nodes.push({ input: [value], output: [name], name, opType: 'Identity' });
    this.#outputs.push(valueInfo(name, 'f32', shape));
  }

  /** Adds a weight, row-major fp32. Throws when `data` does not fill `shape`. */
  weight(name: string, data: Float32Array, shape: readonly number[]): Value {
    const count = shape.reduce((product, size) => product * size, 1);
    if (data.length !== count) {
      throw new RangeError(
        `weight "${name}": ${data.length} numbers do not fill shape [${shape.join(', ')}] (${count})`,
      );
    }
    this.#claim(name);
    this.#initializers.push({
      name,
      dims: shape,
      dataType: ELEMENT_TYPE.f32,
      rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    });
    return name;
  }

  /** Adds a small integer constant (axes, shapes, split sizes). */
  integers(values: readonly number[]): Value {
    const name = this.#fresh('integers');
    this.#initializers.push({
      name,
      dims: [values.length],
      dataType: ELEMENT_TYPE.i64,
      rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
    });
    return name;
  }

  /** Adds a scalar integer constant: `gather` along an axis with it drops that axis. */
  integer(value: number): Value {
    const name = this.#fresh('integer');
    const rawData = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    this.#initializers.push({ name, dims: [], dataType: ELEMENT_TYPE.i64, rawData });
    return name;
  }

  /** Adds a scalar fp32 constant. */
  number(value: number): Value {
    return this.weight(`number_${this.#next++}`, Float32Array.of(value), []);
  }

  /** Any ONNX operator with one output. */
  op(opType: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
    const output = this.#fresh(opType);
    this.#nodes.push({
      input: inputs,
      output: [output],
      name: output,
      opType,
      attribute: Object.entries(attributes).map(([name, value]) => attribute(name, value)),
    });
    return output;
  }

  add = (a: Value, b: Value): Value => this.op('Add', [a, b]);
  sub = (a: Value, b: Value): Value => this.op('Sub', [a, b]);
  mul = (a: Value, b: Value): Value => this.op('Mul', [a, b]);
  matmul = (a: Value, b: Value): Value => this.op('MatMul', [a, b]);
  relu = (x: Value): Value => this.op('Relu', [x]);
  /** max(x, 0) + slope · min(x, 0), `slope` broadcast to x. */
  prelu = (x: Value, slope: Value): Value => this.op('PRelu', [x, slope]);
  cast = (x: Value, type: ElementType): Value => this.op('Cast', [x], { to: ELEMENT_TYPE[type] });
  sigmoid = (x: Value): Value => this.op('Sigmoid', [x]);
  softmax = (x: Value, axis: number): Value => this.op('Softmax', [x], { axis });
  concat = (values: readonly Value[], axis: number): Value =>
    values.length === 1 ? values[0]! : this.op('Concat', values, { axis });
  /** Rows of `table` at `indices`; the result's shape is indices' followed by the table's width. */
  gather = (table: Value, indices: Value): Value => this.op('Gather', [table, indices], { axis: 0 });
  /** Slices of `x` along `axis`, in the order of `indices`. */
  select = (x: Value, axis: number, indices: readonly number[]): Value =>
    this.op('Gather', [x, this.integers(indices)], { axis });
  transpose = (x: Value, perm: readonly number[]): Value => this.op('Transpose', [x], { perm });
  reshape = (x: Value, shape: readonly number[]): Value => this.op('Reshape', [x, this.integers(shape)]);
  unsqueeze = (x: Value, axis: number): Value => this.op('Unsqueeze', [x, this.integers([axis])]);
  squeeze = (x: Value, axis: number): Value => this.op('Squeeze', [x, this.integers([axis])]);
  /** Sum over one axis, which disappears. */
  sum = (x: Value, axis: number): Value => this.op('ReduceSum', [x, this.integers([axis])], { keepdims: 0 });
  /** `x[:, from:to]` along `axis`. */
  slice = (x: Value, axis: number, from: number, to: number): Value =>
    this.op('Slice', [x, this.integers([from]), this.integers([to]), this.integers([axis])]);
  /** `x Wᵀ + b`, with `weight` [out, in] as linear layers hold it; `bias` [out], or [B, out] with one of each row. */
  linear = (x: Value, weight: Value, bias?: Value): Value =>
    this.op('Gemm', bias === undefined ? [x, weight] : [x, weight, bias], { transB: 1 });

  /** The finished model as the bytes of an `.onnx` file. */
  encode(graphName: string, metadata: Record<string, string> = {}): Uint8Array {
    const model = {
      irVersion: IR_VERSION,
      producerName: 'larr',
      opsetImport: [{ domain: '', version: OPSET }],
      metadataProps: Object.entries(metadata).map(([key, value]) => ({ key, value })),
      graph: {
        name: graphName,
        node: this.#nodes,
        initializer: this.#initializers,
        input: this.#inputs,
        output: this.#outputs,
      },
    };
    return ModelProto.encode(ModelProto.create(model)).finish();
  }

  #claim(name: string): void {
    if (this.#names.has(name)) throw new RangeError(`the graph has a value named "${name}" already`);
    this.#names.add(name);
  }

  #fresh(stem: string): string {
    const name = `${stem}_${this.#next++}`;
    this.#names.add(name);
    return name;
  }
}

function valueInfo(name: string, type: ElementType, shape: readonly Dimension[]): object {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: ELEMENT_TYPE[type], shape: { dim } } } };
}

function attribute(name: string, value: Attribute): object {
  if (typeof value === 'number') return { name, type: ATTRIBUTE_TYPE.int, i: value };
  if (isFloat(value)) return { name, type: ATTRIBUTE_TYPE.float, f: value.float };
  return { name, type: ATTRIBUTE_TYPE.ints, ints: value };
}

function isFloat(value: { float: number } | readonly number[]): value is { float: number } {
  return !Array.isArray(value);
}
