import { memoryStats } from '@larr/torch';
import { expect, test } from 'vitest';
import { syntheticData, syntheticVectors, temporaryDirectory, tinyConfig } from '../../test/synthetic-data.js';
import { trainModel } from './train.js';

test('training leaves no tensors behind', async () => {
  const data = syntheticData();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  const before = memoryStats().tensors;
  await trainModel(data, {
    model: 'larr',
    out: temporaryDirectory(),
    seed: 1,
    config: { ...tinyConfig, epochs: 2 },
    vectors,
  });
  expect(memoryStats().tensors).toBe(before);
  data.dispose();
});
