import type { Command } from 'commander';
import type { CompareResult } from '../../experiments/compare.js';
import type { NetworkName } from '../../models/config.js';
import { baseOption, withBase } from '../base.js';
import {
  action,
  commaSeparated,
  type OptionsOf,
  readConfig,
  type SeedChoice,
  seedChoice,
  seedList,
  wholeNumber,
  withTrainingOptions,
} from '../command-context.js';
import { experimentOptions } from '../experiment-options.js';
import { trainingReporter } from '../reporters.js';
import { textTable } from '../text-table.js';
import { type VectorOptions, vectorsFor, withVectorOptions } from '../vectors.js';

interface CompareCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'>, VectorOptions {
  data: string;
  split?: string;
  models: string[];
  seeds: SeedChoice;
  out: string;
  base?: NetworkName;
  languageModel?: string;
  limit?: number;
}

/** The table of method.md, section 6, as text: means over the seeds, and standard deviations where there are several. */
export function compareTable(result: CompareResult): string {
  const figure = (value: number | null, spread: number | null) =>
    value === null ? '–' : spread === null ? value.toFixed(4) : `${value.toFixed(4)} ±${spread.toFixed(4)}`;
  const rows = result.models.map((model) => [
    model.name,
    figure(model.ctrAuc, model.std.ctrAuc),
    figure(model.ctcvrAuc, model.std.ctcvrAuc),
    figure(model.ctrGauc, model.std.ctrGauc),
    figure(model.ctcvrGauc, model.std.ctcvrGauc),
    figure(model.ctrLogloss, model.std.ctrLogloss),
    model.seconds.toFixed(1),
  ]);
  if (result.oracle) {
    const { ctrAuc, ctcvrAuc, ctrGauc, ctcvrGauc, ctrLogloss } = result.oracle;
    rows.push([
      'oracle',
      ...[ctrAuc, ctcvrAuc, ctrGauc, ctcvrGauc, ctrLogloss].map((value) => figure(value, null)),
      '',
    ]);
  }
  const title = `${result.dataset}, split "${result.split}", test part, ${result.seeds.length === 1 ? `seed ${result.seeds[0]}` : `${result.seeds.length} seeds`}`;
  return `${title}\n${textTable(['model', 'CTR AUC', 'CTCVR AUC', 'CTR GAUC', 'CTCVR GAUC', 'CTR logloss', 'seconds'], rows)}`;
}

export function registerCompare(program: Command): void {
  withVectorOptions(
    withTrainingOptions(
      program.command('compare').description('train models side by side over several seeds and tabulate them'),
    )
      .option('--models <names>', 'comma-separated; an unknown name lists them all', commaSeparated, ['ple', 'larr'])
      .addOption(baseOption())
      .option('--seeds <n>', 'how many seeds (from --seed on), or which, comma-separated', seedChoice, { count: 1 })
      .requiredOption('--out <dir>', 'directory of the comparison; a stopped one goes on'),
  )
    .option('--language-model <dir or id>', 'the model that p5 asks; without it, stage 1 runs in --out')
    .option('--limit <n>', 'at most so many rows of each part', wholeNumber(1))
    .action(
      action<CompareCommandOptions, CompareResult>(
        async (options, context) => {
          const { checkCompare, compare } = await import('../../experiments/compare.js');
          const seeds = seedList(options.seeds, options.seed);
          checkCompare({ ...options, seeds });
          const config = await withBase(readConfig(options.config), options.base, options.models);
          const vectors = await vectorsFor({ ...options, config }, context);
          return compare({
            ...experimentOptions(options, config, vectors, context),
            models: options.models,
            seeds,
            ...trainingReporter(context),
          });
        },
        (result) => compareTable(result),
        { interrupted: 'goes on' },
      ),
    );
}
