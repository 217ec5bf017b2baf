import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { TrainingError } from '@larr/core';

/**
 * Reads a JSON file of a run directory (result.json, model.json).
 * @throws TrainingError `RUN_CORRUPT` naming the file and what to do, where it does not hold an object
 */
export async function readRunFile<T extends object>(path: string): Promise<T> {
  const text = await readFile(path, 'utf8');
  let value: unknown;
  let cause: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    cause = error;
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as T;
  const result = join(dirname(path), 'result.json');
  throw new TrainingError(
    'RUN_CORRUPT',
    `${path} is damaged: ${cause === undefined ? 'it holds no JSON object' : (cause as Error).message}. ` +
      `Remove ${result} and give the same training command again: it measures anew from what was trained`,
    { file: path, cause },
  );
}
