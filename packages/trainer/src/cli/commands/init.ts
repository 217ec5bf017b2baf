import { stat } from 'node:fs/promises';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import {
  type DraftOptions,
  datasetJsonSchemaFile,
  draftSchema,
  mustBeOutside,
  type SchemaDraft,
  UsageError,
  writeFileAtomic,
} from '@larr/core';
import { type Command, InvalidArgumentError } from 'commander';
import { action, type OptionsOf, shellWord, withOptions } from '../command-context.js';

interface InitCommandOptions extends OptionsOf {
  events: string;
  users?: string;
  pois?: string;
  name?: string;
  user?: string;
  poi?: string;
  label?: string;
  click?: string;
  order?: string;
  out: string;
}

/** Of an option that is given twice, the first would be lost without a word. */
function once(value: string, previous: string | undefined): string {
  if (previous !== undefined) throw new InvalidArgumentError(`It was ${previous} before: give it once.`);
  return value;
}

export function registerInit(program: Command): void {
  withOptions(
    program
      .command('init')
      .description('write a schema file by looking at your tables; then read and change it (docs/data.md)'),
  )
    .requiredOption('--events <file>', 'events: Parquet, CSV, TSV, JSON lines, or "shop.duckdb#table"')
    .option('--users <file>', 'table of users')
    .option('--pois <file>', 'table of POIs')
    .option('--user <column>', "the events' user column, where it cannot be guessed")
    .option('--poi <column>', "the events' POI column, where it cannot be guessed")
    .option(
      '--label <column>',
      'what is to be predicted: a column of 0 and 1, of two words, or a number, where it cannot be guessed',
      once,
    )
    .option('--click <column>', 'the column that says what was clicked, in place of --label', once)
    .option('--order <column>', 'the column that says what was ordered, beside --click', once)
    .option('--name <name>', 'name of the dataset', 'data')
    .option('--out <file>', 'schema file to write', 'schema.json')
    .action((options: InitCommandOptions) =>
      action<InitCommandOptions, { out: string } & Omit<SchemaDraft, 'text'>>(
        async ({ events, users, pois, name, user, poi, label, click, order, out }) => {
          const there = await stat(out).catch(() => null);
          if (label !== undefined && (click ?? order) !== undefined)
            throw new UsageError('LABEL_TWICE', '--label is the click: give --click and --order, or --label alone');
          if (there?.isDirectory()) {
            throw new UsageError(
              'OUT_NOT_A_FILE',
              `${out} is a directory; name the schema file to write, in it perhaps`,
            );
          }
          if (there !== null) {
            throw new UsageError(
              'FILE_EXISTS',
              `${out} is there already and may hold your changes; give another --out or remove it`,
            );
          }
          await mustBeOutside(out);
          const baseDirectory = resolve(dirname(out));
          // The schema names files from where it lies itself.
          const from = (file: string) =>
            isAbsolute(file) || /^[a-z][a-z0-9+]+:\/\//i.test(file) ? file : relative(baseDirectory, resolve(file));
          const draft: DraftOptions = {
            events: from(events),
            baseDirectory,
            jsonSchema: relative(baseDirectory, datasetJsonSchemaFile),
            keys: { ...(user === undefined ? {} : { user }), ...(poi === undefined ? {} : { poi }) },
            ...(users === undefined ? {} : { users: from(users) }),
            ...(pois === undefined ? {} : { pois: from(pois) }),
            ...(name === undefined ? {} : { name }),
            ...(label === undefined ? {} : { label }),
            ...(click === undefined ? {} : { click }),
            ...(order === undefined ? {} : { order }),
          };
          const { schema, text, remarks } = await draftSchema(draft);
          await writeFileAtomic(out, text);
          return { out, schema, remarks };
        },
        ({ out, remarks }) =>
          [
            `${out} is written. Read it, then: larr prepare --schema ${shellWord(out)} --check`,
            ...remarks.map((r) => `  ${r}`),
          ].join('\n'),
        { out: 'file' },
      )(options),
    );
}
