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
