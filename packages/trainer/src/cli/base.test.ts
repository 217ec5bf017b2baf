import { expect, test } from 'vitest';
import { withBase } from './base.js';
import { Configuration } from './configuration.js';

test('--base is for the larr models of a command, and goes before the base of the configuration', async () => {
  const config = Configuration.parse({ train: { base: 'esmm', epochs: 3 } });
  expect((await withBase(config, 'mmoe', ['ple', 'larr-no-al'])).train).toEqual({ base: 'mmoe', epochs: 3 });
  expect((await withBase(config, undefined, ['larr'])).train).toEqual({ base: 'esmm', epochs: 3 });
});

test('--base without a model that has one is wrong usage', async () => {
  await expect(withBase(Configuration.parse({}), 'mmoe', ['ple', 'din'])).rejects.toMatchObject({
    code: 'BASE_UNREAD',
    message: expect.stringContaining('ple, din'),
  });
});
