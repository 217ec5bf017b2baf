import { expect, it } from 'vitest';
import { hrefOf, pageOf } from './routing';

it('every page has an address that leads back to it', () => {
  for (const page of [
    { name: 'explorer' },
    { name: 'experiments' },
    { name: 'experiment', id: 'new model/ü' },
    { name: 'runs' },
    { name: 'run', id: 'models~larr-seed1' },
    { name: 'health' },
  ] as const)
    expect(pageOf(hrefOf(page))).toEqual(page);
});

it('what is no page is nowhere, and a damaged address harms nothing', () => {
  expect(pageOf('/console')).toEqual({ name: 'explorer' });
  for (const path of ['/console/settings', '/console/runs/a/b', '/console/health/x'])
    expect(pageOf(path).name).toBe('nowhere');
  expect(pageOf('/console/runs/%E0%A4%A')).toEqual({ name: 'run', id: '%E0%A4%A' });
});
