// --base: the network that the larr models of a command are built on.
import { UsageError } from '@larr/core';
import { Option } from 'commander';
import { type NetworkName, networkNames } from '../models/config.js';
import type { Configuration } from './configuration.js';

/** `--base <network>`; without it `train.base` of the configuration holds, which is ple unless it says otherwise. */
export function baseOption(): Option {
  return new Option('--base <network>', 'what the larr models put their inputs into (train.base, or ple)').choices(
    networkNames,
  );
}

/**
 * The configuration with the base that was asked for.
 * @throws UsageError `BASE_UNREAD` where no model has one; `UNKNOWN_MODEL`
 */
export async function withBase(
  config: Configuration,
  base: NetworkName | undefined,
  models: readonly string[],
): Promise<Configuration> {
  if (base === undefined) return config;
  const { modelKind } = await import('../models/index.js');
  if (!models.some((name) => modelKind(name).network === null)) {
    throw new UsageError('BASE_UNREAD', `--base ${base}: ${models.join(', ')} has no base; the larr models have one`);
  }
  return { ...config, train: { ...config.train, base } };
}
