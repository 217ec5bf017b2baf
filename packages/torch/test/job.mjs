// One rank of a job; src/job.test.ts starts it under mpirun with the name of a case. Prints what the ranks found as lines of JSON.
import { Worker } from 'node:worker_threads';
import { infoNce, joinJob, manualSeed, randn, scalar, setNumThreads, tensor, tidy, zeros } from '../dist/index.js';

setNumThreads(1);
const job = joinJob();
const { rank, size } = job;
const told = [];
const tell = (what) => told.push({ rank, ...what });
const hex = (t) => Buffer.from(t.contiguous().toArray().buffer).toString('hex');

/** Rows of a batch that every process draws alike, and which of them are a rank's: none for rank 1 of three. */
export const shares = { 2: [5, 2], 3: [4, 0, 3] };

const cases = {
  place: () => tell({ size, localRank: job.localRank, localSize: job.localSize, again: joinJob() === job }),

  sums() {
    const odd = (dtype) => tensor([1e8 * (rank + 1), 0.1, rank, -rank], [2, 2], { dtype });
    const f32 = odd('f32');
    const f64 = odd('f64');
    const bf16 = odd('bf16');
    const turned = tensor([0, 1, 2, 3, 4, 5], [2, 3])
      .mul(rank + 1)
      .transpose(0, 1);
    // More than goes at a time (16 MiB), and not a multiple of the ranks.
    const long = zeros([5_000_011]).add(rank + 1);
    const none = zeros([0, 3]);
    job.sum_([f32, long, f64, none, bf16, turned]);
    const different = tidy(() =>
      long
        .sub((size * (size + 1)) / 2)
        .abs()
        .sum()
        .item(),
    );
    tell({ f32: hex(f32), f64: hex(f64), bf16: hex(bf16), turned: [...turned.contiguous().toArray()], different });
  },

  broadcasts() {
    const f32 = zeros([3, 2]).add(rank);
    const i64 = tensor([rank, rank], [2], { dtype: 'i64' });
    const long = zeros([5_000_011]).add(rank).requiresGrad_();
    const turned = zeros([2, 3]).add(rank).transpose(0, 1);
    job.broadcast_([f32, i64, long, turned], 1);
    tell({
      all: [...f32.toArray(), ...turned.contiguous().toArray()],
      i64: [...i64.toArray()].map(Number),
      long: tidy(() => long.detach().sub(1).abs().sum().item()),
    });
  },

  numbers() {
    tell({
      sum: job.sum([rank, 0.1]),
      gathered: job.gather([rank * 10]),
      many: job.sum(Array.from({ length: 40 }, (_, i) => i)).at(-1),
      shared: job.share({ from: rank, text: 'ü' }, 1),
      nothing: job.share(undefined) === undefined,
    });
  },

  /** Loss and gradients of this rank's rows; and of all of them in one process, by the last rank alone. */
  infoNce() {
    for (const dtype of ['f32', 'f64', 'bf16']) {
      for (const grouped of [false, true]) {
        manualSeed(7);
        const count = shares[size].reduce((a, b) => a + b);
        const all = [randn([count, 6]), randn([count, 6])].map((t) => t.normalize(1).to(dtype));
        const ids = Int32Array.from({ length: count }, (_, i) => i % 4);
        const of = (first, n, options) => {
          const [q, k] = all.map((t) => t.narrow(0, first, n).clone().detach().requiresGrad_());
          const scale = scalar(5, { dtype: dtype === 'f64' ? 'f64' : 'f32' }).requiresGrad_();
          const groups = grouped ? tensor(ids.subarray(first, first + n), [n], { dtype: 'i32' }) : null;
          const loss = infoNce(q, k, scale, groups, options);
          loss.backward();
          const grads = [q, k].map((t) => (n === 0 ? [] : [...t.grad.toFloat32Array()]));
          return { loss: loss.item(), q: grads[0], k: grads[1], scale: scale.grad.item() };
        };
        const first = shares[size].slice(0, rank).reduce((a, b) => a + b, 0);
        const own = of(first, shares[size][rank], { job });
        const plain = infoNce(...all.map((t) => t.narrow(0, first, shares[size][rank])), 5, null, { job }).item();
        tell({ dtype, grouped, ...own, plain, whole: of(0, count) });
      }
    }
  },

  /** A bad argument on one rank is an error on each. */
  badArgument() {
    const wrong = [];
    const attempt = (what) => {
      try {
        what();
        wrong.push('none');
      } catch (error) {
        wrong.push(error.message);
      }
    };
    attempt(() => job.sum_([zeros([2 + rank])]));
    attempt(() => job.sum_([rank === 1 ? zeros([2], { dtype: 'i64' }) : zeros([2])]));
    attempt(() => (rank === 0 ? job.barrier() : job.sum([1])));
    attempt(() => infoNce(randn([2, 3 + rank]), randn([2, 3 + rank]), 1, null, { job }));
    attempt(() => job.broadcast_([zeros([2])], rank === 0 ? 5 : 0));
    attempt(() => job.share(rank, 2));
    attempt(() => (rank === 0 ? job.leave() : job.sum_([zeros([2])])));
    tell({ wrong, still: job.sum([1])[0] });
  },

  /** Rank 1 fails in JavaScript, the others wait for it. */
  fails() {
    if (rank === 1) throw new Error('rank 1 has had enough');
    job.barrier();
  },

  /** Rank 1 ends well while the others add up. */
  endsEarly() {
    if (rank === 1) process.exit(0);
    for (;;) job.sum_([zeros([2])]);
  },

  /** Rank 1 ends all, though it has left. */
  async abortsAfterLeaving() {
    job.leave();
    if (rank === 1) job.abort(5);
    await new Promise((resolve) => setTimeout(resolve, 20_000));
  },

  /** What joins in a worker thread is refused, and its end is not the job's. */
  async worker() {
    const refused = await new Promise((resolve) => {
      new Worker(new URL(import.meta.url), { argv: ['place'] }).on('error', resolve);
    });
    tell({ code: refused.code, message: refused.message, still: job.sum([1])[0] });
  },

  /** Nothing that MPI loses in a ring can be caught. */
  lost() {
    try {
      infoNce(randn([4, 3]), randn([4, 3]), 1, null, { job });
    } catch (error) {
      process.stderr.write(`caught ${error.message}\n`);
    }
  },

  exits() {
    if (rank === 1) process.exit(7);
    job.barrier();
  },
};

await cases[process.argv[2]]();
// mpirun cuts what ranks print at once: one prints for all.
const all = Array.from({ length: size }, (_, from) => job.share(told, from)).flat();
if (rank === 0) for (const line of all) process.stdout.write(`${JSON.stringify(line)}\n`);
