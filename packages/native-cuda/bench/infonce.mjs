// InfoNCE forward and backward, milliseconds: ours against PyTorch's composed operators where LARR_PYTHON names an interpreter that has
// it, in turn, smallest time of each. The peer's allocator is tuned as ours is (docs/performance.md). Without an interpreter there is no
// peer here, and nothing is yielded.
import { spawn } from 'node:child_process';
import { freemem } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { memories, peakExtra } from '../../../scripts/bench-memory.mjs';
import { deviceInfo, infoNce } from '../dist/index.js';

const dim = 128;
const scale = 1 / 0.07;

function unitRows(batch, seed) {
  let state = seed;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
  const x = Float32Array.from(
    { length: batch * dim },
    () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  );
  for (let i = 0; i < batch; i++) {
    const row = x.subarray(i * dim, (i + 1) * dim);
    const norm = Math.sqrt(row.reduce((sum, v) => sum + v * v, 0));
    for (let j = 0; j < dim; j++) row[j] /= norm;
  }
  return x;
}

function startPeer(python) {
  const tuned = {
    THP_MEM_ALLOC_ENABLE: '1',
    MALLOC_MMAP_THRESHOLD_: String(2 ** 33),
    MALLOC_TRIM_THRESHOLD_: String(2 ** 33),
  };
  const script = fileURLToPath(new URL('infonce_peer.py', import.meta.url));
  const child = spawn(python, [script, String(deviceInfo().threads)], {
    env: { ...process.env, ...tuned },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    pid: child.pid,
    /** `onlyMake`: the inputs alone. */
    async run(batch, dtype, onlyMake = false) {
      child.stdin.write(`${JSON.stringify({ B: batch, d: dim, dtype, scale, seed: batch, onlyMake })}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error(`the PyTorch peer (${python}) ended without an answer`);
      return JSON.parse(value).ms;
    },
    end: () => child.stdin.end(),
  };
}

/** Bytes at the peak of one call, its gradients included. */
export async function memory({ B, dtype, peerDtype }, side) {
  if (side === 'peer') {
    const peer = startPeer(process.env.LARR_PYTHON);
    await peer.run(64, peerDtype); // libraries and threads
    await peer.run(B, peerDtype, true);
    const bytes = await peakExtra(() => peer.run(B, peerDtype), peer.pid);
    peer.end();
    return bytes;
  }
  const problem = (batch) => ({ q: unitRows(batch, 1), k: unitRows(batch, 2), batch, dim, scale, dtype });
  await infoNce(problem(64));
  const p = problem(B);
  return peakExtra(() => infoNce(p));
}

/** Yields `{bench, case: {B, d, dtype}, ours, peer, peerValue, unit, ratio, memory}`; a bf16 case meets the peer's faster type. */
export async function* run() {
  const python = process.env.LARR_PYTHON;
  if (!python) return;
  const peer = startPeer(python);
  try {
    for (const [B, rounds] of [
      [2400, 12],
      [8192, 4],
      [16384, 3],
    ]) {
      if (B * B * 36 > freemem()) continue; // what the peer needs: nine B x B arrays
      const q = unitRows(B, 1);
      const k = unitRows(B, 2);
      const ours = { f32: Number.POSITIVE_INFINITY, bf16: Number.POSITIVE_INFINITY };
      const theirs = { ...ours };
      for (let round = 0; round < rounds; round++) {
        for (const dtype of ['f32', 'bf16']) {
          const start = performance.now();
          await infoNce({ q, k, batch: B, dim, scale, dtype });
          ours[dtype] = Math.min(ours[dtype], performance.now() - start);
          theirs[dtype] = Math.min(theirs[dtype], await peer.run(B, dtype));
        }
      }
      for (const dtype of ['f32', 'bf16']) {
        const peerValue = dtype === 'f32' ? theirs.f32 : Math.min(theirs.f32, theirs.bf16);
        yield {
          bench: 'infonce',
          case: { B, d: dim, dtype },
          ours: ours[dtype],
          peer: 'pytorch',
          peerValue,
          unit: 'ms',
          ratio: peerValue / ours[dtype],
          memory: await memories(import.meta.url, { B, dtype, peerDtype: peerValue === theirs.f32 ? 'f32' : 'bf16' }),
        };
      }
    }
  } finally {
    peer.end();
  }
}
