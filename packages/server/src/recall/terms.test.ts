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

it('finds words of other scripts that are written without blanks', () => {
  const words = new Terms(['ラーメン', 'กาแฟ'].map((term, row) => ({ field: 'menu', term, row })));
  const of = (text: string) => words.match(text).matched.map((term) => term.text);
  expect(of('おいしいラーメンが食べたい')).toEqual(['ラーメン']);
  expect(of('ฉันอยากกินกาแฟ')).toEqual(['กาแฟ']);
  // digits and Latin letters beside them are words of their own
  expect(of('ร้านกาแฟ24ชม.')).toEqual(['กาแฟ']);
  expect(of('กาแฟcafe')).toEqual(['กาแฟ']);
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
  expect(both.match('!? … ')).toEqual({ matched: [], common: [], unmatched: [] });
});

it('takes words with hyphens whole, or by their parts, but never by a letter of them', () => {
  const bikes = new Terms(['e', 'e bike', 'lakeside', 'view of'].map((term, row) => ({ field: 'menu', term, row })));
  const of = (text: string) => {
    const { matched, unmatched } = bikes.match(text);
    return [matched.map((term) => term.text), unmatched];
  };
  expect(of('E-Bike')).toEqual([['e bike'], []]);
  expect(of('e\u2011bike')).toEqual([['e bike'], []]);
  expect(of('e bike')).toEqual([['e bike'], []]);
  expect(of('e-scooter')).toEqual([[], ['e-scooter']]);
  expect(of('lakeside-view')).toEqual([['lakeside'], ['view']]);
});

it('reads accents as the letters that bear them, in terms of earlier bundles too', () => {
  const places = new Terms(['münster', 'sao paulo'].map((term, row) => ({ field: 'city', term, row })));
  expect(places.match('MUNSTER, São Paulo').matched.map(({ row }) => row)).toEqual([0, 1]);
  expect(places.match('Mu\u0308nster').unmatched).toEqual([]);
});

it('tells terms that too many have from words that nobody knows', () => {
  const some = new Terms([
    { field: 'name', term: 'bike', row: 2, common: true },
    { field: 'name', term: 'lake', row: 0 },
    { field: 'menu', term: 'lake', row: 3, common: true },
  ]);
  const { matched, common, unmatched } = some.match('bike, lake, xyzzy');
  expect([matched.map(({ row }) => row), common.map(({ row }) => row), unmatched]).toEqual([[0], [2], ['xyzzy']]);
});
