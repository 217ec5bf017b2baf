import type { Command } from 'commander';
import type { Evaluation, Slice } from '../../training/evaluate.js';
import { action, type OptionsOf, withOptions } from '../command-context.js';
import { textTable } from '../text-table.js';

interface EvaluateCommandOptions extends OptionsOf<'device' | 'threads'> {
  run: string;
  data: string;
  split?: string;
}

function sliceName({ kind, field, value }: Slice): string {
  if (kind === 'cold-poi') return 'POIs unseen in training';
  if (kind === 'cold-user') return 'users unseen in training';
  if (kind === 'travelling') return 'users away from home';
  return `${field}: ${value === '' ? '(missing)' : value}`;
}

export function registerEvaluate(program: Command): void {
  withOptions(
    program.command('evaluate').description('measure a trained model on the test part: figures, calibration, slices'),
    'device',
    'threads',
  )
    .requiredOption(
      '--run <dir>',
      "run directory of one model: `larr train`'s --out, or models/<name>-seed<n> of a comparison",
    )
    .requiredOption('--data <dir>', 'the dataset it was trained on')
    .option('--split <name>', "which of the dataset's splits (its default)")
    .action(
      action<EvaluateCommandOptions, Evaluation>(
        async ({ run, data, split, device }) => {
          const { loadTrainingData } = await import('../../training/data.js');
          const { evaluateTrained } = await import('../../training/trained-model.js');
          const loaded = await loadTrainingData({ data, split, device });
          try {
            return await evaluateTrained(run, loaded);
          } finally {
            loaded.dispose();
          }
        },
        ({ metrics, calibration, slices }) => {
          const figure = (value: number | null | undefined) => (value == null ? '–' : value.toFixed(4));
          const { ctrAuc, ctcvrAuc, ctrGauc, ctcvrGauc, ctrLogloss } = metrics;
          return [
            textTable(
              ['test part', 'figure'],
              [
                ['CTR AUC', figure(ctrAuc)],
                ['CTCVR AUC', figure(ctcvrAuc)],
                ['CTR GAUC', figure(ctrGauc)],
                ['CTCVR GAUC', figure(ctcvrGauc)],
                ['CTR logloss', figure(ctrLogloss)],
                ['CTR calibration error', figure(calibration.ctr.ece)],
              ],
            ),
            textTable(
              ['slice', 'rows', 'CTR AUC', '95 % interval (DeLong)'],
              slices.map((slice) => [
                sliceName(slice),
                slice.rows === 0 ? 'none' : slice.rows.toLocaleString('en'),
                figure(slice.ctrAuc?.auc),
                slice.ctrAuc === null ? '' : `${figure(slice.ctrAuc.low)} … ${figure(slice.ctrAuc.high)}`,
              ]),
            ),
          ].join('\n\n');
        },
      ),
    );
}
