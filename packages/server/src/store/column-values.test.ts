import { expect, it } from 'vitest';
import { valueProblem, withPoiNumbers } from './column-values.js';

const problem = (type: string, value: unknown, name = 'c') => valueProblem(name, type, value, 50);

it('takes what features read from a column of each type, and null anywhere', () => {
  const right: [string, unknown][] = [
    ['VARCHAR', '茶'],
    ['DOUBLE', -1.5],
    ['FLOAT', 1e30],
    ['DECIMAL(10,2)', '3.50'],
    ['INTEGER', 7],
    ['BIGINT', '9007199254740993'],
    ['BOOLEAN', true],
    ['BOOLEAN', 'false'],
    ['DATE', '2027-01-31'],
    ['TIMESTAMP', '2027-01-31 12:00:00'],
    ['VARCHAR[]', 'a, b'],
  ];
  for (const [type, value] of right) expect([type, value, problem(type, value)]).toEqual([type, value, null]);
  for (const [type] of right) expect(problem(type, null)).toBeNull();
});

it('refuses what would be missing, not a number or infinite where it is read', () => {
  const wrong: [string, unknown][] = [
    ['VARCHAR', 5],
    ['DOUBLE', 'x'],
    ['DOUBLE', 1e300],
    ['DOUBLE', Number.NaN],
    ['DOUBLE', [1]],
    ['DECIMAL(10,2)', 'NaN'],
    ['INTEGER', 1.5],
    ['BIGINT', '1e3'],
    ['BOOLEAN', 1],
    ['DATE', 'tomorrow'],
    ['VARCHAR[]', [1]],
  ];
  for (const [type, value] of wrong) expect([type, value, problem(type, value)?.at]).toEqual([type, value, '']);
});

it('knows the POIs that a sequence may hold', () => {
  expect(problem('INTEGER[]', [50, 1, 0], 'seq_clicks')).toBeNull();
  expect(problem('INTEGER[]', [], 'seq_clicks')).toBeNull();
  for (const entry of [51, 999_999_999, -1, 1.5])
    expect(problem('INTEGER[]', [3, entry], 'seq_clicks')).toMatchObject({ at: '[1]' });
  expect(problem('INTEGER[]', '3', 'seq_clicks')).toMatchObject({ at: '' });
});

it('takes POIs of a sequence by their ids', () => {
  const numberOf = (id: string): number | null => ({ S0018: 18, '7': 40 })[id] ?? null;
  const rows = new Map([['u', { seq_recent: ['S0018', 3, '7', 0], city: 'S0018', tags: ['S0018'], seq_none: null }]]);
  expect(withPoiNumbers(rows, numberOf).get('u')).toEqual({
    seq_recent: [18, 3, 40, 0],
    city: 'S0018',
    tags: ['S0018'],
    seq_none: null,
  });
  const unknown = (): unknown => withPoiNumbers(new Map([['u', { seq_recent: [1, 'S9999'] }]]), numberOf);
  expect(unknown).toThrow(
    expect.objectContaining({
      code: 'VALUE_INVALID',
      field: 'rows.u.seq_recent[1]',
      message: expect.stringContaining('"S9999"'),
    }),
  );
});
