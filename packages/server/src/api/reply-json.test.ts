import { expect, it } from 'vitest';
import { JsonWriter, writeRanked } from './reply-json.js';

const written = (write: (json: JsonWriter) => void): unknown => {
  const json = new JsonWriter();
  write(json);
  return JSON.parse(json.take().toString('utf8'));
};

it('writes every 32-bit probability so that it is read back as it was', () => {
  let seed = 1;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed / 2147483647;
  };
  const values = Float32Array.from({ length: 50_000 }, (_, i) => random() * 10 ** -Math.floor(12 * (i / 50_000)));
  const edges = [0, 1, 0.5, 0.1, 0.01, 0.001, 1e-6, 9.999999e-7, 1e-7, 1e-38, 1e-45, 0.99999994, 0.09999999999, 0.3];
  const all = [...values, ...Float32Array.from(edges)];
  const read = written((json) => {
    all.forEach((value, i) => {
      json.raw(i === 0 ? '[' : ',');
      json.probability(value);
    });
    json.raw(']');
  }) as number[];
  expect(Float32Array.from(read)).toEqual(Float32Array.from(all));
});

it('writes ids of every kind as JSON does', () => {
  const ids = [
    'p1',
    '',
    'a"b',
    'back\\slash',
    'tab\t',
    '茶',
    '🍜',
    '\u0000',
    '\u007f',
    '\ud800',
    '<&>',
    'x'.repeat(70_000),
  ];
  const poi = (id: string, i: number) => ({
    poi: id,
    rank: i + 1,
    score: 0.25,
    pCtr: 0.25,
    pCtcvr: i % 2 === 0 ? null : 1e-9,
  });
  const ranked = ids.map(poi);
  expect(written((json) => writeRanked(json, ranked))).toEqual(JSON.parse(JSON.stringify(ranked)));
  expect(written((json) => writeRanked(json, []))).toEqual([]);
  const explained = [{ ...poi('a', 0), attention: { city: 0.5, 'x"y': 0.125 } }];
  expect(written((json) => writeRanked(json, explained))).toEqual(explained);
});

it('writes whole numbers', () => {
  const numbers = [0, 7, 10, 99, 100, 123_456_789, 2_147_483_647];
  for (const value of numbers) expect(written((json) => json.integer(value))).toBe(value);
});
