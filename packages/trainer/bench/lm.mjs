// The small decoder's speed in real tokens/s: training (a step of 32 texts: loss on what follows the prompt, gradients, clipping, AdamW)
// and embedding (mean states of 32 texts; with `pooling: "last"` those of their last tokens, for which our last layer does less). Hidden 192, 4 layers, 4 heads, FFN 512, vocabulary 4096, tied head. `texts`: "fixed" is 32
// sequences of 128 random tokens; "corpus" the built-in world's own texts, as stages 1 and 2 read them, in random order: lengths vary.
// Peers: `libtorch`, the same network one operator at a time on @larr/torch (lm-plain.mjs), and `transformers` (lm_transformers.py, run
// with the interpreter that LARR_PYTHON names), which pad each batch to its longest text. bf16 is autocast over f32 weights on every side;
// transformers embeds with weights in bf16, where that is faster.
// Ours and the peer take turns over the same batches; the figure of each is that of its fastest round, so that a busy machine tells least.
// `node bench/lm.mjs --clock cpu` counts processor seconds in place of the wall's; --peer, --task, --texts, --dtype and --pooling pick cases.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { generateWorld, openDataset, specialTokens } from '@larr/core';
import { AdamW, autocast, clipGradNorm, getNumThreads, manualSeed, noGrad, tidy } from '@larr/torch';
import { memories, peakExtra } from '../../../scripts/bench-memory.mjs';
import { embeddableText, pooledStates } from '../dist/embedding/embedder.js';
import { packSequences } from '../dist/language-model/batch.js';
import { createDecoder, decoderParameters, disposeDecoder, hiddenStates } from '../dist/language-model/decoder.js';
import { nextTokenLoss, nextTokenTargets } from '../dist/language-model/next-token-loss.js';
import { Tokenizer, withSpecialTokens } from '../dist/language-model/tokenizer.js';
import { trainTokenizer } from '../dist/language-model/tokenizer-training.js';
import { domainDocuments, generalDocuments, readGeneralCorpus } from '../dist/pretraining/documents.js';
import { createPlain } from './lm-plain.mjs';

const SHAPE = {
  family: 'llama',
  vocabularySize: 4096,
  hiddenSize: 192,
  layers: 4,
  heads: 4,
  keyValueHeads: 4,
  headSize: 48,
  feedForwardSize: 512,
  contextLength: 512,
  rotaryBase: 10_000,
  rotaryStretch: null,
  normEpsilon: 1e-5,
  tiedHead: true,
  attentionBias: false,
  queryKeyNorm: false,
  normalisedHead: false,
};
const TEXTS = 32; // in a batch
const LENGTH = 128; // of the fixed ones
const BATCHES = 6; // taken in turn
const CONTEXT = 384; // corpus texts are cut to it, as by stage 1
const ROUNDS = 4;

function stream(seed) {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
}

/** [batches][texts] of {ids, prompt}. */
function fixedTexts() {
  const next = stream(1);
  return Array.from({ length: BATCHES }, () =>
    Array.from({ length: TEXTS }, () => ({ ids: Int32Array.from({ length: LENGTH }, () => next(4096)), prompt: 0 })),
  );
}

