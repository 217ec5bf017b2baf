import type { Command } from 'commander';
import type { Evaluation, Slice } from '../../training/evaluate.js';
import type { AttentionGroup, AttentionSummary } from '../../training/scene-attention.js';
import { action, type OptionsOf, withOptions } from '../command-context.js';
import { textTable } from '../text-table.js';

interface EvaluateCommandOptions extends OptionsOf<'device' | 'threads'> {
  run: string;
  data: string;
  attention?: string;
}

function sliceName({ kind, field, value }: Slice): string {
  if (kind === 'cold-poi') return 'POIs unseen in training';
  if (kind === 'cold-user') return 'users unseen in training';
  if (kind === 'travelling') return 'users away from home';
  return `${field}: ${value === '' ? '(missing)' : value}`;
}

const GROUPS: Record<AttentionGroup['kind'], string> = {
  all: 'all rows',
  home: 'at home',
  travelling: 'away from home',
  scene: '',
};

/** A column for each group of rows, a line for each field. */
function attentionTable({ rows, of, groups }: AttentionSummary): string {
  const some = groups.filter((group) => group.rows > 0);
  const share = ({ mean, std }: AttentionGroup['own']) =>
    mean === null ? '–' : `${(100 * mean).toFixed(1)} %${std === null ? '' : ` ± ${(100 * std).toFixed(1)}`}`;
  const head = some.map(({ kind, value }) => GROUPS[kind] || value || '(missing)');
  const fields = some[0]?.fields.map(({ field }, f) => [field, ...some.map((group) => share(group.fields[f]!))]) ?? [];
  const own = ['the token itself', ...some.map((group) => share(group.own))];
  const counts = ['rows', ...some.map((group) => group.rows.toLocaleString('en'))];
  const looked =
    rows < of ? `${rows.toLocaleString('en')} of ${of.toLocaleString('en')} rows, evenly spaced` : 'all rows';
  return `attention of the aggregation token per scene field, mean over heads ± standard deviation over rows (${looked})\n${textTable(['attention', ...head], [...fields, own, counts])}`;
}

export function registerEvaluate(program: Command): void {
  withOptions(
    program
      .command('evaluate')
      .description('measure a trained model on the test part: figures, calibration, slices, attention per scene field'),
    'device',
    'threads',
  )
    .requiredOption(
      '--run <dir>',
      "run directory of one model: `larr train`'s --out, or models/<name>-seed<n> of a comparison",
    )
    .requiredOption('--data <dir>', 'the dataset it was trained on')
    .option('--attention <field>', 'attention for each text of this scene field too')
    .action(
      action<EvaluateCommandOptions, Evaluation>(
        async ({ run, data, device, attention }) => {
          const { loadTrainingData } = await import('../../training/data.js');
          const { evaluateTrained, splitOfRun } = await import('../../training/trained-model.js');
          const loaded = await loadTrainingData({ data, split: await splitOfRun(run), device });
          try {
            return await evaluateTrained(run, loaded, attention);
          } finally {
            loaded.dispose();
          }
        },
        ({ metrics, calibration, slices, attention }) => {
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
              ['slice', 'rows', 'clicks', 'CTR AUC', '95 % interval'],
              slices.map((slice) => [
                sliceName(slice),
                slice.rows === 0 ? 'none' : slice.rows.toLocaleString('en'),
                slice.clicks.toLocaleString('en'),
                figure(slice.ctrAuc?.auc),
                slice.ctrAuc === null ? '' : `${figure(slice.ctrAuc.low)} … ${figure(slice.ctrAuc.high)}`,
              ]),
            ),
            ...(attention ? [attentionTable(attention)] : []),
          ].join('\n\n');
        },
      ),
    );
}
