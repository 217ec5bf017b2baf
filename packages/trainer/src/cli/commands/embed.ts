import type { Command } from 'commander';
import type { EmbedResult, EmbedShareResult } from '../../embedding/vectors.js';
import { action, type OptionsOf, readConfig, withTrainingOptions } from '../command-context.js';
import { modelDirectory } from '../model-directory.js';
import { stageReporter } from '../reporters.js';
import { parseShard } from '../shard.js';
import { mustBeOne } from '../text-embedder.js';

interface EmbedCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  data: string;
  split?: string;
  model?: string;
  encoder?: string;
  out: string;
  users: boolean;
  texts?: string;
  shard?: { index: number; count: number };
}

export function registerEmbed(program: Command): void {
  withTrainingOptions(
    program.command('embed').description('embed every scene keyword and POI of a dataset ahead of time'),
  )
    .option('--model <dir>', 'what `larr finetune` wrote')
    .option(
      '--encoder <dir or id>',
      'a sentence encoder in ONNX (directory or hub id), which takes the place of stages 1 and 2 and of --model',
    )
    .requiredOption(
      '--out <dir>',
      'directory of the vectors; those of the same model that are there are kept, those of another made anew',
    )
    .option('--users', "every user's text too, which stage 3 does not read", false)
    .option(
      '--texts <file>',
      'scene texts that the data do not have, as `larr-server --unseen` lists them; the next export knows them',
    )
    .option(
      '--shard <i/n>',
      'compute only share i (from 0) of n, others at the same time; "rank" takes both from mpirun or srun. The last to finish puts them together',
      parseShard,
    )
    .action(
      action<EmbedCommandOptions, EmbedResult | EmbedShareResult>(
        async (options, context) => {
          mustBeOne(options.model, options.encoder);
          const { embedDataset, embedShare } = await import('../../embedding/vectors.js');
          const { embed, finetune } = readConfig(options.config);
          const settings = {
            dataset: options.data,
            split: options.split,
            model:
              options.encoder === undefined
                ? await modelDirectory(options.model!, context)
                : { encoder: await modelDirectory(options.encoder, context, 'encoder') },
            output: options.out,
            users: options.users,
            texts: options.texts,
            config: finetune,
            saveSeconds: embed.saveSeconds,
            precision: embed.precision,
            seed: options.seed,
            device: options.device,
            signal: context.signal,
            ...stageReporter(context),
          };
          const { gateRefusal } = await import('../../embedding/vectors-gate.js');
          const result =
            options.shard === undefined
              ? await embedDataset(settings)
              : await embedShare({ ...settings, shard: options.shard });
          const whole = !('shard' in result) || result.merged !== null;
          const refusal = whole ? await gateRefusal(options.out) : null;
          if (refusal !== null) context.say(`Stage 3 will refuse these vectors: ${refusal}`);
          return result;
        },
        (result) => ('shard' in result ? shareText(result) : vectorsText(result)),
        { interrupted: 'goes on' },
      ),
    );
}

function vectorsText({ scene, pois, users, later, gate }: EmbedResult): string {
  return [
    ...Object.entries({
      'scene keywords': scene,
      POIs: pois,
      ...(users && { users }),
      ...(later && { 'scene texts of later': later }),
    }).map(([name, { vectors, computed }]) => `${name}: ${vectors} vectors, ${computed} of them computed now`),
    ...(gate === null ? [] : [`gate: ${gate.verdict === 'failed' ? 'FAILED' : gate.verdict} (${gate.reason})`]),
  ].join('\n');
}

function shareText({ shard: { index, count }, computed, merged }: EmbedShareResult): string {
  const all = Object.values(computed).reduce<number>((sum, n) => sum + (n ?? 0), 0);
  return [
    `share ${index} of ${count}: ${all} vectors computed`,
    merged === null ? 'the vectors are put together when the other shares are done' : vectorsText(merged),
  ].join('\n');
}
