// Training speed of PLE and LARR: samples/s of whole steps (gather the batch, forward, backward, update), batch 2400,
// 21 fields of width 16, 2 + 2·2 experts 256-128, one extraction level, tower 64; LARR with 10 scene fields beside it.
// Peers: `eager-f32`, the same network written one layer at a time on @larr/torch (eager.mjs), with dense Adam over all
// parameters; and `pytorch` (ple_pytorch.py, run with the interpreter that LARR_PYTHON names), the same again in PyTorch.
// Ours and the peer take turns; the figure of each is that of its fastest round, so that a busy machine tells least.
// `node bench/train.mjs --device cuda --batch 16384` measures another device and batch; rows then tell them in their case.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { AdamW, arange, getNumThreads, manualSeed, RowwiseAdam, synchronize, tidy } from '@larr/torch';
import { memories, peakExtra } from '../../../scripts/bench-memory.mjs';
import { createModel } from '../dist/models/index.js';
import { resolveTrainConfig } from '../dist/training/config.js';
import { ResidentPart } from '../dist/training/resident-part.js';
import { firstRows, trainStep } from '../dist/training/train.js';
import { createEager } from './eager.mjs';

const DEFAULTS = { device: 'cpu', batch: 2400 };
const FIELDS = 21;
const VALUES = 1000; // per field
const SCENES = 10;
const TEXTS = 15;
const POIS = 3000;
const BATCHES = 10; // rows in memory, in batches
const WARM_UP = 3;
const STEPS = { cpu: 6, cuda: 60 };
const ROUNDS = 4;

/** Random rows with the shape of the built-in world. */
function data({ device, batch }) {
  const rows = BATCHES * batch;
  let state = 1;
  const next = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
  const ints = (length, n) => Int32Array.from({ length }, () => next(n));
  const click = Float32Array.from({ length: rows }, () => (next(10) < 3 ? 1 : 0));
  const inputs = {
    tasks: ['click', 'order'],
    categorical: Array.from({ length: FIELDS }, (_, i) => ({
      name: `field${i}`,
      role: ['user', 'poi'][i] ?? 'context',
      size: VALUES,
      offset: i * VALUES,
    })),
    tableRows: FIELDS * VALUES,
    dense: [],
    scene: Array.from({ length: SCENES }, (_, i) => ({ field: `scene${i}`, texts: TEXTS, offset: i * TEXTS })),
    sceneEntries: SCENES * TEXTS,
    sequences: [{ name: 'clicks', length: 20 }],
    pois: POIS,
  };
  const samples = {
    rows,
    categorical: ints(FIELDS * rows, VALUES),
    dense: new Float32Array(0),
    scene: ints(SCENES * rows, TEXTS),
    sequences: [ints(20 * rows, POIS + 1)],
    user: ints(rows, VALUES),
    poi: ints(rows, VALUES),
    click,
    order: click.map((c) => (c === 1 && next(10) < 3 ? 1 : 0)),
    rowId: new BigInt64Array(rows),
  };
  return { inputs, device, batch, train: ResidentPart.from(samples, inputs, device) };
}

/** Takes `count` steps, wandering over the rows, and waits for the device. */
function stepper({ device, batch }, take) {
  let at = 0;
  return (count) => {
    for (let i = 0; i < count; i++) {
      take(at);
      at = (at + batch) % (BATCHES * batch);
    }
    synchronize(device);
  };
}

function ours(held, model, dtype) {
  manualSeed(1);
  const config = resolveTrainConfig(model, {}, { dtype, ple: { levels: [[256, 128]] } });
  const { parameters, model: network } = createModel(model, held.inputs, config, held.device);
  const state = {
    parameters,
    dense: new AdamW([...parameters.dense.values()], { lr: config.learningRate, weightDecay: 0 }),
    tables: new RowwiseAdam([...parameters.tables.values()], { lr: config.learningRate }),
  };
  const { device, batch } = held;
  const unseen = firstRows(held.inputs, device);
  const steps = stepper(held, (at) =>
    trainStep(network, state, config, () => held.train.batch(arange(at, at + batch, 1, { device })), unseen),
  );
  return {
    steps,
    dispose: () => {
      for (const owner of [state.dense, state.tables, parameters, unseen]) owner.dispose();
    },
  };
}

