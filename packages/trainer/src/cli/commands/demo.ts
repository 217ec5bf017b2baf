import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  generateWorld,
  UsageError,
  WORLD_SCALES,
  type WorldScale,
  type WorldSummary,
  writeFileAtomic,
} from '@larr/core';
import { type Command, Option } from 'commander';
import type { CompareResult } from '../../experiments/compare.js';
import {
  action,
  type CommandContext,
  type OptionsOf,
  readConfig,
  type SeedChoice,
  seedChoice,
  seedList,
  shellWord,
  wholeNumber,
  withOptions,
} from '../command-context.js';
import { type Configuration, checkVectorWidth } from '../configuration.js';
import { stageReporter, trainingReporter } from '../reporters.js';
import { compareTable } from './compare.js';
import { qualityTable } from './finetune.js';
import { serve } from './serve.js';

interface DemoOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  out: string;
  scale: WorldScale;
  seeds: SeedChoice;
  serve: boolean;
  host: string;
  port: number;
}

/** What `larr demo --json` prints: the comparison, and where the rest lies. */
export interface DemoResult extends CompareResult {
  data: string;
  report: string;
  bundle: string;
  seconds: number;
}

/** Makes the world, unless `out` already holds it. @throws UsageError `RUN_OF_OTHER_DATA` where it holds another one */
async function ensureWorld(
  { out, scale, seed, threads }: Pick<DemoOptions, 'out' | 'scale' | 'seed' | 'threads'>,
  config: Configuration,
  { signal, progress, say }: CommandContext,
): Promise<string> {
  const data = join(out, 'data');
  const made = join(out, 'world.json');
  const text = await readFile(made, 'utf8').catch(() => null);
  if (text !== null) {
    const before = JSON.parse(text) as WorldSummary;
    if (before.scale !== scale || before.seed !== seed)
      throw new UsageError(
        'RUN_OF_OTHER_DATA',
        `${out} holds a demo of scale "${before.scale}", seed ${before.seed}. Take another --out, or remove it to start afresh`,
      );
    if (existsSync(join(data, 'dataset.json'))) return data;
  }
  const summary = await generateWorld({
    scale,
    seed,
    output: data,
    ...config.prepare,
    threads,
    signal,
    onProgress: ({ stage, done, total }) => progress(stage, done, total),
  });
  await writeFileAtomic(made, `${JSON.stringify(summary, null, 2)}\n`);
  say(
    `the world: ${summary.impressions.toLocaleString('en')} impressions, ${summary.clicks.toLocaleString('en')} clicks, ` +
      `${summary.orders.toLocaleString('en')} orders; ${summary.pois.toLocaleString('en')} POIs, ${summary.users.toLocaleString('en')} users`,
  );
  return data;
}

async function demo(options: DemoOptions, context: CommandContext): Promise<DemoResult> {
  const started = performance.now();
  const { compare, runDirectory } = await import('../../experiments/compare.js');
  const { exportBundle } = await import('../../exporting/export-bundle.js');
  const { ensureVectors } = await import('../../pipeline/language-stages.js');
  const { out, seed, device } = options;
  const { signal, say } = context;
  const config = readConfig(options.config);
  const seeds = seedList(options.seeds, seed);
  checkVectorWidth(config);
  const data = await ensureWorld(options, config, context);
  const stages = await ensureVectors({ data, out, config, seed, device, signal, ...stageReporter(context) });
  say(qualityTable(stages.finetune));
  // The demo shows the whole line, whatever comes of it; every other command refuses vectors that fail.
  const { requireGate } = await import('../../embedding/vectors-gate.js');
  await requireGate(stages.vectors, { ignore: true, say });
  const result = await compare({
    data,
    models: ['ple', 'larr'],
    seeds,
    out,
    vectors: stages.vectors,
    config: config.train,
    device,
    signal,
    ...trainingReporter(context),
  });
  const bundle = join(out, 'bundle');
  await exportBundle({ run: runDirectory(out, 'larr', seeds[0]!), data, out: bundle, onNotice: say });
  return { ...result, data, report: join(out, 'report.html'), bundle, seconds: (performance.now() - started) / 1000 };
}

export function registerDemo(program: Command): void {
  withOptions(
    program
      .command('demo')
      .description('the whole line on the built-in world: data, language model, LARR, report, bundle'),
    'config',
    'seed',
    'device',
    'threads',
  )
    .option('--out <dir>', 'run directory; a stopped demo goes on', join('runs', 'demo'))
    .addOption(new Option('--scale <scale>', 'how large the world is').choices(WORLD_SCALES).default('small'))
    .option('--seeds <n>', 'how many training seeds (from --seed on), or which, comma-separated', seedChoice, {
      count: 1,
    })
    .option('--serve', 'serve the bundle afterwards, until interrupted', false)
    .option('--host <host>', 'address to serve on', '127.0.0.1')
    .option('--port <port>', 'port to serve on; 0 picks a free one', wholeNumber(0), 8080)
    .action(async (options: DemoOptions) => {
      await action<DemoOptions, DemoResult>(
        demo,
        (result) =>
          `\n${compareTable(result)}\n\nreport  ${result.report}\nbundle  ${result.bundle}\n` +
          `done in ${result.seconds.toFixed(0)} s${options.serve ? '' : `; serve it with: larr serve --bundle ${shellWord(result.bundle)}`}`,
        { interrupted: 'goes on' },
      )(options);
      if (options.serve && !process.exitCode) {
        // With --json the comparison is the one document on stdout; the server then says on stderr where it listens.
        process.exitCode = await serve({ ...options, json: false, bundle: join(options.out, 'bundle') });
      }
    });
}
