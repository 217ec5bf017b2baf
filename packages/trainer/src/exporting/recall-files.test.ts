import { expect, it } from 'vitest';
import { termVectors } from './recall-files.js';

/** Ten POIs' names; each POI's vector is its number on a circle. */
const names = [
  '西湖东门0号点',
  '西湖南门1号点',
  'e-bike Münster',
  'e-bike Munster',
  'e-bike lakeside-view',
  'e-bike station',
  'bike station',
  'bike harbour',
  'bike harbour',
  'bike',
];
const pois = {
  data: Float32Array.from(names.flatMap((_, i) => [Math.cos(i / 3), Math.sin(i / 3)])),
  shape: [names.length, 2] as const,
};
const { vectors, fields, common } = termVectors(
  names.map((text) => [{ keyword: 'name', text }]),
  pois,
);
const terms = fields[0]!.terms;

it('finds Han text by two characters that follow each other, and the run as it stands', () => {
  expect(terms).toEqual(expect.arrayContaining(['西湖', '号点']));
  // in one POI each
  expect(terms).not.toContain('东门');
});

it('takes accents off, keeps words with hyphens whole, and drops letters that are no word', () => {
  expect(terms).toEqual(expect.arrayContaining(['munster', 'station', 'harbour']));
  expect(terms).not.toContain('e');
  expect([...terms, ...common[0]!.terms]).toContain('e bike');
});

it('keeps what too many have behind the rest, with the mean of those that have it', () => {
  expect(common[0]!.terms).toEqual(expect.arrayContaining(['bike', 'e bike']));
  expect(terms).not.toContain('bike');
  expect(vectors.shape[0]).toBe(terms.length + common[0]!.terms.length);
  const at = terms.length + common[0]!.terms.indexOf('bike');
  const sum = [0, 1].map((i) =>
    names.reduce((all, name, poi) => all + (name.includes('bike') ? pois.data[poi * 2 + i]! : 0), 0),
  );
  for (const i of [0, 1]) expect(vectors.data[at * 2 + i]).toBeCloseTo(sum[i]! / Math.hypot(...sum), 5);
});

it('gives what nearly all have no direction', () => {
  const all = termVectors(
    names.map((name, i) => [{ keyword: 'name', text: `the shop ${i % 5} ${name}` }]),
    pois,
  );
  const at = all.fields[0]!.terms.length + all.common[0]!.terms.indexOf('the');
  expect(all.common[0]!.terms).toContain('the');
  expect([...all.vectors.data.subarray(at * 2, at * 2 + 2)]).toEqual([0, 0]);
});
