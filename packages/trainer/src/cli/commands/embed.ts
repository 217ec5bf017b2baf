import type { Command } from 'commander';
import type { EmbedResult } from '../../embedding/vectors.js';
import { action, type OptionsOf, readConfig, withOptions } from '../command-context.js';
import { modelDirectory } from '../model-directory.js';
import { stageReporter } from '../reporters.js';

interface EmbedCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model: string;
  out: string;
  users: boolean;
}

export function registerEmbed(program: Command): void {
  withOptions(
    program.command('embed').description('embed every scene keyword and POI of a dataset ahead of time'),
    'config',
    'seed',
    'device',
    'threads',
  )
    .requiredOption('--data <dir>', 'what `import`, `world` or `prepare` wrote')
    .option('--split <name>', "which of the dataset's splits (its default)")
    .requiredOption('--model <dir>', 'what `larr finetune` wrote')
    .requiredOption('--out <dir>', 'directory of the vectors; what is there already is kept')
    .option('--users', "every user's text too, which stage 3 does not read", false)
    .action(
      action<EmbedCommandOptions, EmbedResult>(
        async (options, context) => {
          const { embedDataset } = await import('../../embedding/vectors.js');
          return embedDataset({
            dataset: options.data,
            split: options.split,
            model: await modelDirectory(options.model, context),
            output: options.out,
            users: options.users,
            saveSeconds: readConfig(options.config).embed.saveSeconds,
            seed: options.seed,
            device: options.device,
            signal: context.signal,
            ...stageReporter(context),
          });
        },
        ({ scene, pois, users }) =>
          Object.entries({ 'scene keywords': scene, POIs: pois, ...(users && { users }) })
            .map(([name, { vectors, computed }]) => `${name}: ${vectors} vectors, ${computed} of them computed now`)
            .join('\n'),
        { interrupted: 'goes on' },
      ),
    );
}
