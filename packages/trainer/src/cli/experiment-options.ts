import type { CommandContext } from './command-context.js';
import type { Configuration } from './configuration.js';
import type { VectorsFound } from './vectors.js';

interface ExperimentCommandOptions {
  data: string;
  split?: string | undefined;
  out: string;
  device: string;
  limit?: number | undefined;
}

/** What every command that runs an experiment hands on to it: its data and directory, vectors, settings, and what stops it. */
export function experimentOptions(
  { data, split, out, device, limit }: ExperimentCommandOptions,
  config: Configuration,
  vectors: VectorsFound,
  { signal }: Pick<CommandContext, 'signal'>,
) {
  return { data, split, out, vectors, config: config.train, device, limit, signal };
}
