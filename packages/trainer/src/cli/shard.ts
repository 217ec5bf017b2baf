import { launchRank, rankVariables, UsageError } from '@larr/core';

/** Parses `--shard`: "i/n" with i from 0, or "rank". @throws UsageError `BAD_SHARD` */
export function parseShard(text: string): { index: number; count: number } {
  const bad = (what: string) =>
    new UsageError('BAD_SHARD', `--shard ${text}: ${what}; write i/n with i from 0, for example 0/4, or rank`);
  let [index, count] = /^(\d+)\/(\d+)$/.exec(text)?.slice(1).map(Number) ?? [];
  if (text === 'rank') {
    const launched = launchRank();
    if (launched === null) throw bad(`none of ${rankVariables.join(', ')} is set: mpirun or srun would have set one`);
    ({ index, count } = launched);
  }
  if (index === undefined || count === undefined) throw bad('that is no share');
  if (!Number.isSafeInteger(count) || count < 1 || !(index < count))
    throw bad(`there is no share ${index} of ${count}`);
  return { index, count };
}
