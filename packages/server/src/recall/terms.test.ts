import { expect, it } from 'vitest';
import { Terms } from './terms.js';

const terms = new Terms(
  ['cold noodles', 'noodles', 'cold', '火锅', '麻辣', '麻辣火锅', 'café'].map((term, row) => ({
    field: 'tags',
    term,
    row,
  })),
);
const found = (text: string) => {
  const { matched, unmatched } = terms.match(text);
  return [matched.map((term) => term.text), unmatched];
};

it('takes the longest term at each place, whatever the writing', () => {
  expect(found('COLD  Noodles, noodles & cold soup')).toEqual([['cold noodles', 'noodles', 'cold'], ['soup']]);
  expect(found('Cafe\u0301 ｎｏｏｄｌｅｓ')).toEqual([['café', 'noodles'], []]);
});

it('finds terms inside text that is written without blanks', () => {
  expect(found('我要麻辣火锅和火锅')).toEqual([
    ['麻辣火锅', '火锅'],
    ['我要', '和'],
  ]);
  expect(found('spicy麻辣hot')).toEqual([['麻辣'], ['spicy', 'hot']]);
});

it('gives every keyword that has the term, and nothing for a text without words', () => {
  const both = new Terms([
    { field: 'name', term: 'pizza', row: 0 },
    { field: 'menu', term: 'pizza', row: 1 },
  ]);
  expect(both.match('pizza').matched.map(({ field, row }) => [field, row])).toEqual([
    ['name', 0],
    ['menu', 1],
  ]);
  expect(both.match('!? … ')).toEqual({ matched: [], unmatched: [] });
});
