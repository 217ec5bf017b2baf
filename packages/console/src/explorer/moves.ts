/** How a list of ranked POIs changed into another. */
export interface Move {
  /** rank before, from 1; null where it was not there */
  from: number | null;
  to: number;
  /** places up; negative is down; 0 also for one that was not there */
  up: number;
}

/** Each POI's move from `before` to `after`; ids in order of rank. */
export function moves(before: readonly string[], after: readonly string[]): Map<string, Move> {
  const ranks = new Map(before.map((id, i) => [id, i + 1]));
  return new Map(
    after.map((id, i) => {
      const from = ranks.get(id) ?? null;
      return [id, { from, to: i + 1, up: from === null ? 0 : from - (i + 1) }];
    }),
  );
}

/** What changed, in a sentence to be heard: the new first one, and how many of those shown moved. */
export function spokenChange(
  before: readonly string[],
  after: readonly string[],
  shown: number,
  nameOf: (id: string) => string,
): string {
  if (after.length === 0) return 'No POIs to rank.';
  const first = nameOf(after[0]!);
  if (before.length === 0) return `${after.length} POIs ranked. First is ${first}.`;
  const moved = [...moves(before, after.slice(0, shown)).values()].filter(
    ({ from, up }) => from === null || up !== 0,
  ).length;
  if (moved === 0) return `Ranked again; nothing moved among the first ${Math.min(shown, after.length)}.`;
  const top = before[0] === after[0] ? `${first} stays first` : `${first} is first now`;
  return `Ranked again: ${moved} of the first ${Math.min(shown, after.length)} moved; ${top}.`;
}

/**
 * How alike two rankings are: Kendall's tau-b without ties over the POIs that both have, from −1 (reversed) to 1 (the same).
 * @returns null where fewer than two are in both
 */
export function agreement(a: readonly string[], b: readonly string[]): number | null {
  const rankB = new Map(b.map((id, i) => [id, i]));
  const ranks = a.flatMap((id) => rankB.get(id) ?? []);
  const n = ranks.length;
  if (n < 2) return null;
  return 1 - (4 * inversions(ranks)) / (n * (n - 1));
}

/** Pairs that stand the wrong way round, by merge sort. */
function inversions(ranks: readonly number[]): number {
  if (ranks.length < 2) return 0;
  const middle = ranks.length >> 1;
  const [left, right] = [ranks.slice(0, middle), ranks.slice(middle)];
  let count = inversions(left) + inversions(right);
  left.sort((x, y) => x - y);
  right.sort((x, y) => x - y);
  let j = 0;
  for (const x of left) {
    while (j < right.length && right[j]! < x) j++;
    count += j;
  }
  return count;
}
