import { expect, test } from 'vitest';
import { resolveTrainConfig } from './config.js';

test('heads that cannot share the vectors among them are refused, where there is an encoder', () => {
  const resolve = (model: string, larr: object, width: number) => resolveTrainConfig(model, {}, { larr }, width);
  expect(() => resolve('larr', { heads: 3 }, 128)).toThrow(/train\.larr\.heads is 3.*128/);
  expect(() => resolve('larr', {}, 30)).toThrow(expect.objectContaining({ code: 'HEADS' }));
  expect(resolve('larr', { heads: 3 }, 126).larr.heads).toBe(3);
  expect(resolve('larr-no-al', { heads: 3 }, 128).larr.heads).toBe(3);
  expect(resolveTrainConfig('ple', {}, { larr: { heads: 3 } }).larr.heads).toBe(3);
});

test('a model takes its own settings, a variant those of its model, and what makes a variant stays', () => {
  const user = {
    learningRate: 0.1,
    align: { lambda: 0.3 },
    models: {
      ple: { learningRate: 0.2 },
      larr: { learningRate: 0.4, align: { lambda: 0.6 } },
      'larr-no-ft': { dropout: 0.5 },
    },
  };
  const rate = (model: string) => resolveTrainConfig(model, {}, user).learningRate;
  expect(
    ['deepfm', 'ple', 'larr-ple', 'ple-true-taste', 'larr', 'larr-shuffled-table', 'larr-no-ft'].map(rate),
  ).toEqual([0.1, 0.2, 0.2, 0.2, 0.4, 0.4, 0.1]);
  expect(resolveTrainConfig('larr', {}, user).align.lambda).toBe(0.6);
  expect(resolveTrainConfig('larr-lambda0', {}, user).align.lambda).toBe(0);
  expect(resolveTrainConfig('larr-ple', {}, { ...user, base: 'deepfm' }).learningRate).toBe(0.1);
  expect(() => resolveTrainConfig('ple', {}, { models: { larrr: {} } })).toThrow(
    expect.objectContaining({ code: 'UNKNOWN_MODEL' }),
  );
});

test('what only one schedule reads is refused beside another', () => {
  expect(resolveTrainConfig('ple', {}, { schedule: 'plateau', plateauFactor: 0.5 }).plateauFactor).toBe(0.5);
  expect(() => resolveTrainConfig('ple', {}, { plateauFactor: 0.5 })).toThrow(/schedule is "cosine"/);
});