/** Batches of the tiny world's texts: for training documents of stage 1, domain and general half and half; for embedding the POIs' texts. */
async function corpusTexts() {
  const folder = await mkdtemp(join(tmpdir(), 'larr-bench-'));
  try {
    const directory = join(folder, 'world');
    await generateWorld({ scale: 'tiny', seed: 1, output: directory });
    const dataset = await openDataset(directory);
    const pois = await dataset.poiTexts();
    const general = await readGeneralCorpus(directory);
    const words = [...pois.flatMap((keywords) => keywords.map(({ text }) => ` ${text}`)), ...general];
    const special = specialTokens(dataset.manifest);
    const base = new Tokenizer(trainTokenizer(words, SHAPE.vocabularySize - special.length));
    const tokenizer = withSpecialTokens(base, special);
    const domain = domainDocuments(pois, dataset.manifest.texts, tokenizer, CONTEXT).documents;
    const others = generalDocuments(general, tokenizer, CONTEXT);
    const whole = pois.map((keywords) => ({ ids: embeddableText(tokenizer, keywords, CONTEXT).ids, prompt: 0 }));
    const next = stream(1);
    const batches = (kinds) =>
      Array.from({ length: BATCHES }, () =>
        Array.from({ length: TEXTS }, (_, i) => {
          const kind = kinds[i % kinds.length];
          return kind.at(next(kind.length));
        }),
      );
    return { train: batches([domain, others]), embed: batches([whole]), bosId: tokenizer.bosId };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Takes turns over the batches; `step` gets one. */
function stepper(batches, step) {
  let at = 0;
  return (count) => {
    for (let i = 0; i < count; i++) step(batches[at++ % batches.length]);
  };
}

function ours({ task, dtype, pooling = 'mean' }, batches, bosId) {
  manualSeed(1);
  const decoder = createDecoder(SHAPE);
  const parameters = Object.values(decoderParameters(decoder));
  const inPrecision = (fn) => autocast(fn, { dtype: 'bf16', enabled: dtype === 'bf16' });
  if (task === 'embed') {
    const model = { decoder, tokenizer: { bosId } };
    return {
      steps: stepper(batches, (texts) =>
        noGrad(() =>
          tidy(() =>
            inPrecision(() =>
              pooledStates(
                model,
                texts.map(({ ids }) => ids),
                pooling,
              ),
            ).toFloat32Array(),
          ),
        ),
      ),
      dispose: () => disposeDecoder(decoder),
    };
  }
  for (const parameter of parameters) parameter.requiresGrad_();
  const optimizer = new AdamW(parameters, { lr: 3e-4 });
  const step = (texts) =>
    tidy(() => {
      optimizer.zeroGrad();
      const sequences = texts.map(({ ids }) => ids);
      const batch = packSequences(sequences);
      const targets = nextTokenTargets(
        batch,
        sequences,
        texts.map(({ prompt }) => prompt),
      );
      inPrecision(() =>
        nextTokenLoss(decoder, hiddenStates(decoder, batch, { rows: targets.rows }), targets, { backward: true }),
      );
      clipGradNorm(parameters, 1);
      optimizer.step();
    });
  return {
    steps: stepper(batches, step),
    dispose: () => {
      optimizer.dispose();
      disposeDecoder(decoder);
    },
  };
}

function libtorch({ task, dtype, pooling }, batches) {
  manualSeed(1);
  const plain = createPlain(SHAPE, dtype);
  const embed = pooling === 'last' ? plain.embedLast : plain.embed;
  return { steps: stepper(batches, task === 'train' ? plain.train : embed), dispose: plain.dispose };
}

/** transformers in a child process that takes steps when told to; the allocator settings that ours has, it gets too. */
function transformers({ task, dtype, pooling = 'mean' }, batches) {
  const script = fileURLToPath(new URL('./lm_transformers.py', import.meta.url));
  const child = spawn(process.env.LARR_PYTHON, [script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      THP_MEM_ALLOC_ENABLE: '1',
      MALLOC_MMAP_THRESHOLD_: '8589934592',
      MALLOC_TRIM_THRESHOLD_: '8589934592',
    },
  });
  const texts = batches.map((batch) => batch.map(({ ids, prompt }) => ({ ids: [...ids], prompt })));
  child.stdin.write(
    `${JSON.stringify({ task, dtype, pooling, threads: getNumThreads(), shape: SHAPE, batches: texts })}\n`,
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`${script} ended with ${code}`);
  });
  failed.catch(() => {});
  return {
    pid: child.pid,
    /** → processor seconds */
    async steps(count) {
      child.stdin.write(`${count}\n`);
      return Number((await Promise.race([lines.next(), failed])).value);
    },
    dispose: () => child.stdin.end(),
  };
}

