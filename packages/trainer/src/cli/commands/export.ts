import type { Command } from 'commander';
import type { ExportResult } from '../../exporting/export-bundle.js';
import { action, type OptionsOf, withOptions } from '../command-context.js';

interface ExportCommandOptions extends OptionsOf<'threads'> {
  run: string;
  vectors?: string;
  data: string;
  out: string;
}

export function registerExport(program: Command): void {
  withOptions(
    program.command('export').description('write a trained model as a bundle that `larr serve` loads'),
    'threads',
  )
    .requiredOption(
      '--run <dir>',
      "run directory of one model: `larr train`'s --out, or models/<name>-seed<n> of a comparison",
    )
    .requiredOption('--data <dir>', 'the dataset it was trained on')
    .option('--vectors <dir>', 'what `larr embed` wrote, for recall (by default what the model was trained with)')
    .requiredOption('--out <dir>', 'directory of the bundle')
    .action(
      action<ExportCommandOptions, ExportResult>(
        async ({ run, data, vectors, out }, { say }) => {
          const { exportBundle } = await import('../../exporting/export-bundle.js');
          return exportBundle({ run, data, vectors, out, onNotice: say });
        },
        ({ bundle, model, parity, recall }) =>
          `${bundle}: ${model}; on ${parity.rows} test rows its scores differ from the trainer's by ` +
          `${parity.largestDifference.toExponential(1)} at most; ` +
          (recall === null ? 'no recall' : `recall over ${recall.pois} POIs by ${recall.terms} terms`),
      ),
    );
}
