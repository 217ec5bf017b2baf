// Just enough of the ONNX format (protobuf) to write a small graph of float32 and int64 tensors, for a peer to run.

const varint = (value) => {
  const bytes = [];
  let v = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(v & 0x7fn) | (v > 0x7fn ? 0x80 : 0));
    v >>= 7n;
  } while (v > 0n);
  return Buffer.from(bytes);
};
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, value) => {
  const data = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([varint((field << 3) | 2), varint(data.length), data]);
};
const float = (field, value) => {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([varint((field << 3) | 5), data]);
};

function attribute(name, value) {
  if (Array.isArray(value)) return Buffer.concat([bytes(1, name), ...value.map((v) => number(8, v)), number(20, 7)]);
  if (Number.isInteger(value)) return Buffer.concat([bytes(1, name), number(3, value), number(20, 2)]);
  return Buffer.concat([bytes(1, name), float(2, value), number(20, 1)]);
}

/** A NodeProto. */
export const node = (type, inputs, outputs, attributes = {}) =>
  Buffer.concat([
    ...inputs.map((name) => bytes(1, name)),
    ...outputs.map((name) => bytes(2, name)),
    bytes(4, type),
    ...Object.entries(attributes).map(([name, value]) => bytes(5, attribute(name, value))),
  ]);

/** A TensorProto from a Float32Array or BigInt64Array. */
export const initializer = (name, dims, data) =>
  Buffer.concat([
    ...dims.map((d) => number(1, d)),
    number(2, data instanceof Float32Array ? 1 : 7),
    bytes(8, name),
    bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)),
  ]);

const valueInfo = (name, type, dims) => {
  const shape = Buffer.concat(dims.map((d) => bytes(1, typeof d === 'string' ? bytes(2, d) : number(1, d))));
  return Buffer.concat([bytes(1, name), bytes(2, bytes(1, Buffer.concat([number(1, type), bytes(2, shape)])))]);
};

/** A ModelProto of opset 20. Inputs and outputs: [name, 'float' | 'int64', dims], a string dim is free. */
export function model(nodes, initializers, inputs, outputs) {
  const info = ([name, type, dims]) => valueInfo(name, type === 'float' ? 1 : 7, dims);
  const graph = Buffer.concat([
    ...nodes.map((n) => bytes(1, n)),
    bytes(2, 'graph'),
    ...initializers.map((t) => bytes(5, t)),
    ...inputs.map((i) => bytes(11, info(i))),
    ...outputs.map((o) => bytes(12, info(o))),
  ]);
  return Buffer.concat([number(1, 9), bytes(7, graph), bytes(8, Buffer.concat([bytes(1, ''), number(2, 20)]))]);
}
