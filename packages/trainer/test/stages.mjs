// One rank of a job that takes stages of language-model training one after another; several-processes.test.ts starts it under mpirun
// with a JSON list of {stage, options, interrupted?}: `interrupted` is a rank whose signal is aborted from the beginning. Prints, of
// each stage, what came of it, and before that each rank's process id.
import { joinJob, manualSeed, noGrad, randn, setNumThreads, splitHalves, tidy } from '@larr/torch';
import { finetune, pretrain } from '@larr/trainer';
import { runStageLoop } from '../dist/language-model/stage-loop.js';

setNumThreads(1);
const job = joinJob();
const lines = [];
const tell = (what) => lines.push({ rank: job.rank, ...what });
process.stdout.write(`${JSON.stringify({ rank: job.rank, pid: process.pid })}\n`);

/** Steps of a stage whose ranks begin, draw and see differently: the bits that each ends with. */
async function loop({ output }) {
  manualSeed(5 + job.rank);
  const [high, low] = noGrad(() => splitHalves(randn([9, 4])));
  const parameters = { whole: randn([40, 7]), unused: randn([3]), high };
  const weights = Object.entries(parameters).filter(([name]) => name !== 'unused');
  await runStageLoop({
    name: 'A loop',
    output,
    identity: 'ab'.repeat(32),
    steps: 20,
    device: 'cpu',
    job,
    config: {
      learningRate: 1e-2,
      warmupShare: 0,
      finalShare: 1,
      weightDecay: 0.1,
      clipNorm: 1,
      precision: 'f32',
      logEvery: 50,
      evaluateEvery: 50,
      checkpointEvery: 50,
    },
    smaller: '',
    parameters,
    lows: { high: low },
    beginning: { step: 0, seconds: 0, flops: 0 },
    step: ({ step }) => {
      // The last rank has no part in some steps.
      if (job.rank < job.size - 1 || step % 3 > 0) {
        tidy(() => {
          for (const [, w] of weights) w.to('f32').mul(randn(w.shape)).square().sum().backward();
        });
      }
      return { loss: 0, tokens: 1, flops: 1 };
    },
    line: () => ({ loss: 0 }),
    onProgress: () => {},
  });
  return [...Object.values(parameters), low].map((t) => Buffer.from(t.toArray().buffer).toString('hex'));
}

for (const { stage, options, interrupted } of JSON.parse(process.argv[2])) {
  let told = 0;
  const tellOf = () => told++;
  try {
    const result = await { pretrain, finetune, loop }[stage]({
      ...options,
      job,
      ...(interrupted === job.rank && { signal: AbortSignal.abort(new Error('stopped here')) }),
      onProgress: ({ step }) => {
        tellOf();
        process.stderr.write(`step ${step} of ${stage}\n`);
      },
      onNotice: tellOf,
    });
    tell({ told, result });
  } catch (error) {
    tell({ told, error: error.message });
  }
}
// mpirun cuts what ranks print at once: one prints for all.
const all = Array.from({ length: job.size }, (_, from) => job.share(lines, from)).flat();
if (job.rank === 0) for (const line of all) process.stdout.write(`${JSON.stringify(line)}\n`);
