import { describe, expect, it } from 'vitest';
import { agreement, moves, spokenChange } from './moves';

describe('moves between two rankings', () => {
  it('tells how far each went, and which were not there', () => {
    const change = moves(['a', 'b', 'c', 'd'], ['d', 'b', 'x', 'a']);
    expect([...change.values()]).toEqual([
      { from: 4, to: 1, up: 3 },
      { from: 2, to: 2, up: 0 },
      { from: null, to: 3, up: 0 },
      { from: 1, to: 4, up: -3 },
    ]);
  });

  it('says what changed among those that are shown', () => {
    const name = (id: string) => id.toUpperCase();
    expect(spokenChange([], ['a', 'b'], 10, name)).toBe('2 POIs ranked. First is A.');
    expect(spokenChange(['a', 'b', 'c'], ['b', 'a', 'c'], 10, name)).toBe(
      'Ranked again: 2 of the first 3 moved; B is first now.',
    );
    expect(spokenChange(['a', 'b', 'c'], ['a', 'c', 'b'], 1, name)).toMatch(/nothing moved among the first 1/);
    expect(spokenChange(['a', 'b', 'c'], ['a', 'c', 'b'], 3, name)).toMatch(/A stays first/);
  });
});

describe('agreement', () => {
  /** Kendall's tau by its definition, pair by pair. */
  function plain(a: readonly string[], b: readonly string[]): number {
    const both = a.filter((id) => b.includes(id));
    let sum = 0;
    for (let i = 0; i < both.length; i++)
      for (let j = i + 1; j < both.length; j++) sum += b.indexOf(both[i]!) < b.indexOf(both[j]!) ? 1 : -1;
    return sum / ((both.length * (both.length - 1)) / 2);
  }

  it('is 1 for the same order, −1 for the reverse, and as by definition in between', () => {
    const a = [...'abcdefghij'];
    expect(agreement(a, a)).toBe(1);
    expect(agreement(a, a.toReversed())).toBe(-1);
    for (const b of ['bacdefghij', 'jabcdefghi', 'dgjahbcief', 'xbcyaz']) {
      expect(agreement(a, [...b])).toBeCloseTo(plain(a, [...b]), 12);
    }
  });

  it('has none where fewer than two are in both', () => {
    expect(agreement(['a', 'b'], ['b', 'c'])).toBeNull();
  });
});
