// Several processes that train together: MPI launches them and carries what they tell each other.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { isMainThread } from 'node:worker_threads';
import { launchOf } from '@larr/core';
import { native } from './addon.js';
import { TensorError } from './errors.js';
import { infoNce as ofOneProcess } from './operators.generated.js';
import type { Tensor } from './tensor.js';

const file = fileURLToPath(new URL('../build/Release/larr_mpi.so', import.meta.url));

const calls = native as {
  jobLibrary(path: string): string;
  jobJoin(path: string): [rank: number, size: number, localRank: number, localSize: number];
  jobSum(tensors: readonly Tensor[]): void;
  jobBroadcast(tensors: readonly Tensor[], root: number): void;
  jobGather(numbers: Float64Array): number[];
  jobShare(text: string, root: number): string;
  jobBarrier(): void;
  jobInfoNce(query: Tensor, key: Tensor, scale: Tensor | number, groups?: Tensor | null): Tensor;
  jobLeave(): void;
  jobAbort(code: number): void;
};

/**
 * One process's place among those that mpirun or srun started, its ranks. What a method does, all ranks do together: each calls the
 * same methods in the same order, and waits for the others; ranks that are found to differ all get a TensorError `TENSOR_JOB`.
 * A rank that ends with another exit status than 0 ends all of them, so that none waits for ever; so does `abort`, and a rank that ends
 * while others still work together. A block that is lost on its way (in `infoNce`) ends all of them too: it can't be caught.
 */
export class Job {
  /** This process's number, from 0 to size − 1. */
  readonly rank: number;
  readonly size: number;
  /** The number among the ranks of this machine, which picks a GPU, and how many they are. */
  readonly localRank: number;
  readonly localSize: number;

  /** Made by `joinJob`. */
  constructor([rank, size, localRank, localSize]: [number, number, number, number]) {
    this.rank = rank;
    this.size = size;
    this.localRank = localRank;
    this.localSize = localSize;
  }

  /**
   * Sums each tensor over the ranks, in place: in rank order, to the same bits on every rank. f32, f64 and bf16 (in f32, rounded once);
   * tensors on a GPU go through the processor's memory.
   */
  sum_(tensors: readonly Tensor[]): void {
    calls.jobSum(tensors);
  }

  /** Overwrites the tensors, of any dtype, with those of rank `root`. */
  broadcast_(tensors: readonly Tensor[], root = 0): void {
    calls.jobBroadcast(tensors, root);
  }

  /** Sums of numbers over the ranks, the same on every rank. */
  sum(numbers: readonly number[]): number[] {
    const rows = this.gather(numbers);
    return numbers.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0));
  }

  /** The numbers of every rank, by rank. */
  gather(numbers: readonly number[]): number[][] {
    const all = calls.jobGather(Float64Array.from(numbers));
    return Array.from({ length: this.size }, (_, r) => all.slice(r * numbers.length, (r + 1) * numbers.length));
  }

  /** A value of rank `root`, as JSON keeps it; what the other ranks give does not matter. */
  share<T>(value: T, root = 0): T {
    const text = calls.jobShare(this.rank === root ? (JSON.stringify(value) ?? '') : '', root);
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** Waits for all ranks. */
  barrier(): void {
    calls.jobBarrier();
  }

  /**
   * Ends MPI in this process, when all ranks have come here; without it, the process does so at its end. Where another rank is elsewhere,
   * both get `TENSOR_JOB`, and the job goes on.
   */
  leave(): void {
    calls.jobLeave();
    current = null;
  }

  /** Ends all ranks at once, with this exit status; after `leave` this process, and with a status other than 0 mpirun ends the others. */
  abort(status: number): never {
    try {
      if (current !== null) calls.jobAbort(status);
    } finally {
      process.exit(status);
    }
  }
}

let current: Job | null = null;

/**
 * This process's job; null where it was not started together with others by mpirun, mpiexec or srun. Starts MPI, the first time. The
 * job is the main thread's: a worker thread, whose end is not the process's, can't join it.
 * @throws TensorError `TENSOR_JOB` where there are several processes that can't reach each other: MPI was not there when LARR was
 *   built, the launcher belongs to another one, or several threads can't call it in turn; and in a worker thread
 */
export function joinJob(): Job | null {
  const launch = launchOf();
  if (launch === null || current !== null) return current;
  const many = `${launch.variable}=${launch.size}`;
  if (!isMainThread) {
    throw new TensorError(
      'TENSOR_JOB',
      'joinJob',
      [],
      `${many}, but this is a worker thread: a job is the whole process's, so join it in the main thread and do what ranks do together there`,
    );
  }
  if (!existsSync(file)) {
    throw new TensorError(
      'TENSOR_JOB',
      'joinJob',
      [],
      `${many}: this is one of several processes, but LARR was built without MPI. Install it (Debian, Ubuntu: apt-get install libopenmpi-dev openmpi-bin) and run \`npm run setup\` again`,
    );
  }
  const job = new Job(calls.jobJoin(file));
  if (job.size !== launch.size) {
    const library = calls.jobLibrary(file);
    calls.jobLeave();
    throw new TensorError(
      'TENSOR_JOB',
      'joinJob',
      [],
      `${many}, but ${library}, which LARR was built with, sees ${job.size}: start the processes with its own mpirun, or with srun --mpi=pmix (srun --mpi=list tells what Slurm has)`,
    );
  }
  current = job;
  // Node would print it after the 'exit' event, which ends here.
  process.once('uncaughtExceptionMonitor', (error) => {
    if (current !== null && process.listenerCount('uncaughtException') === 0)
      process.stderr.write(`rank ${job.rank}: ${inspect(error)}\n`);
  });
  process.once('exit', (status) => {
    if (current === null) return;
    if (status !== 0) return calls.jobAbort(status);
    try {
      job.leave();
    } catch (error) {
      // The others still work together, and would wait for this one.
      process.stderr.write(`rank ${job.rank} ends before the others: ${inspect(error)}\n`);
      calls.jobAbort(1);
    }
  });
  return job;
}

/** Name and version of the MPI that joins processes; null where LARR was built without. */
export function mpiLibrary(): string | null {
  return existsSync(file) ? calls.jobLibrary(file) : null;
}

/**
 * Symmetric InfoNCE of query and key [B, d], positives on the diagonal: ½ mean(lse over rows + lse over columns − 2·diagonal) of
 * scale · q kᵀ; pairs i ≠ j of one group (i32 [B]) are left out of both sums (docs/method.md, section 3). Accumulates in f32 (f64 for
 * f64).
 *
 * With a job, the batch is that of all ranks, their rows one after another; each gives its own [B_r, d], B_r may be 0, and a group's id
 * means the same on all ranks. Every rank gets the loss of the whole batch and its gradient in its own rows; that in `scale` is the
 * rank's share, to be summed over ranks as those of other parameters are.
 */
export function infoNce(
  query: Tensor,
  key: Tensor,
  scale: Tensor | number,
  groups?: Tensor | null,
  { job }: { job?: Job | null } = {},
): Tensor {
  return job ? calls.jobInfoNce(query, key, scale, groups) : ofOneProcess(query, key, scale, groups);
}
