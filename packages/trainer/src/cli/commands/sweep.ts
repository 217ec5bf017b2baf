import { type Command, InvalidArgumentError } from 'commander';
import type { SweepResult } from '../../experiments/sweep.js';
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

interface SweepCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'>, VectorOptions {
  data: string;
  split?: string;
  model: string;
  param: string;
  values: number[];
  seeds: SeedChoice;
  out: string;
  base?: NetworkName;
  limit?: number;
}

function numbers(text: string): number[] {
  return commaSeparated(text).map((item) => {
    const value = Number(item);
    if (!Number.isFinite(value)) throw new InvalidArgumentError('It must be numbers separated by commas.');
    return value;
  });
}

function sweepTable({ dataset, split, model, param, points, seeds, configured, best }: SweepResult): string {
  const figure = (value: number | null, std: number | null) =>
    value === null ? '–' : `${value.toFixed(4)}${std === null ? '' : ` ±${std.toFixed(4)}`}`;
  const rows = points.map(({ value, ctrAuc, ctcvrAuc, std, validation, against }) => [
    `${value}${value === configured ? ' (configured)' : ''}${value === best ? ' (best validation)' : ''}`,
    figure(validation.score, validation.std),
    figure(ctrAuc, std.ctrAuc),
    figure(ctcvrAuc, std.ctcvrAuc),
    against?.ctrAuc ? against.ctrAuc.p.toFixed(4) : '',
  ]);
  return (
    `${model} on ${dataset}, split "${split}", ${seeds.length === 1 ? `seed ${seeds[0]}` : `${seeds.length} seeds`}\n` +
    textTable([param, 'validation score', 'test CTR AUC', 'test CTCVR AUC', 'p (CTR)'], rows)
  );
}

export function registerSweep(program: Command): void {
  withVectorOptions(
    withTrainingOptions(
      program.command('sweep').description("train one model with several values of one setting (the paper's figure 4)"),
    )
      .option('--model <name>', 'what is trained', 'larr')
      .requiredOption('--param <setting>', 'a number of the train section: align.temperature, align.extraNegatives, …')
      .requiredOption('--values <numbers>', 'comma-separated', numbers)
      .addOption(baseOption())
      .option('--seeds <n>', 'how many seeds (from --seed on), or which, comma-separated', seedChoice, { count: 5 })
      .requiredOption('--out <dir>', 'directory of the sweep; a stopped one goes on'),
  )
    .option('--limit <n>', 'at most so many rows of each part', wholeNumber(1))
    .action(
      action<SweepCommandOptions, SweepResult>(
        async (options, context) => {
          const { checkSweep, sweep } = await import('../../experiments/sweep.js');
          const config = await withBase(readConfig(options.config), options.base, [options.model]);
          const seeds = seedList(options.seeds, options.seed);
          checkSweep({ ...options, seeds, config: config.train });
          const vectors = await vectorsFor({ ...options, models: [options.model], config }, context);
          return sweep({
            ...experimentOptions(options, config, vectors, context),
            model: options.model,
            param: options.param,
            values: options.values,
            seeds,
            ...trainingReporter(context),
          });
        },
        (result) => sweepTable(result),
        { interrupted: 'goes on' },
      ),
    );
}
