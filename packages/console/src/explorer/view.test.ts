import { describe, expect, it } from 'vitest';
import { differing, EMPTY_VIEW, fromQuery, otherScene, sceneBody, spoken, toQuery, type View, withField } from './view';

const full: View = {
  user: 'u 1&2',
  scene: { time: '2026-01-01T12:30:00', weather: 'heavy rain', temperature: '31' },
  other: { weather: 'sunny', temperature: '' },
  candidates: { kind: 'list', ids: ['a,b', 'ü', '100%'] },
  place: 'fields',
  compare: 'scene',
  bundle: 'next',
  otherBundle: null,
  by: 'pCtr',
  shown: 40,
};

describe('a view in the address', () => {
  it('comes back as it was', () => {
    expect(fromQuery(toQuery(full))).toEqual(full);
    expect(fromQuery(toQuery(EMPTY_VIEW))).toEqual(EMPTY_VIEW);
    for (const candidates of [
      { kind: 'group', column: 'city', value: 'São Paulo' },
      { kind: 'group', column: 'city', value: null },
      { kind: 'recall', text: 'noodles & soup' },
      { kind: 'recall', text: '' },
    ] as const)
      expect(fromQuery(toQuery({ ...EMPTY_VIEW, candidates })).candidates).toEqual(candidates);
    const bundles: View = { ...EMPTY_VIEW, compare: 'bundle', otherBundle: 'next' };
    expect(fromQuery(toQuery(bundles))).toEqual(bundles);
  });

  it('is empty where nothing was chosen', () => {
    expect(toQuery(EMPTY_VIEW)).toBe('');
  });

  it('reads what it can of a damaged address', () => {
    expect(fromQuery('compare=nothing&by=price&shown=-3&pois=%25E0%25A4%25A&scene.weather=sunny')).toEqual({
      ...EMPTY_VIEW,
      scene: { weather: 'sunny' },
      candidates: { kind: 'list', ids: ['%E0%A4%A'] },
    });
  });
});

describe('two scenes', () => {
  it('B is A but for its own fields, and may leave out what A gives', () => {
    expect(otherScene(full)).toEqual({ time: '2026-01-01T12:30:00', weather: 'sunny' });
    expect(differing(full).sort()).toEqual(['temperature', 'weather']);
  });

  it('a field of B that is set to what A has follows A again', () => {
    const same = withField(full, 'b', 'weather', 'heavy rain');
    expect(same.other).toEqual({ temperature: '' });
    expect(otherScene(withField(same, 'a', 'weather', 'fog')).weather).toBe('fog');
  });

  it('a field that A no longer gives is gone', () => {
    expect(withField(full, 'a', 'weather', null).scene).not.toHaveProperty('weather');
  });
});

it('sends numbers as numbers, and nothing that this model does not take', () => {
  const kinds = new Map([
    ['temperature', 'number'],
    ['weather', 'text'],
  ] as const);
  expect(sceneBody({ temperature: '31', weather: '7', of_another_model: 'x' }, kinds)).toEqual({
    temperature: 31,
    weather: '7',
  });
  expect(sceneBody({ temperature: 'warm' }, kinds)).toEqual({});
});

it('says names of fields as people would', () => {
  expect(['home_city', 'timeSlot', 'weather'].map(spoken)).toEqual(['Home city', 'Time slot', 'Weather']);
});
