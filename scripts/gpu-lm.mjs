// Language-model training on a GPU: tokens/s of whole steps (forward, backward, clipping, AdamW) of a decoder as stage 1
// trains it, random weights made on the device, documents of one length. One JSON line a case, with the share of the chip's peak.
//
//   node scripts/gpu-lm.mjs [--device cuda] [--config qwen2-0.5b] [--training full] [--documents 16] [--length 1024] [--pieces 1]
//     [--dtypes bf16,f32] [--steps 6] [--layers N] [--peak 989e12]
//
// --config    qwen2-0.5b (its shape with a vocabulary of 32,000), llama-7b, or llama-tiny to try the script
// --training  full (f32 weights, gradients and moments), compact (trainingState bf16) or lora (rank 64 beside every linear layer)
// --documents a step's, which are learnt in --pieces; f32 takes half of them
//
// Layers are computed again for their gradients (recompute) only where it does not fit otherwise, with compact always; what does not fit
// then is learnt in twice the pieces. The model's arithmetic is what
// the mfu of `larr pretrain` counts (stepFlops): 6 a learnt weight and token, 4 a frozen one, causal attention's pairs; not what is computed
// again. Ends with 1 where a case did not fit. scripts/gpu_peer.py lm and lm7b measure the same networks of transformers in PyTorch.
import { PerformanceObserver } from 'node:perf_hooks';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    config: { type: 'string', default: 'qwen2-0.5b' },
    training: { type: 'string', default: 'full' },
    layers: { type: 'string' },
    documents: { type: 'string', default: '16' },
    length: { type: 'string', default: '1024' },
    pieces: { type: 'string', default: '1' },
    dtypes: { type: 'string', default: 'bf16,f32' },
    steps: { type: 'string', default: '6' },
    peak: { type: 'string', default: '989e12' },
  },
});
const { device, training } = options;
const [documents, length, pieces, steps] = [options.documents, options.length, options.pieces, options.steps].map(
  Number,
);

const { clipGradNorm, cudaDevices, cudaMemory, manualSeed, noGrad, synchronize, tidy, versions } = await import(
  '../packages/torch/dist/index.js'
);
const language = '../packages/trainer/dist/language-model';
const { createDecoder, disposeDecoder, trainedParameters } = await import(`${language}/decoder.js`);
const { halveWeights, replaceMatrices } = await import(`${language}/compact-weights.js`);
const { addLora } = await import(`${language}/lora.js`);
const { adamW } = await import(`${language}/stage-optimizer.js`);
const { learnDocuments } = await import('../packages/trainer/dist/pretraining/pretrain.js');

const llama = { family: 'llama', rotaryBase: 10_000, normEpsilon: 1e-5, tiedHead: false, attentionBias: false };
const shapes = {
  'qwen2-0.5b': {
    family: 'qwen2',
    vocabularySize: 32_000,
    hiddenSize: 896,
    layers: 24,
    heads: 14,
    keyValueHeads: 2,
    headSize: 64,
    feedForwardSize: 4864,
    rotaryBase: 1_000_000,
    normEpsilon: 1e-6,
    tiedHead: true,
    attentionBias: true,
  },
  'llama-7b': {
    ...llama,
    vocabularySize: 32_000,
    hiddenSize: 4096,
    layers: 32,
    heads: 32,
    keyValueHeads: 32,
    headSize: 128,
    feedForwardSize: 11_008,
  },
  'llama-tiny': {
    ...llama,
    vocabularySize: 500,
    hiddenSize: 64,
    layers: 2,
    heads: 4,
    keyValueHeads: 4,
    headSize: 16,
    feedForwardSize: 176,
  },
};
const shape = shapes[options.config];
const usage =
  (shape === undefined && `--config is one of ${Object.keys(shapes).join(', ')}`) ||
  (!['full', 'compact', 'lora'].includes(training) && '--training is one of full, compact, lora') ||
  (training === 'compact' && options.dtypes !== 'bf16' && '--training compact goes with --dtypes bf16') ||
  ([documents, length, pieces, steps].some((n) => !(n >= 1)) && 'numbers start at 1');
if (usage) {
  process.stderr.write(`gpu-lm: ${usage}\n`);
  process.exit(2);
}
const config = {
  rotaryStretch: null,
  queryKeyNorm: false,
  ...shape,
  layers: Number(options.layers ?? shape.layers),
  contextLength: Math.max(length, 1024),
};