/** Real tokens/s of both, in turn. */
async function inTurn(a, b, batches, clock, rounds) {
  const tokens = batches.flat().reduce((sum, { ids }) => sum + ids.length, 0);
  const best = [0, 0];
  for (const side of [a, b]) await side.steps(2);
  for (let round = 0; round < rounds; round++) {
    for (const [i, side] of [a, b].entries()) {
      const start = performance.now();
      const before = process.cpuUsage();
      const elsewhere = await side.steps(batches.length);
      const { user, system } = process.cpuUsage(before);
      const seconds = clock === 'cpu' ? (elsewhere ?? (user + system) / 1e6) : (performance.now() - start) / 1000;
      best[i] = Math.max(best[i], tokens / seconds);
    }
  }
  return best;
}

const PEERS = { libtorch, transformers };

/** Bytes at the peak of the first round over the batches (gradients, optimiser state, activations) over the made model. */
export async function memory({ peer, ...one }, side) {
  const { task, texts } = one;
  const corpus = texts === 'fixed' ? { bosId: 0 } : await corpusTexts();
  const batches = texts === 'fixed' ? fixedTexts() : corpus[task];
  const model = side === 'ours' ? ours(one, batches, corpus.bosId) : PEERS[peer](one, batches);
  if (model.pid !== undefined) await model.steps(0);
  const bytes = await peakExtra(() => model.steps(batches.length), model.pid);
  model.dispose();
  return bytes;
}

const VALUES = {
  task: ['train', 'embed'],
  texts: ['corpus', 'fixed'],
  dtype: ['bf16', 'f32'],
  pooling: ['mean', 'last'],
};

/** Of mean states; of the last token's state where that is asked for, by texts and their embedding alone. */
function cases(only) {
  for (const [key, value] of Object.entries(only)) {
    if (!VALUES[key].includes(value)) throw new Error(`--${key} is ${VALUES[key].join(' or ')}, not "${value}"`);
  }
  const { pooling = 'mean', ...wanted } = only;
  const all = VALUES.task.flatMap((task) =>
    VALUES.texts.flatMap((texts) => VALUES.dtype.map((dtype) => ({ task, dtype, texts }))),
  );
  return all
    .filter((one) => Object.entries(wanted).every(([key, value]) => one[key] === value))
    .filter(({ task }) => pooling === 'mean' || task === 'embed')
    .map((one) => (pooling === 'mean' ? one : { ...one, pooling }));
}

/** Rows of {bench, case, ours, peer, peerValue, unit, ratio, memory}; of the cases that have all of `only`. */
export async function* run({ clock = 'wall', peers: wanted, only = {}, rounds = ROUNDS } = {}) {
  const fixed = fixedTexts();
  const corpus = await corpusTexts();
  const peers = process.env.LARR_PYTHON ? ['libtorch', 'transformers'] : ['libtorch'];
  for (const peer of peers) {
    if (wanted !== undefined && wanted !== peer) continue;
    for (const one of cases(only)) {
      const batches = one.texts === 'fixed' ? fixed : corpus[one.task];
      const own = ours(one, batches, corpus.bosId);
      const other = PEERS[peer](one, batches);
      try {
        const [value, peerValue] = await inTurn(own, other, batches, clock, rounds);
        yield {
          bench: 'lm',
          case: one,
          ours: value,
          peer,
          peerValue,
          unit: clock === 'cpu' ? 'tokens/cpu-s' : 'tokens/s',
          ratio: value / peerValue,
          memory: await memories(import.meta.url, { ...one, peer }),
        };
      } finally {
        own.dispose();
        other.dispose();
      }
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = ['clock', 'peer', 'task', 'texts', 'dtype', 'pooling'];
  const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: 'string' }])) });
  const { clock, peer, ...only } = values;
  if (clock !== undefined && clock !== 'cpu' && clock !== 'wall') throw new Error(`--clock ${clock}: take cpu or wall`);
  for await (const row of run({ clock, peers: peer, only })) process.stdout.write(`${JSON.stringify(row)}\n`);
}
