import { expect, test } from 'vitest';
import { BundleError, ConfigError, DataError, exitCode, TrainingError, UsageError } from './errors.js';

test('a command ends with 2 where it or its settings have to be changed, whichever class says so, and else with 1', () => {
  for (const error of [
    new UsageError('HUB_NO_MODEL', ''),
    new ConfigError('LABEL_LEAK', ''),
    new DataError('FILE_MISSING', ''),
    new TrainingError('CHECKPOINT_MISMATCH', ''),
    new BundleError('NO_NATIVE_RANKER', ''),
  ])
    expect([error.code, exitCode(error)]).toEqual([error.code, 2]);
  for (const error of [
    new DataError('BAD_VALUE', ''),
    new BundleError('BUNDLE_CORRUPT', ''),
    new TrainingError('LOSS_NOT_FINITE', ''),
    new TypeError('a defect'),
  ])
    expect(exitCode(error)).toBe(1);
});