/** A decoder as the kind of training asks for, on the device. */
function trainee() {
  manualSeed(1);
  const decoder = noGrad(() => createDecoder(config, device));
  if (training === 'compact') halveWeights(decoder);
  if (training === 'lora') {
    // As `pretrain` holds the weights of a bf16 checkpoint.
    noGrad(() =>
      replaceMatrices(decoder, (weight) => {
        const half = tidy(() => weight.to('bf16'));
        weight.dispose();
        return half;
      }),
    );
    const targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];
    addLora(decoder, { rank: 64, alpha: 128, dropout: 0, targets }, []);
  }
  return decoder;
}

let collecting = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) collecting += duration;
}).observe({ entryTypes: ['gc'] });

const median = (times) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];

/** Runs a case. @throws TensorError TENSOR_MEMORY where it does not fit */
async function measure(decoder, dtype, { recompute, pieces }) {
  const model = { decoder, tokenizer: { padId: 0 } };
  const parameters = trainedParameters(decoder);
  const all = Object.values(parameters);
  for (const parameter of all) parameter.requiresGrad_();
  const optimizer = adamW(parameters, 1e-4, 0.1, decoder.lows);
  try {
    let state = 1;
    const next = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * config.vocabularySize);
    };
    // f32 keeps twice the bytes for the backward pass: half the documents.
    const count = dtype === 'f32' ? Math.max(1, Math.floor(documents / 2)) : documents;
    const batch = () => Array.from({ length: count }, () => ({ ids: Int32Array.from({ length }, next), prompt: 0 }));
    const step = (batch) => {
      const parts = [performance.now()];
      const part = () => parts.push(performance.now());
      optimizer.zeroGrad();
      const { loss, flops } = learnDocuments(model, batch, { precision: dtype, accumulate: pieces, recompute });
      part();
      clipGradNorm(all, 1);
      part();
      optimizer.step();
      synchronize(device);
      part();
      return { loss, flops, parts };
    };
    for (let i = 0; i < 2; i++) step(batch());
    const batches = Array.from({ length: steps }, batch);
    await new Promise(setImmediate);
    collecting = 0;
    const times = [];
    let last;
    for (const one of batches) {
      last = step(one);
      times.push((last.parts[3] - last.parts[0]) / 1000);
      await new Promise(setImmediate);
    }
    const tokens = count * length;
    const seconds = median(times);
    const { layers } = config;
    const named = options.config === 'qwen2-0.5b' ? {} : { config: options.config, training, pieces };
    return {
      bench: named.config === undefined ? 'lm' : 'lm7b',
      case: { task: 'train', dtype, device, ...named, layers, documents: count, length },
      ours: tokens / seconds,
      unit: 'tokens/s',
      recompute,
      secondsPerStep: times,
      flopsPerToken: last.flops / tokens,
      modelFlopsPerSecond: last.flops / seconds,
      shareOfPeak: last.flops / seconds / Number(options.peak),
      lastStep: {
        lossAndGradient: last.parts[1] - last.parts[0],
        clipping: last.parts[2] - last.parts[1],
        update: last.parts[3] - last.parts[2],
      },
      garbageCollectionMs: collecting,
      loss: last.loss,
      parameters: all.reduce((sum, t) => sum + t.numel, 0),
      memory: device === 'cpu' ? null : cudaMemory(device),
      devices: cudaDevices(),
      libtorch: versions().libtorch,
    };
  } finally {
    optimizer.zeroGrad();
    optimizer[Symbol.dispose]();
  }
}

for (const dtype of options.dtypes.split(',')) {
  const decoder = trainee();
  // The small model is measured as it always was.
  const attempts =
    training === 'compact'
      ? [pieces, 2 * pieces].map((pieces) => ({ recompute: true, pieces }))
      : (options.config === 'qwen2-0.5b' ? [false] : [false, true]).map((recompute) => ({ recompute, pieces }));
  for (const attempt of attempts) {
    try {
      process.stdout.write(`${JSON.stringify(await measure(decoder, dtype, attempt))}\n`);
      break;
    } catch (error) {
      if (error.code !== 'TENSOR_MEMORY') throw error;
      process.stderr.write(`gpu-lm: ${training}, ${JSON.stringify(attempt)}: ${error.message.split('\n')[0]}\n`);
      if (attempt === attempts.at(-1)) process.exitCode = 1;
    }
  }
  disposeDecoder(decoder);
}
