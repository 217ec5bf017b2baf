import { expect, it } from 'vitest';
import { IdIndex } from './id-index.js';

it('knows every id by its row, in the order they were added, and no other', () => {
  const index = new IdIndex();
  const ids = Array.from({ length: 20_000 }, (_, i) =>
    i % 3 === 0 ? `p${i}` : i % 3 === 1 ? `茶${i}🍜` : `${i}`.padStart(40, 'é'),
  );
  expect(ids.map((id) => index.add(id))).toEqual(ids.map((_, row) => row));
  expect(index.size).toBe(ids.length);
  expect(ids.map((id) => index.get(id))).toEqual(ids.map((_, row) => row));
  expect(ids.map((_, row) => index.id(row))).toEqual(ids);
  for (const unknown of ['', 'p1', 'p', '茶', 'x'.repeat(5000), '\0']) expect(index.get(unknown)).toBe(-1);
  expect(index.add(ids[77]!)).toBe(77);
  expect(index.size).toBe(ids.length);
  const read = IdIndex.from(index.tensors());
  expect(ids.map((id) => read.get(id))).toEqual(ids.map((_, row) => row));
  expect(read.get('p1')).toBe(-1);
  expect(() => read.add('p1')).toThrow(/takes no more/);
});

it('refuses arrays that are not those of an index', () => {
  const index = new IdIndex();
  for (const id of ['a', 'b', 'c']) index.add(id);
  const tensors = index.tensors();
  const damaged = [
    { ...tensors, hashes: tensors.hashes.slice(1) },
    { ...tensors, ends: Uint32Array.of(1, 9, 3) },
    { ...tensors, slots: tensors.slots.slice(1) },
    { ...tensors, slots: tensors.slots.map((row) => (row === 2 ? 3 : row)) },
    { ...tensors, slots: new Int32Array(2).fill(-1) },
    { ...tensors, slots: new Int32Array(tensors.slots.length).fill(0) },
  ];
  for (const one of damaged) expect(() => IdIndex.from(one)).toThrow(/damaged/);
});

it('tells apart ids of which one begins like the other', () => {
  const index = new IdIndex();
  for (const id of ['a', 'ab', '', 'abc', 'b']) index.add(id);
  expect(['a', 'ab', '', 'abc', 'b', 'bc'].map((id) => index.get(id))).toEqual([0, 1, 2, 3, 4, -1]);
});
