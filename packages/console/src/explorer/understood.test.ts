import { expect, it } from 'vitest';
import { understoodLine } from './understood';

it('says what was looked for, what so many POIs have that it was left out, and what is not known', () => {
  const matched = [{ field: 'poi_menu', text: 'hotpot' }];
  const line = understoodLine({ matched, common: ['place', 'a'], unmatched: ['xyzzy'] });
  expect(line).toMatch(/looked for hotpot .* · left out, for so many POIs have it: place, a · nothing known of xyzzy$/);
  expect(understoodLine({ matched, common: [], unmatched: [] })).not.toMatch(/left out|nothing known/);
});

it('does not call left out what was looked for because nothing else was known', () => {
  const line = understoodLine({ matched: [{ field: 'menu', text: 'place' }], common: ['place'], unmatched: [] });
  expect(line).toContain('looked for place');
  expect(line).not.toContain('left out');
});

it('is empty where nothing was recalled', () => {
  expect(understoodLine(null)).toBe('');
});
