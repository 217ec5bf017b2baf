import { type CompactSummary, compactEvents, namedBadLines, readSchema, schemaDirectory } from '@larr/core';
import { type Command, InvalidArgumentError } from 'commander';
import { action, type OptionsOf, withOptions } from '../command-context.js';

interface CompactCommandOptions extends OptionsOf<'threads'> {
  in: string;
  out: string;
  schema: string;
  window: number;
  openDays: boolean;
  history: boolean;
  skipBadLines: boolean;
}

function hours(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 24 * 30)) throw new InvalidArgumentError('It must be hours, more than 0 and up to 720.');
  return value;
}

export function summaryText(summary: CompactSummary): string {
  const count = (n: number, what: string, several = `${what}s`) =>
    `${n.toLocaleString('en')} ${n === 1 ? what : several}`;
  const { output, days, impressions, clicks, orders, unattributed, written, open, late, skipped } = summary;
  return [
    `${output}: ${count(days, 'day')}, ${count(impressions, 'impression')}, ${count(clicks, 'click')}, ${count(orders, 'order')}; ${count(written.length, 'day')} written now`,
    ...(unattributed > 0
      ? [`${count(unattributed, 'click or order', 'clicks or orders')} without an impression within the window`]
      : []),
    ...(open.length > 0 ? [`still open, left for later: ${open.join(', ')}`] : []),
    ...(late.length > 0
      ? [`late events came for ${late.join(', ')}, whose files of the log are gone: left as they are`]
      : []),
    ...(skipped.count > 0 ? [`left out, ${count(skipped.count, 'line')} of no event: ${namedBadLines(skipped)}`] : []),
    days > 0 ? `train on them: larr prepare --schema ${output}/schema.json --out …` : 'nothing to train on yet',
  ].join('\n');
}

export function registerEvents(program: Command): void {
  const events = program.command('events').description('the log of impressions, clicks and orders that a server keeps');
  withOptions(
    events
      .command('compact')
      .description('make an events table for `prepare` of a log, a Parquet file a day; again for what is new'),
    'threads',
  )
    .requiredOption('--in <dir>', 'the event log: what `larr serve --events` was given; the server may go on writing')
    .requiredOption('--out <dir>', 'directory to keep up: events/*.parquet and a schema.json that reads them')
    .requiredOption('--schema <file>', "the schema that says how the columns are called; a dataset's schema.json, say")
    .option('--window <hours>', 'how long after an impression a click or an order counts for it', hours, 24)
    .option('--open-days', 'write days that may still change too, as they stand', false)
    .option('--history', "let the written schema read its own events table first, then the log's days", false)
    .option(
      '--skip-bad-lines',
      'leave out lines that are no events, counted and named, where they are refused else',
      false,
    )
    .action(
      action<CompactCommandOptions, CompactSummary>(
        async (options, { signal, progress }) =>
          compactEvents({
            log: options.in,
            output: options.out,
            schema: await readSchema(options.schema),
            baseDirectory: await schemaDirectory(options.schema),
            windowHours: options.window,
            openDays: options.openDays,
            history: options.history,
            skipBadLines: options.skipBadLines,
            threads: options.threads,
            signal,
            onProgress: (done, total) => progress('compact', done, total),
          }),
        summaryText,
        { interrupted: 'goes on' },
      ),
    );
}
