import { UsageError } from '@larr/core';

/** A process's number among those of one launch, by what launches them: Open MPI, MPICH and Intel MPI, Slurm, torchrun. */
const RANKS = [
  ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'],
  ['PMI_RANK', 'PMI_SIZE'],
  ['SLURM_PROCID', 'SLURM_NTASKS'],
  ['RANK', 'WORLD_SIZE'],
] as const;

/** Parses `--shard`: "i/n" with i from 0, or "rank". @throws UsageError `BAD_SHARD` */
export function parseShard(text: string): { index: number; count: number } {
  const bad = (what: string) =>
    new UsageError('BAD_SHARD', `--shard ${text}: ${what}; write i/n with i from 0, for example 0/4, or rank`);
  let [index, count] = /^(\d+)\/(\d+)$/.exec(text)?.slice(1).map(Number) ?? [];
  if (text === 'rank') {
    const names = RANKS.find(([rank]) => process.env[rank] !== undefined);
    if (names === undefined)
      throw bad(`none of ${RANKS.map(([rank]) => rank).join(', ')} is set: mpirun or srun would have set one`);
    [index, count] = names.map((name) => Number(process.env[name]));
  }
  if (index === undefined || count === undefined) throw bad('that is no share');
  if (!Number.isSafeInteger(count) || count < 1 || !(index < count))
    throw bad(`there is no share ${index} of ${count}`);
  return { index, count };
}
