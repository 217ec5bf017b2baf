import {
  type DatasetManifest,
  explainPreparation,
  type PreparationReport,
  type PrepareProgress,
  prepare,
  readSchema,
  schemaDirectory,
  UsageError,
} from '@larr/core';
import { type Command, InvalidArgumentError } from 'commander';
import { action, type CommandContext, type OptionsOf, readConfig, withDataOptions } from '../command-context.js';
import { memoryLimit } from '../configuration.js';
import { textTable } from '../text-table.js';

interface PrepareCommandOptions extends OptionsOf<'config' | 'seed' | 'device' | 'threads'> {
  schema: string;
  out?: string;
  memory?: string;
  check: boolean;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** What a dataset directory holds, as a table of its splits. */
export function datasetSummary(directory: string, manifest: DatasetManifest): string {
  const rows = Object.entries(manifest.splits).flatMap(([split, { parts }]) =>
    Object.entries(parts).map(([part, { rows, clicks, orders }]) => [
      `${split} / ${part}`,
      rows.toLocaleString('en'),
      clicks.toLocaleString('en'),
      orders === null ? '–' : orders.toLocaleString('en'),
    ]),
  );
  const { name, users, pois, notes = [] } = manifest;
  const hashed = Object.entries(manifest.splits).flatMap(([split, { categorical }]) =>
    categorical.flatMap((f) =>
      f.hashed === undefined
        ? []
        : [
            `${split}: "${f.name}" is hashed into ${f.hashed.buckets.toLocaleString('en')} buckets; ` +
              `${percent(f.hashed.collisionRate)} of its values in the train part share one with another`,
          ],
    ),
  );
  return (
    `${directory}: "${name}", ${users.toLocaleString('en')} users, ${pois.toLocaleString('en')} POIs\n` +
    [
      textTable(['split / part', 'rows', 'clicks', 'orders'], rows),
      ...hashed,
      ...notes.map((note) => `note: ${note}`),
    ].join('\n')
  );
}

/** Shows a preparation's progress with the time that is left. */
export function showProgress(progress: CommandContext['progress'], what: string): (at: PrepareProgress) => void {
  return ({ stage, done, total, secondsLeft }) => {
    const left = secondsLeft === null || done >= total ? '' : `about ${duration(secondsLeft)} left`;
    progress(what, done, total, [stage, left].filter((text) => text !== '').join(', '));
  };
}

function duration(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** A report of `--check` as people read it. */
function reportText(report: PreparationReport): string {
  const count = (n: number) => n.toLocaleString('en');
  const lines = [
    `"${report.name}": ${count(report.users)} users, ${count(report.pois)} POIs. Nothing was written.`,
    '',
  ];
  for (const { table, used } of report.columns) lines.push(`${table}: reads ${used.join(', ')}`);
  for (const { name, kind, parts, categorical, dense } of report.splits) {
    lines.push('', `Split ${name} (${kind})`);
    lines.push(
      textTable(
        ['part', 'rows', 'clicks', 'orders'],
        Object.entries(parts).map(([part, p]) => [
          part,
          count(p.rows),
          count(p.clicks),
          p.orders === null ? '–' : count(p.orders),
        ]),
      ),
    );
    if (categorical.length > 0)
      lines.push(
        '',
        textTable(
          ['ID feature', 'values', 'unseen in test', 'collide'],
          categorical.map((f) => [
            f.name,
            count(f.size),
            percent(f.unseen),
            f.collisionRate === null ? '–' : percent(f.collisionRate),
          ]),
        ),
      );
    if (dense.length > 0)
      lines.push(
        '',
        textTable(
          ['number', 'mean', 'std', 'missing'],
          dense.map((f) => [f.name, f.mean.toPrecision(4), f.std.toPrecision(4), percent(f.missing)]),
        ),
      );
  }
  for (const { name, length } of report.sequences) lines.push('', `Sequence ${name}: the last ${length} POIs`);
  if (report.scene.length > 0)
    lines.push(
      '',
      textTable(
        ['scene keyword', 'texts', 'missing', 'for example'],
        report.scene.map((f) => [f.field, count(f.texts), percent(f.missing), f.examples.join('; ')]),
      ),
    );
  for (const [what, texts] of Object.entries(report.examples))
    for (const text of texts) lines.push('', `${what}: ${text}`);
  lines.push('', report.warnings.length === 0 ? 'No warnings.' : 'Warnings');
  for (const warning of report.warnings) lines.push(`  ${warning}`);
  return lines.join('\n');
}

function memoryOption(text: string): string {
  const parsed = memoryLimit.safeParse(text);
  if (!parsed.success) throw new InvalidArgumentError(`It must be a size: ${parsed.error.issues[0]!.message}.`);
  return text;
}

export function registerPrepare(program: Command): void {
  withDataOptions(
    program.command('prepare').description('make a dataset of your own tables by a schema file (docs/data.md)'),
  )
    .requiredOption(
      '--schema <file>',
      'schema file that says what the tables are: .json, or .ts or .mjs with a default export',
    )
    .option('--out <dir>', 'dataset directory to write')
    .option('--check', 'tell what would be done, and write nothing', false)
    .option('--memory <limit>', "DuckDB's memory limit; the rest is spilled to disk (2GB)", memoryOption)
    .action((options: PrepareCommandOptions) =>
      action<PrepareCommandOptions, DatasetManifest | PreparationReport>(
        async ({ schema, out, seed, threads, memory, check, config }, { signal, progress }) => {
          if (out === undefined && !check)
            throw new UsageError(
              'OUT_MISSING',
              'say where the dataset shall be written with --out, or only look with --check',
            );
          const { memoryLimit, rowsPerShard } = readConfig(config).prepare;
          const settings = {
            schema: await readSchema(schema),
            baseDirectory: await schemaDirectory(schema),
            seed,
            threads,
            memoryLimit: memory ?? memoryLimit,
            rowsPerShard,
            signal,
            progress: showProgress(progress, check ? 'check' : 'prepare'),
          };
          return check ? explainPreparation(settings) : prepare(out!, settings);
        },
        (result) => ('format' in result ? datasetSummary(options.out!, result) : reportText(result)),
        { interrupted: 'starts over' },
      )(options),
    );
}
