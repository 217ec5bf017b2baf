// A worker that trains on its own, on the CPU or on `workerData.device`, and tells what it found; src/workers.test.ts and
// src/cuda.test.ts start it.
import { parentPort, workerData } from 'node:worker_threads';
import { AdamW, keep, memoryStats, randn, setNumThreads, Tensor, tensor, tidy, zeros } from '../dist/index.js';

setNumThreads(1);
const { device } = workerData;
const w = zeros([1, 4], { device }).requiresGrad_();
const wanted = tensor([1, -2, 3, workerData.target], [1, 4], { device });
const optimiser = new AdamW([w], { lr: 0.1, weightDecay: 0 });
const step = () =>
  tidy(() => {
    const x = randn([32, 4], { device });
    optimiser.zeroGrad();
    x.linear(w).mseLoss(x.linear(wanted)).backward();
    optimiser.step();
  });
if (workerData.forever) {
  parentPort.postMessage('running');
  for (;;) step();
}
for (let i = 0; i < workerData.steps; i++) step();
let error;
try {
  w.matmul(wanted);
} catch (e) {
  error = { name: e.constructor.name, operator: e.operator };
}
keep(randn([3])); // left for the end of the thread to free
parentPort.postMessage({
  weights: [...w.toFloat32Array()],
  tensors: memoryStats().tensors,
  isTensor: w instanceof Tensor,
  error,
});
