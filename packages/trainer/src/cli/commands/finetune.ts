import type { Command } from 'commander';
import type { FinetuneResult } from '../../embedding/finetune.js';
import { action, type OptionsOf, readConfig, withTrainingOptions } from '../command-context.js';
import { modelDirectory } from '../model-directory.js';
import { stageReporter } from '../reporters.js';
import { textTable } from '../text-table.js';

interface FinetuneCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model: string;
  out: string;
}

/** What stage 2 changed, on texts it never saw. */
export function qualityTable({ before, after, gate, alarms }: FinetuneResult): string {
  const figure = (value: number | null | undefined) => (value == null ? '–' : value.toFixed(3));
  const rows: [string, (quality: FinetuneResult['after']) => number | null | undefined][] = [
    ['POI–POI recall@10', (quality) => quality.poiPoi?.recallAt10],
    ['POI–POI MRR', (quality) => quality.poiPoi?.mrr],
    ['user–user recall@10', (quality) => quality.userUser?.recallAt10],
    ['user–POI recall@10', (quality) => quality.userPoi?.recallAt10],
    ['dish–description recall@10', (quality) => quality.dish?.recallAt10],
    ['AUC within a city, by behaviour', (quality) => quality.withinCity.behaviour?.auc],
    ["AUC within a city, by the user's text", (quality) => quality.withinCity.text?.auc],
    ["probe of true attributes' R²", (quality) => quality.probe],
  ];
  return [
    textTable(
      ['held out', 'stage 1', 'stage 2'],
      rows.map(([name, of]) => [name, figure(of(before)), figure(of(after))]),
    ),
    `gate: ${gate.verdict === 'failed' ? 'FAILED' : gate.verdict} (${gate.reason})`,
    ...alarms,
  ].join('\n');
}

export function registerFinetune(program: Command): void {
  withTrainingOptions(program.command('finetune').description('stage 2: make the language model a text embedder'))
    .requiredOption(
      '--model <dir or id>',
      'what `larr pretrain` wrote, or a model of the Hugging Face hub (owner/name@revision)',
    )
    .requiredOption('--out <dir>', 'directory of the embedder; a stopped run goes on')
    .action(
      action<FinetuneCommandOptions, FinetuneResult>(
        async (options, context) => {
          const { finetune } = await import('../../embedding/finetune.js');
          const { byFirst } = await import('../../language-model/several-processes.js');
          return finetune({
            dataset: options.data,
            split: options.split,
            model: await byFirst(context.job, () => modelDirectory(options.model, context)),
            output: options.out,
            config: readConfig(options.config).finetune,
            seed: options.seed,
            device: options.device,
            job: context.job,
            signal: context.signal,
            ...stageReporter(context),
          });
        },
        qualityTable,
        { interrupted: 'goes on', together: true },
      ),
    );
}
