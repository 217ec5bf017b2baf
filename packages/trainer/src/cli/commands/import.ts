import {
  type DatasetManifest,
  importCoupon,
  importEntree,
  importFrappe,
  importMovielens,
  nearestName,
  UsageError,
} from '@larr/core';
import type { Command } from 'commander';
import { action, type OptionsOf, readConfig, withDataOptions } from '../command-context.js';
import { datasetSummary, showProgress } from './prepare.js';

interface ImportCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  in: string;
  out: string;
}

const importers = { frappe: importFrappe, entree: importEntree, coupon: importCoupon, movielens: importMovielens };

export function registerImport(program: Command): void {
  const names = Object.keys(importers);
  withDataOptions(
    program
      .command('import')
      .description('make a dataset of public data, from the files as their publisher ships them'),
  )
    .argument('<dataset>', names.join(', '))
    .requiredOption('--in <dir>', 'folder of the published files')
    .requiredOption('--out <dir>', 'dataset directory to write')
    .action((dataset: string, options: ImportCommandOptions) =>
      action<ImportCommandOptions, DatasetManifest>(
        async ({ in: input, out: output, seed, threads, config }, { signal, progress }) => {
          const importer = importers[dataset as keyof typeof importers];
          if (importer === undefined) {
            const nearest = nearestName(dataset, names);
            throw new UsageError(
              'UNKNOWN_IMPORTER',
              `there is no importer "${dataset}"${nearest ? `; did you mean "${nearest}"?` : `; known: ${names.join(', ')}`}`,
            );
          }
          return importer({
            input,
            output,
            ...readConfig(config).prepare,
            seed,
            threads,
            signal,
            progress: showProgress(progress, 'import'),
          });
        },
        (manifest) => datasetSummary(options.out, manifest),
        { interrupted: 'starts over' },
      )(options),
    );
}