function eager(held, model) {
  manualSeed(1);
  const network = createEager(held.inputs, model, held.device);
  const steps = stepper(held, (at) => tidy(() => network.step(held.train.range(at, held.batch))));
  return { steps, dispose: network.dispose };
}

/** PyTorch in a child process that takes steps when told to; the allocator settings that ours has, it gets too. */
async function pytorch({ device, batch }) {
  const script = fileURLToPath(new URL('./ple_pytorch.py', import.meta.url));
  const child = spawn(
    process.env.LARR_PYTHON,
    [script, String(batch), String(FIELDS), String(VALUES), String(getNumThreads()), device],
    {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        ...process.env,
        THP_MEM_ALLOC_ENABLE: '1',
        MALLOC_MMAP_THRESHOLD_: '8589934592',
        MALLOC_TRIM_THRESHOLD_: '8589934592',
      },
    },
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`${script} ended with ${code}`);
  });
  failed.catch(() => {});
  return {
    pid: child.pid,
    async steps(count) {
      child.stdin.write(`${count}\n`);
      await Promise.race([lines.next(), failed]);
    },
    dispose: () => child.stdin.end(),
  };
}

/** Samples/s of both, in turn. */
async function inTurn(a, b, { device, batch }, rounds) {
  const best = [0, 0];
  const count = STEPS[device === 'cpu' ? 'cpu' : 'cuda'];
  for (const side of [a, b]) await side.steps(WARM_UP);
  for (let round = 0; round < rounds; round++) {
    for (const [i, side] of [a, b].entries()) {
      const start = performance.now();
      await side.steps(count);
      best[i] = Math.max(best[i], (count * batch * 1000) / (performance.now() - start));
    }
  }
  return best;
}

/** Bytes at the peak of the first steps (gradients, optimiser state, activations) over the made model and its data; on the processor. */
export async function memory({ model, dtype, peer, options }, side) {
  const held = data({ ...DEFAULTS, ...options });
  const start = side === 'ours' ? () => ours(held, model, dtype) : () => startPeer(held, model, peer);
  const network = await start();
  // a child of its own tells by its first answer that it has made its model
  if (network.pid !== undefined) await network.steps(0);
  const bytes = await peakExtra(() => network.steps(WARM_UP), network.pid);
  network.dispose();
  return bytes;
}

const startPeer = (held, model, peer) => (peer === 'pytorch' ? pytorch(held) : eager(held, model));

/** Rows of {bench, case, ours, peer, peerValue, unit, ratio, memory}. */
export async function* run({ rounds = ROUNDS, ...options } = {}) {
  const held = data({ ...DEFAULTS, ...options });
  try {
    for (const model of ['ple', 'larr']) {
      const peers = ['eager-f32'];
      if (process.env.LARR_PYTHON && model === 'ple') peers.push('pytorch');
      for (const peer of peers) {
        for (const dtype of ['f32', 'bf16']) {
          const own = ours(held, model, dtype);
          const other = await startPeer(held, model, peer);
          try {
            const [value, peerValue] = await inTurn(own, other, held, rounds);
            yield {
              bench: 'train',
              case: { model, dtype, ...options },
              ours: value,
              peer,
              peerValue,
              unit: 'samples/s',
              ratio: value / peerValue,
              memory: await memories(import.meta.url, { model, dtype, peer, options }),
            };
          } finally {
            own.dispose();
            other.dispose();
          }
        }
      }
    }
  } finally {
    held.train.dispose();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { device: { type: 'string' }, batch: { type: 'string' } } });
  const options = {
    ...(values.device !== undefined && { device: values.device }),
    ...(values.batch !== undefined && { batch: Number(values.batch) }),
  };
  for await (const row of run(options)) process.stdout.write(`${JSON.stringify(row)}\n`);
}
