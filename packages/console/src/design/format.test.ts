import { expect, it } from 'vitest';
import { ago, bytes, duration, lift, milliseconds, number, percent, share } from './format';

it('writes figures as people read them', () => {
  expect([0.0812, 0.1234, 0.00042, 0, 0.00000001].map(percent)).toEqual([
    '8.12 %',
    '12.3 %',
    '0.04 %',
    '0.00 %',
    '< 0.01 %',
  ]);
  expect([0.5, 0.025].map(share)).toEqual(['50 %', '2.5 %']);
  expect([0.021, -0.15, 0].map(lift)).toEqual(['+2.10 %', '−15.0 %', '0.00 %']);
  expect([0, 12345.6, 2.3456, 0.5, 0.00025, 0.0000012, -7].map(number)).toEqual([
    '0',
    '12,346',
    '2.35',
    '0.5',
    '0.00025',
    '1.20e−6',
    '−7',
  ]);
  expect([0.042, 3.14, 120.4, 1400].map(milliseconds)).toEqual(['0.04 ms', '3.1 ms', '120 ms', '1.4 s']);
  expect([512, 1536, 5e9].map(bytes)).toEqual(['512 B', '1.5 KiB', '4.7 GiB']);
  expect([0, 42, 185, 7800, 360_000].map(duration)).toEqual(['0 s', '42 s', '3 min 5 s', '2 h 10 min', '4 d 4 h']);
  expect(ago('2026-01-01T00:00:00Z', Date.parse('2026-01-03T01:00:00Z'))).toBe('2 d ago');
});
