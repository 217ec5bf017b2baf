import { settingsText, UsageError } from '@larr/core';
import { type Command, InvalidArgumentError } from 'commander';
import type { TuneResult, TuneTrial } from '../../experiments/tune.js';
import type { NetworkName } from '../../models/config.js';
import { baseOption, withBase } from '../base.js';
import {
  action,
  commaSeparated,
  type OptionsOf,
  readConfig,
  shellWord,
  wholeNumber,
  withTrainingOptions,
} from '../command-context.js';
import { experimentOptions } from '../experiment-options.js';
import { trainingReporter } from '../reporters.js';
import { textTable } from '../text-table.js';
import { type VectorOptions, vectorsFor, withVectorOptions } from '../vectors.js';

interface TuneCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'>, VectorOptions {
  data: string;
  split?: string;
  models: string[];
  trials?: number;
  minutes?: number;
  space?: string;
  out: string;
  base?: NetworkName;
  limit?: number;
}

const DEFAULT_TRIALS = 9;

function minutes(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('It must be a number above 0.');
  return value;
}

function tuneTable({ models, config }: TuneResult): string {
  const score = ({ steps }: TuneTrial) => steps.at(-1)!.score?.toFixed(4) ?? 'not finite';
  const rows = models.map(({ name, trials, best, gain, seconds }) => {
    const chosen = trials.find(({ index }) => index === best)!;
    const settings = Object.entries(chosen.settings).map(([key, value]) => `${key} ${JSON.stringify(value)}`);
    return [
      name,
      score(chosen),
      best === 0 ? '–' : `+${gain.toFixed(4)}`,
      String(trials.length - 1),
      seconds.toFixed(0),
      settings.join(', ') || 'as configured',
    ];
  });
  const head = ['model', 'validation score', 'over the configured', 'trials', 'seconds', 'best settings'];
  return `${textTable(head, rows, 'left')}\n\nuse it with: --config ${shellWord(config)}`;
}

/** The sections beside `train` of the user's file, as they are written there: the best settings are put into the same file. */
function otherSections(file: string | undefined): object {
  if (file === undefined) return {};
  const { train: _, ...rest } = JSON.parse(settingsText(file, 'CONFIG_MISSING', 'the configuration file')) as Record<
    string,
    unknown
  >;
  return rest;
}

export function registerTune(program: Command): void {
  withVectorOptions(
    withTrainingOptions(
      program
        .command('tune')
        .description('search the settings of models, each with the same budget, by the validation part alone'),
    )
      .option('--models <names>', 'comma-separated; an unknown name lists them all', commaSeparated, ['ple', 'larr'])
      .addOption(baseOption())
      .option('--trials <n>', `settings that are drawn for each model (${DEFAULT_TRIALS})`, wholeNumber(1))
      .option('--minutes <n>', 'or minutes of training for each model', minutes)
      .option(
        '--space <file>',
        'JSON file of what is searched (packages/trainer/README.md); without it, what moves rankings most',
      )
      .requiredOption('--out <dir>', 'directory of the search; a stopped one goes on'),
  )
    .option('--limit <n>', 'at most so many rows of each part', wholeNumber(1))
    .action(
      action<TuneCommandOptions, TuneResult>(
        async (options, context) => {
          const { trials, minutes } = options;
          if (trials !== undefined && minutes !== undefined)
            throw new UsageError('TWO_BUDGETS', '--trials and --minutes are two budgets: give one');
          const { checkTune, tune } = await import('../../experiments/tune.js');
          const { checkSpaceIsRead, readSpace } = await import('../../experiments/search-space.js');
          const budget = minutes === undefined ? { trials: trials ?? DEFAULT_TRIALS } : { minutes };
          checkTune({ ...options, budget });
          const config = await withBase(readConfig(options.config), options.base, options.models);
          const space = options.space === undefined ? undefined : await readSpace(options.space);
          if (space !== undefined) checkSpaceIsRead(space, options.models, config.train);
          const vectors = await vectorsFor({ ...options, config }, context);
          return tune({
            ...experimentOptions(options, config, vectors, context),
            models: options.models,
            seed: options.seed,
            budget,
            space,
            otherSections: otherSections(options.config),
            onProgress: trainingReporter(context).onProgress,
            onTrial: (model, { index, steps }, done, total) => {
              const { share, score, seconds } = steps.at(-1)!;
              context.say(
                `${model} run ${done} of ${total}, trial ${index}${index === 0 ? ' (as configured)' : ''} with ${Math.round(100 * share)} % of the rows: ` +
                  `${score === null ? 'the loss did not stay finite' : `validation score ${score.toFixed(4)}`}, ${seconds.toFixed(1)} s`,
              );
            },
          });
        },
        (result) => tuneTable(result),
        { interrupted: 'goes on' },
      ),
    );
}
