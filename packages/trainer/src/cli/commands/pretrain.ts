import type { Command } from 'commander';
import type { PretrainResult } from '../../pretraining/pretrain.js';
import { action, type OptionsOf, readConfig, withTrainingOptions } from '../command-context.js';
import { modelDirectory } from '../model-directory.js';
import { stageReporter } from '../reporters.js';

interface PretrainCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model?: string;
  out: string;
}

export function registerPretrain(program: Command): void {
  withTrainingOptions(
    program.command('pretrain').description("stage 1: continue a language model's pretraining on texts about POIs"),
  )
    .option(
      '--model <dir or id>',
      'Hugging Face directory, or hub id (owner/name@revision), to continue from; without it a small decoder starts from scratch',
    )
    .requiredOption('--out <dir>', 'directory of the model; a stopped run goes on')
    .action(
      action<PretrainCommandOptions, PretrainResult>(
        async (options, context) => {
          const { pretrain } = await import('../../pretraining/pretrain.js');
          const { byFirst } = await import('../../language-model/several-processes.js');
          const { pretrain: config } = readConfig(options.config);
          const from = options.model ?? config.from;
          return pretrain({
            dataset: options.data,
            split: options.split,
            output: options.out,
            config:
              from === undefined
                ? config
                : { ...config, from: await byFirst(context.job, () => modelDirectory(from, context)) },
            seed: options.seed,
            device: options.device,
            job: context.job,
            signal: context.signal,
            ...stageReporter(context),
          });
        },
        ({ tokens, seconds, perplexity }) =>
          `stage 1: ${tokens.toLocaleString('en')} tokens in ${seconds.toFixed(1)} s; held-out perplexity ` +
          `${perplexity.domain?.toFixed(2) ?? '–'} on POI texts, ${perplexity.general?.toFixed(2) ?? '–'} on general text`,
        { interrupted: 'goes on', together: true },
      ),
    );
}
