import { generateWorld, WORLD_SCALES, type WorldScale, type WorldSummary } from '@larr/core';
import { type Command, Option } from 'commander';
import { action, type OptionsOf, readConfig, withDataOptions } from '../command-context.js';
import { showProgress } from './prepare.js';

interface WorldCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  out: string;
  scale: WorldScale;
  granularity: 'coarse' | 'fine';
  sceneEffects: boolean;
}

export function registerWorld(program: Command): void {
  withDataOptions(program.command('world').description('make the built-in food-delivery world (docs/world.md)'))
    .requiredOption('--out <dir>', 'dataset directory to write')
    .addOption(new Option('--scale <scale>', 'how large').choices(WORLD_SCALES).default('small'))
    .addOption(
      new Option('--granularity <granularity>', "what models' cuisine feature tells")
        .choices(['coarse', 'fine'])
        .default('fine'),
    )
    .option('--no-scene-effects', 'weather, mealtimes, weekends, rain and travel change nothing (a control)')
    .action(
      action<WorldCommandOptions, WorldSummary>(
        (options, { signal, progress }) =>
          generateWorld({
            scale: options.scale,
            seed: options.seed,
            output: options.out,
            ...readConfig(options.config).prepare,
            threads: options.threads,
            categoryGranularity: options.granularity,
            sceneEffects: options.sceneEffects,
            signal,
            onProgress: ({ stage, part, ...at }) => showProgress(progress, stage)({ stage: part ?? '', ...at }),
          }),
        (made) =>
          `${made.output}: ${made.impressions.toLocaleString('en')} impressions of ${made.pois.toLocaleString('en')} POIs to ` +
          `${made.users.toLocaleString('en')} users over ${made.days} days; ${made.clicks.toLocaleString('en')} clicks, ` +
          `${made.orders.toLocaleString('en')} orders`,
        { interrupted: 'starts over' },
      ),
    );
}
