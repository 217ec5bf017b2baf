import type { Tensor } from './tensor.js';

/** Above this many elements only the ends of every dim are printed. */
const summarised = 1000;
const edge = 3;

/** A tensor as text: dtype, shape, device, and its values (the ends alone of large ones). */
export function formatTensor(tensor: Tensor): string {
  if (tensor.disposed) return 'Tensor (disposed)';
  const { shape, dtype, device } = tensor;
  const notes = [
    device === 'cpu' ? '' : device,
    tensor.requiresGrad ? 'requires grad' : '',
    tensor.sparse ? 'sparse' : '',
  ].filter(Boolean);
  const head = `Tensor ${dtype} [${shape.join(', ')}]${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`;
  const values = dtype === 'bf16' ? tensor.toFloat32Array() : tensor.toArray();
  const whole = dtype === 'i64' || dtype === 'i32' || dtype === 'i16' || dtype === 'bool';
  const text = (i: number): string => {
    const value = values[i];
    if (dtype === 'bool') return value ? 'true' : 'false';
    return whole || typeof value === 'bigint'
      ? String(value)
      : Number(value)
          .toPrecision(5)
          .replace(/\.?0+(?=e|$)/, '');
  };
  const short = values.length > summarised;
  const render = (dim: number, offset: number, indent: string): string => {
    if (dim === shape.length) return text(offset);
    const extent = shape[dim] ?? 0;
    const stride = shape.slice(dim + 1).reduce((product, size) => product * size, 1);
    const places = [...Array(extent).keys()];
    const shown = short && extent > 2 * edge ? [...places.slice(0, edge), -1, ...places.slice(-edge)] : places;
    const parts = shown.map((i) => (i < 0 ? '…' : render(dim + 1, offset + i * stride, `${indent} `)));
    return `[${parts.join(dim === shape.length - 1 ? ', ' : `,\n${indent} `)}]`;
  };
  return `${head}\n${render(0, 0, '')}`;
}
