import type { Command } from 'commander';
import type { NetworkName } from '../../models/config.js';
import type { TrainResult } from '../../training/train.js';
import { baseOption, withBase } from '../base.js';
import { action, type OptionsOf, readConfig, wholeNumber, withTrainingOptions } from '../command-context.js';
import { trainingReporter } from '../reporters.js';
import { ignoreGateOption, vectorsFor } from '../vectors.js';

interface TrainCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model: string;
  out: string;
  base?: NetworkName;
  vectors?: string;
  ignoreGate: boolean;
  languageModel?: string;
  limit?: number;
}

export function registerTrain(program: Command): void {
  withTrainingOptions(program.command('train').description('stage 3: train one recommendation model'))
    .requiredOption('--model <name>', 'ple, larr, mmoe, deepfm, dcn-v2 …; an unknown name lists them all')
    .addOption(baseOption())
    .requiredOption('--out <dir>', 'run directory; a stopped run goes on')
    .option('--vectors <dir>', 'what `larr embed` wrote; without it, LARR runs the language stages in --out')
    .addOption(ignoreGateOption())
    .option('--language-model <dir or id>', 'the model that p5 asks; without it, stage 1 runs in --out')
    .option('--limit <n>', 'at most so many rows of each part', wholeNumber(1))
    .action(
      action<TrainCommandOptions, TrainResult>(
        async (options, context) => {
          const { loadTrainingData } = await import('../../training/data.js');
          const { trainModel } = await import('../../training/train.js');
          const { vectorsOf } = await import('../../experiments/runs.js');
          const config = await withBase(readConfig(options.config), options.base, [options.model]);
          const { data: dataset, split, out, seed, device } = options;
          const vectors = await vectorsFor({ ...options, models: [options.model], config }, context);
          const data = await loadTrainingData({
            data: dataset,
            split,
            device,
            limit: options.limit,
            config: config.train,
          });
          try {
            return await trainModel(data, {
              model: options.model,
              out,
              seed,
              config: config.train,
              vectors: vectorsOf(options.model, vectors),
              signal: context.signal,
              onProgress: trainingReporter(context).onProgress,
            });
          } finally {
            data.dispose();
          }
        },
        ({ model, metrics, seconds, samplesPerSecond }) =>
          `${model}: CTR AUC ${metrics.ctrAuc.toFixed(4)}, logloss ${metrics.ctrLogloss.toFixed(4)}` +
          `${metrics.ctcvrAuc === null ? '' : `, CTCVR AUC ${metrics.ctcvrAuc.toFixed(4)}`} on the test part; ` +
          `trained in ${seconds.toFixed(1)} s (${Math.round(samplesPerSecond).toLocaleString('en')} samples/s)`,
        { interrupted: 'goes on' },
      ),
    );
}
