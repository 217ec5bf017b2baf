import { count, finite, floats, holder, ints, isBf16, pin, shape } from './arrays.js';
import { activeGpu, activeGpuSync, knownGpu } from './device.js';
import { native } from './native.js';

export interface InfoNceOptions {
  /** [batch, dim], row-major. */
  q: Float32Array;
  /** [batch, dim]; row i is the positive of row i of `q`. */
  k: Float32Array;
  batch: number;
  dim: number;
  /** 1 / temperature. */
  scale: number;
  /** [batch]: rows i != j of the same group are not each other's negatives. */
  groups?: Int32Array;
  /** `bf16`: products of operands rounded to bf16, accumulated in f32; the positives stay f32. Default `f32`. */
  dtype?: 'f32' | 'bf16';
  /** Also dq, dk and dscale. Default true. */
  backward?: boolean;
}

export interface InfoNceResult {
  loss: number;
  /** Gradients of the loss, [batch, dim]; null where `backward` is false. */
  dq: Float32Array | null;
  dk: Float32Array | null;
  dscale: number;
  /** Log-sum-exp (natural) over each row and each column of scale · q kᵀ, [batch]. */
  lseRow: Float32Array;
  lseCol: Float32Array;
}

function prepare(o: InfoNceOptions) {
  holder('options', o);
  const batch = count('batch', o.batch);
  const dim = count('dim', o.dim);
  const matrix = shape('[batch, dim]', batch, dim);
  const q = floats('q', o.q, matrix);
  const k = floats('k', o.k, matrix);
  const groups = o.groups === undefined ? null : ints('groups', o.groups, shape('[batch]', batch));
  const scale = finite('scale', o.scale);
  const bf16 = isBf16(o.dtype);
  const backward = o.backward ?? true;
  const lseRow = new Float32Array(batch);
  const lseCol = new Float32Array(batch);
  const dq = backward ? new Float32Array(batch * dim) : null;
  const dk = backward ? new Float32Array(batch * dim) : null;
  const run = (gpu: number, async: boolean) =>
    native().infoNce(q, k, groups, batch, dim, scale, bf16, lseRow, lseCol, dq, dk, gpu, async);
  const result = ([loss, dscale]: [number, number]): InfoNceResult => ({ loss, dscale, dq, dk, lseRow, lseCol });
  return { q, k, groups, run, result };
}

/**
 * Fused symmetric InfoNCE, forward and backward, in memory O(batch · dim) (docs/kernels.md, A; docs/method.md, section 3):
 * `L = 1/(2B) Σ_i (lseRow_i + lseCol_i − 2 s_ii)`, `s = scale · q kᵀ`. Runs off the event loop; `q`, `k` and `groups` must not be
 * written to, and are not transferable, until it settles. Where a value is not finite, or `scale`, |q||k| or
 * their product is beyond 1e29, everything is NaN. On the GPU that
 * `LARR_DEVICE=cuda[:n]` names, where it does, up to 256 wide; copying there and back is part of the call.
 *
 * @throws KernelError (as a rejection): BAD_ARGUMENT, BAD_SHAPE or DETACHED naming the argument; OUT_OF_MEMORY where the machine or the GPU
 * has not enough of it; NO_SUCH_DEVICE where `LARR_DEVICE` asks for a GPU that is not there or too old; KERNEL_FAILED for what else the
 * GPU refuses.
 */
export async function infoNce(options: InfoNceOptions): Promise<InfoNceResult> {
  const call = prepare(options);
  pin(call.q, call.k, call.groups);
  // Where it is known, the work begins before this returns.
  const gpu = knownGpu() ?? (await activeGpu());
  return call.result(await call.run(gpu, true));
}

/** {@link infoNce} on the calling thread (and the kernels' own). */
export function infoNceSync(options: InfoNceOptions): InfoNceResult {
  const call = prepare(options);
  return call.result(call.run(activeGpuSync(), false) as [number, number]);
}
