import type { Command } from 'commander';
import type { AblateResult } from '../../experiments/ablate.js';
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

interface AblateCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'>, VectorOptions {
  data: string;
  split?: string;
  models?: string[];
  seeds: SeedChoice;
  out: string;
  base?: NetworkName;
  limit?: number;
}

/** Table 3 as text: each model, and its paired difference to LARR. */
function ablateTable(result: AblateResult): string {
  const { models, differences, headroom, oracle, seeds } = result;
  const figure = (value: number | null | undefined, std: number | null = null) =>
    value == null ? '–' : `${value.toFixed(4)}${std === null ? '' : ` ±${std.toFixed(4)}`}`;
  const signed = (value: number) => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(4)}`;
  const rows = models.map(({ name, ctrAuc, ctcvrAuc, std, slices }) => {
    const found = differences.find((d) => d.model === name && d.metric === 'ctrAuc' && d.slice === 'all');
    const share = headroom?.find((h) => h.model === name && h.metric === 'ctrAuc' && h.slice === 'all');
    return [
      name,
      figure(ctrAuc, std.ctrAuc),
      figure(ctcvrAuc, std.ctcvrAuc),
      figure(slices.find(({ kind }) => kind === 'cold-poi')?.ctrAuc?.mean),
      found ? signed(found.difference) : '',
      found ? found.p.toFixed(4) : '',
      share ? `${(100 * share.share).toFixed(0)} %` : '',
    ];
  });
  if (oracle) rows.push(['oracle', figure(oracle.ctrAuc), figure(oracle.ctcvrAuc), '', '', '', '']);
  const head = ['model', 'CTR AUC', 'CTCVR AUC', 'cold POIs', 'Δ CTR to larr', 'p', 'headroom'];
  return `${result.dataset}, split "${result.split}", test part, ${seeds.length === 1 ? `seed ${seeds[0]}` : `${seeds.length} seeds`}\n${textTable(head, rows)}`;
}

export function registerAblate(program: Command): void {
  withVectorOptions(
    withTrainingOptions(
      program
        .command('ablate')
        .description(
          "the paper's table 3 with controls: what each part of LARR is worth, and how much of it is meaning",
        ),
    )
      .option(
        '--models <names>',
        'comma-separated, larr among them (all ablations and controls, and the upper bounds where the data are a world)',
        commaSeparated,
      )
      .addOption(baseOption())
      .option('--seeds <n>', 'how many seeds (from --seed on), or which, comma-separated', seedChoice, { count: 5 })
      .requiredOption('--out <dir>', 'directory of the ablation; a stopped one goes on'),
  )
    .option('--limit <n>', 'at most so many rows of each part', wholeNumber(1))
    .action(
      action<AblateCommandOptions, AblateResult>(
        async (options, context) => {
          const { ablate, checkAblate, defaultAblations } = await import('../../experiments/ablate.js');
          const { hasTruth } = await import('../../training/truth.js');
          const models = options.models ?? defaultAblations(hasTruth(options.data));
          const seeds = seedList(options.seeds, options.seed);
          checkAblate({ ...options, models, seeds });
          const config = await withBase(readConfig(options.config), options.base, models);
          const vectors = await vectorsFor({ ...options, models, config }, context);
          return ablate({
            ...experimentOptions(options, config, vectors, context),
            models,
            seeds,
            ...trainingReporter(context),
          });
        },
        (result) => ablateTable(result),
        { interrupted: 'goes on' },
      ),
    );
}
