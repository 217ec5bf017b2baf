import type { Command } from 'commander';
import type { TrainResult } from '../../training/train.js';
import { action, type CommonOptions, readConfig, wholeNumber, withCommonOptions } from '../command-context.js';
import { Configuration } from '../configuration.js';
import { stageReporter, trainingReporter } from '../reporters.js';

interface TrainCommandOptions extends CommonOptions {
  data: string;
  split?: string;
  model: string;
  out: string;
  vectors?: string;
  limit?: number;
}

export function registerTrain(program: Command): void {
  withCommonOptions(program.command('train').description('stage 3: train one recommendation model'))
    .requiredOption('--data <dir>', 'what `import`, `world` or `prepare` wrote')
    .option('--split <name>', "which of the dataset's splits (its default)")
    .requiredOption('--model <name>', 'ple, larr, dnn, wide-deep, deepfm …; an unknown name lists them all')
    .requiredOption('--out <dir>', 'run directory; a stopped run goes on')
    .option('--vectors <dir>', 'what `larr embed` wrote; without it, LARR runs the language stages in --out')
    .option('--limit <n>', 'at most so many rows of each part', wholeNumber(1))
    .action(
      action<TrainCommandOptions, TrainResult>(
        async (options, context) => {
          const { modelKind } = await import('../../models/index.js');
          const { ensureVectors } = await import('../../pipeline/language-stages.js');
          const { loadTrainingData } = await import('../../training/data.js');
          const { trainModel } = await import('../../training/train.js');
          const config = readConfig(Configuration, options.config);
          const { semantic } = modelKind(options.model);
          const { data: dataset, split, out, seed, device } = options;
          const stages = { data: dataset, split, out, config, seed, device, signal: context.signal };
          const vectors =
            options.vectors ??
            (semantic ? (await ensureVectors({ ...stages, ...stageReporter(context) })).vectors : undefined);
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
              vectors,
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
      ),
    );
}
