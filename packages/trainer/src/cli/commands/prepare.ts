import { dirname } from 'node:path';
import { type DatasetManifest, prepare, readSchema } from '@larr/core';
import type { Command } from 'commander';
import { action, type CommonOptions, withCommonOptions } from '../command-context.js';
import { textTable } from '../text-table.js';

interface PrepareCommandOptions extends CommonOptions {
  schema: string;
  out: string;
  memory: string;
}

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
  const { name, users, pois } = manifest;
  return (
    `${directory}: "${name}", ${users.toLocaleString('en')} users, ${pois.toLocaleString('en')} POIs\n` +
    textTable(['split / part', 'rows', 'clicks', 'orders'], rows)
  );
}

export function registerPrepare(program: Command): void {
  withCommonOptions(
    program.command('prepare').description('make a dataset of your own tables by a schema file (docs/data.md)'),
  )
    .requiredOption('--schema <file>', 'JSON schema file that says what the tables are')
    .requiredOption('--out <dir>', 'dataset directory to write')
    .option('--memory <limit>', "DuckDB's memory limit; the rest is spilled to disk", '2GB')
    .action((options: PrepareCommandOptions) =>
      action<PrepareCommandOptions, DatasetManifest>(
        async ({ schema, out, seed, threads, memory }, { progress }) =>
          prepare(out, {
            schema: await readSchema(schema),
            baseDirectory: dirname(schema),
            seed,
            threads,
            memoryLimit: memory,
            progress: ({ stage, done, total }) => progress(stage, done, total),
          }),
        (manifest) => datasetSummary(options.out, manifest),
      )(options),
    );
}
