import { availableParallelism, cpus } from 'node:os';
import { launchOf, UsageError } from '@larr/core';

/**
 * Threads where `--threads` is left out: what `LARR_THREADS` says, else the first number of `OMP_NUM_THREADS`, which batch systems
 * set to what a job was given, else the processors this process may run on; of several processes that mpirun or srun started, no more
 * than an even share of the machine's, where they were not bound to processors of their own.
 * @throws UsageError `BAD_THREADS` where `LARR_THREADS` is no number from 1 to 1024
 */
export function defaultThreads(env: NodeJS.ProcessEnv = process.env): number {
  const { LARR_THREADS: ours = '', OMP_NUM_THREADS: openMp = '' } = env;
  if (ours !== '') {
    const threads = Number(ours);
    if (Number.isSafeInteger(threads) && threads >= 1 && threads <= 1024) return threads;
    throw new UsageError('BAD_THREADS', `LARR_THREADS=${ours} is not a number from 1 to 1024`);
  }
  // OpenMP takes a list, one number for each level of nesting, and does not mind what it can't read.
  const threads = Number(openMp.split(',')[0]);
  return Number.isSafeInteger(threads) && threads >= 1 ? threads : ownProcessors(launchOf(env)?.localSize ?? 1);
}

function ownProcessors(processes: number): number {
  return Math.min(availableParallelism(), Math.max(1, Math.floor(cpus().length / processes)));
}
