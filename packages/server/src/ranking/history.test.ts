import { expect, it } from 'vitest';
import { BehaviourVectors } from './behaviour.js';
import { Histories } from './history.js';

const histories = new Histories(
  [
    { name: 'clicked', length: 3 },
    { name: 'ordered', length: 2 },
  ],
  9,
);

it('puts the sequences side by side, each filled up to its length', () => {
  expect(histories.width).toBe(5);
  expect([...histories.of({ seq_clicked: [7, 2], seq_ordered: [5, 6] })]).toEqual([7, 2, 0, 5, 6]);
});

it('takes the most recent of a sequence that is longer than the model reads', () => {
  expect([...histories.of({ seq_clicked: [1, 2, 3, 4], seq_ordered: [9] })]).toEqual([1, 2, 3, 9, 0]);
});

it('has nothing of users without a history', () => {
  expect([...histories.of(undefined)]).toEqual([0, 0, 0, 0, 0]);
  expect([...histories.of({ seq_clicked: null, seq_ordered: [] })]).toEqual([0, 0, 0, 0, 0]);
});

it('reads nothing where a sequence names what is no POI', () => {
  const bad = { seq_clicked: [999_999_999, 10, 9], seq_ordered: [1.5, -1] };
  expect([...histories.of(bad)]).toEqual([0, 0, 9, 0, 0]);
  expect([...histories.of({ seq_clicked: 'text', seq_ordered: [2] })]).toEqual([0, 0, 0, 2, 0]);
  // rows: padding, and POIs 1 and 2
  const behaviour = new BehaviourVectors(Float32Array.of(0, 0, 1, 10, 3, 30), 2, [{ name: 'clicked' }]);
  expect([...behaviour.of({ seq_clicked: [1, 3, 999_999_999, 2, 0.5] })]).toEqual([2, 20]);
});
