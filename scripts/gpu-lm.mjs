// Language-model training on a GPU: tokens/s of whole steps (forward, backward, clipping, AdamW) of a decoder as stage 1
// trains it, random weights, documents of one length. One JSON line for each dtype, with the share of the chip's peak.
//
//   node scripts/gpu-lm.mjs [--device cuda] [--layers 24] [--documents 16] [--length 1024] [--dtypes bf16,f32] [--peak 989e12]
//
// scripts/gpu_peer.py lm measures the same network of transformers in PyTorch.
import { PerformanceObserver } from 'node:perf_hooks';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    layers: { type: 'string', default: '24' },
    documents: { type: 'string', default: '16' },
    length: { type: 'string', default: '1024' },
    dtypes: { type: 'string', default: 'bf16,f32' },
    steps: { type: 'string', default: '6' },
    peak: { type: 'string', default: '989e12' },
  },
});
const { device } = options;
const [layers, documents, length, steps] = [options.layers, options.documents, options.length, options.steps].map(
  Number,
);

const { clipGradNorm, cudaDevices, cudaMemory, manualSeed, synchronize, versions } = await import(
  '../packages/torch/dist/index.js'
);
const { createDecoder, decoderParameters, disposeDecoder } = await import(
  '../packages/trainer/dist/language-model/decoder.js'
);
const { adamW } = await import('../packages/trainer/dist/language-model/stage-loop.js');
const { documentLoss } = await import('../packages/trainer/dist/pretraining/pretrain.js');

// Qwen2-0.5B's shape with a vocabulary of 32,000.
const config = {
  family: 'qwen2',
  vocabularySize: 32_000,
  hiddenSize: 896,
  layers,
  heads: 14,
  keyValueHeads: 2,
  headSize: 64,
  feedForwardSize: 4864,
  contextLength: Math.max(length, 1024),
  rotaryBase: 1_000_000,
  rotaryStretch: null,
  normEpsilon: 1e-6,
  tiedHead: true,
  attentionBias: true,
  queryKeyNorm: false,
};

let collecting = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) collecting += duration;
}).observe({ entryTypes: ['gc'] });

const median = (times) => times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];

for (const dtype of options.dtypes.split(',')) {
  manualSeed(1);
  const model = { decoder: createDecoder(config, device), tokenizer: { padId: 0 } };
  const parameters = decoderParameters(model.decoder);
  const all = Object.values(parameters);
  for (const parameter of all) parameter.requiresGrad_();
  const optimizer = adamW(parameters, 1e-4, 0.1);
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * config.vocabularySize);
  };
  // f32 keeps twice the bytes for the backward pass: half the documents.
  const count = dtype === 'f32' ? documents / 2 : documents;
  const batch = () => Array.from({ length: count }, () => ({ ids: Int32Array.from({ length }, next), prompt: 0 }));
  const step = (batch) => {
    const parts = [performance.now()];
    const part = () => parts.push(performance.now());
    optimizer.zeroGrad();
    const loss = documentLoss(model, batch, dtype, true);
    part();
    clipGradNorm(all, 1);
    part();
    optimizer.step();
    synchronize(device);
    part();
    return { loss, parts };
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
  const weights = all.reduce((sum, t) => sum + t.numel, 0);
  // Products alone, forward and backward: 6 a weight and token, and causal attention's 6 · length · heads · headSize a layer.
  const flops = tokens * (6 * weights + 6 * length * layers * config.heads * config.headSize);
  process.stdout.write(
    `${JSON.stringify({
      bench: 'lm',
      case: { task: 'train', dtype, device, layers, documents: count, length },
      ours: tokens / seconds,
      unit: 'tokens/s',
      secondsPerStep: times,
      modelFlopsPerSecond: flops / seconds,
      shareOfPeak: flops / seconds / Number(options.peak),
      lastStep: {
        lossAndGradient: last.parts[1] - last.parts[0],
        clipping: last.parts[2] - last.parts[1],
        update: last.parts[3] - last.parts[2],
      },
      garbageCollectionMs: collecting,
      loss: last.loss,
      parameters: weights,
      memory: device === 'cpu' ? null : cudaMemory(device),
      devices: cudaDevices(),
      libtorch: versions().libtorch,
    })}\n`,
  );
  optimizer.zeroGrad();
  optimizer.dispose();
  disposeDecoder(model.decoder);
}
