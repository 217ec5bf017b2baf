import { FusedRanker, type FusedRankerOptions } from '@larr/native-cuda';
import { joinedJobs, type RankerLane, type RankerLanes } from './ranker-lane.js';

/**
 * Lanes of the native ranker. Each call spreads over the kernels' threads by itself; there are some lanes, so that the next request is computed while the
 * answer of the one before is taken.
 * @throws KernelError where the program makes no sense
 */
export function nativeLanes(options: FusedRankerOptions, threads: number): RankerLanes {
  const ranker = new FusedRanker(options);
  const count = Math.max(2, Math.ceil(threads / 4));
  let open = count;
  const lane = (): RankerLane => ({
    score: (jobs) => ranker.score(joinedJobs(jobs)),
    async close() {
      open--;
      if (open === 0) ranker.dispose();
    },
  });
  return {
    kind: 'native',
    lanes: Array.from({ length: count }, lane),
    cut: false,
    // disposed of with the last lane
    keptBytes: () => (open === 0 ? 0 : ranker.bytes.kept),
  };
}
