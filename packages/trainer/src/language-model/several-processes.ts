// Training over the ranks of a job: what each of them does, and what one does for all. Without a job (null) everything is one process's.
import { LarrError, TrainingError } from '@larr/core';
import { type Job, noGrad, type Tensor, tidy, zerosLike } from '@larr/torch';

/** Whether this process writes and tells: rank 0 does, for all. */
export function isFirst(job: Job | null): boolean {
  return job === null || job.rank === 0;
}

/**
 * What rank 0 makes of `work`, on every rank, as JSON keeps it; the others wait meanwhile.
 * @throws on rank 0 what `work` throws, on the others an error of its code and message
 */
export async function byFirst<T>(job: Job | null, work: () => T | Promise<T>): Promise<T> {
  if (job === null) return work();
  type Outcome = { value: T } | { code: string; message: string };
  if (job.rank > 0) {
    const outcome = job.share<Outcome>({ code: '', message: '' });
    if ('code' in outcome) throw new TrainingError(outcome.code, outcome.message);
    return outcome.value;
  }
  try {
    const value = await work();
    job.share<Outcome>({ value });
    return value;
  } catch (error) {
    const { message } = error instanceof Error ? error : new Error(String(error));
    job.share<Outcome>({ code: error instanceof LarrError ? error.code : 'RANK_FAILED', message });
    throw error;
  }
}

/** Sums over the ranks. */
export function total(job: Job | null, numbers: readonly number[]): number[] {
  return job === null ? [...numbers] : job.sum(numbers);
}

/** The rank's run of `count` rows, as near to equal as they divide: [first, after the last). */
export function shareOf(count: number, job: Job | null): [from: number, to: number] {
  if (job === null) return [0, count];
  const cut = (rank: number) => Math.floor((rank * count) / job.size);
  return [cut(job.rank), cut(job.rank + 1)];
}

/**
 * Sums the gradients over the ranks, to the same bits on each. A rank that had no part in a parameter's gradient, having no rows in
 * the step, adds nothing; a parameter without a gradient on every rank stays without.
 */
export function sumGradients(job: Job | null, parameters: readonly Tensor[]): void {
  if (job === null) return;
  noGrad(() =>
    tidy(() => {
      const somewhere = job.sum(parameters.map(({ grad }) => (grad === null ? 0 : 1)));
      const gradients = parameters.flatMap((parameter, i) => {
        if (somewhere[i] === 0) return [];
        parameter.grad ??= zerosLike(parameter);
        return [parameter.grad];
      });
      job.sum_(gradients);
    }),
  );
}

/**
 * Lets all ranks begin with rank 0's parameters, where they all stand at the same step.
 * @throws TrainingError `OUTPUT_NOT_SHARED` where some see another checkpoint than others, or none
 */
export function beginTogether(job: Job | null, parameters: readonly Tensor[], step: number, directory: string): void {
  if (job === null) return;
  const steps = job.gather([step]).map(([at]) => at!);
  const other = steps.findIndex((at) => at !== steps[0]);
  if (other >= 0) {
    throw new TrainingError(
      'OUTPUT_NOT_SHARED',
      `${directory}: process 0 goes on from step ${steps[0]}, process ${other} from step ${steps[other]}. Put --out where all processes see the same files`,
      { file: directory },
    );
  }
  job.broadcast_(parameters);
}
