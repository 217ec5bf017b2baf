import { expect, test } from 'vitest';
import { networkNames } from '../models/config.js';
import { resolveTrainConfig } from '../training/config.js';
import { defaultSpace } from './search-space.js';

test('a search chooses interactions for the networks that have none of their own, and for larr on them', () => {
  const configured = resolveTrainConfig('ple', {});
  const choosing = networkNames.filter((network) => 'interactions' in defaultSpace(network, network, configured));
  expect(choosing).toEqual(['dnn', 'esmm', 'mmoe', 'ple']);
  expect(defaultSpace('larr', 'ple', configured).interactions).toEqual({ choices: ['none', 'fm'] });
  expect(defaultSpace('larr', 'deepfm', configured).interactions).toBeUndefined();
});
