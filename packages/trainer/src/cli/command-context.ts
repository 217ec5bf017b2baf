// What every `larr` command has in common: options, where output goes, how it stops, how errors become exit codes.
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { exitCode, LarrError, UsageError } from '@larr/core';
import { SingleBar } from 'cli-progress';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { requireDevice } from './device.js';

/** Options that every command takes. */
export interface CommonOptions {
  config?: string;
  out?: string;
  seed: number;
  device: string;
  threads: number;
  json: boolean;
}

/** What a command's action gets beside its options. */
export interface CommandContext {
  /** Aborted by SIGINT and SIGTERM: stages save a checkpoint and stop. */
  signal: AbortSignal;
  /** One line for people, on stderr. */
  say(line: string): void;
  /** Shows how far a stage is (`done` of `total`), with `note` beside it. On a terminal a bar, elsewhere a line every ten seconds. */
  progress(stage: string, done: number, total: number, note?: string): void;
}

/** Parses a whole number ≥ `least` for commander. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < least)
      throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
    return value;
  };
}

/** Parses a comma-separated list for commander. */
export function commaSeparated(text: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.some((item) => item === '')) throw new InvalidArgumentError('It must be names separated by commas.');
  return items;
}

/** How many seeds (a number alone) or which (numbers separated by commas), as `--seeds` takes them. */
export type SeedChoice = { count: number } | { list: number[] };

/** Parses `--seeds` for commander. Repeats are left for the experiment to refuse, which says why. */
export function seedChoice(text: string): SeedChoice {
  if (!text.includes(',')) return { count: wholeNumber(1)(text) };
  return { list: commaSeparated(text).map(wholeNumber(0)) };
}

/** The seeds that `--seeds` and `--seed` mean together: a count starts at `--seed`. */
export function seedList(choice: SeedChoice, first: number): number[] {
  return 'list' in choice ? choice.list : Array.from({ length: choice.count }, (_, i) => first + i);
}

/** Adds the options every command takes. */
export function withCommonOptions(command: Command): Command {
  return command
    .option('--config <file>', 'JSON file with settings; a section for each stage')
    .option('--seed <n>', 'seed of everything random', wholeNumber(0), 1)
    .addOption(
      new Option('--device <device>', 'where to compute: cpu, cuda or cuda:N').default('cpu').argParser(device),
    )
    .option('--threads <n>', 'threads to compute with', wholeNumber(1), availableParallelism())
    .option('--json', 'print one JSON document on stdout and nothing else', false);
}

function device(text: string): string {
  if (!/^(cpu|cuda(:\d+)?)$/.test(text)) throw new InvalidArgumentError('It must be cpu, cuda or cuda:N.');
  return text;
}

/**
 * Reads `--config`: a JSON object validated by `schema`, whose sections have defaults, so that no file means all defaults.
 * @throws UsageError when the file is missing, is not JSON, or holds a setting that does not exist or has a wrong value.
 */
export function readConfig<T extends z.ZodType>(schema: T, file: string | undefined): z.infer<T> {
  let value: unknown = {};
  if (file !== undefined) {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      throw new UsageError(
        'CONFIG_MISSING',
        `the configuration file ${file} can't be read; check the path given to --config`,
      );
    }
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new UsageError('CONFIG_NOT_JSON', `${file} is not JSON: ${(error as Error).message}`);
    }
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success)
    throw new UsageError('CONFIG_INVALID', `${file ?? 'the configuration'}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

function createProgress(): { show: CommandContext['progress']; end(): void } {
  const interactive = process.stderr.isTTY === true;
  let bar: SingleBar | null = null;
  let stage = '';
  let lastLine = 0;
  const end = () => {
    bar?.stop();
    bar = null;
    stage = '';
  };
  return {
    end,
    show(name, done, total, note = '') {
      if (interactive) {
        if (name !== stage) {
          end();
          bar = new SingleBar({
            format: '{stage} [{bar}] {percentage}% | {eta_formatted} left | {note}',
            stream: process.stderr,
            hideCursor: true,
            clearOnComplete: false,
            etaBuffer: 100,
          });
          bar.start(total, done, { stage: name.padEnd(12), note });
          stage = name;
        }
        bar?.setTotal(total);
        bar?.update(done, { note });
        if (done >= total) end();
        return;
      }
      const now = Date.now();
      if (name === stage && done < total && now - lastLine < 10_000) return;
      stage = done >= total ? '' : name;
      lastLine = now;
      process.stderr.write(`${name}: ${Math.floor((100 * done) / Math.max(total, 1))} %${note ? ` (${note})` : ''}\n`);
    },
  };
}

/**
 * Makes a commander action of `work`: its result is printed as JSON with `--json`, else handed to `present`, whose text
 * goes to stderr. Errors end the program with exit code 2 (wrong usage) or 1 (failed), an interruption with 1.
 */
export function action<O extends CommonOptions, R>(
  work: (options: O, context: CommandContext) => Promise<R>,
  present: (result: R) => string,
): (options: O) => Promise<void> {
  return async (options) => {
    const stop = new AbortController();
    const onSignal = (signal: NodeJS.Signals) => {
      if (stop.signal.aborted) process.exit(1); // the second one does not wait
      process.stderr.write(`\nlarr: ${signal}: saving, then stopping (again to stop at once)\n`);
      stop.abort(new LarrError('INTERRUPTED', 'interrupted; the same command goes on from here'));
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
    const bars: { end(): void }[] = [];
    const say = (line: string) => {
      for (const bar of bars) bar.end();
      process.stderr.write(`${line}\n`);
    };
    const progress = createProgress();
    bars.push(progress);
    // Read by the math libraries when they are loaded, which commands do only inside `work`.
    process.env.OMP_NUM_THREADS = String(options.threads);
    process.env.LARR_THREADS = String(options.threads);
    try {
      await requireDevice(options.device);
      const result = await work(options, { signal: stop.signal, say, progress: progress.show });
      progress.end();
      if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
      else process.stderr.write(`${present(result)}\n`);
    } catch (error) {
      progress.end();
      fail(error, options.json);
    } finally {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    }
  };
}

/** Reports an error (one line for people; with `--json` a document too) and sets the exit code. */
export function fail(error: unknown, json: boolean): void {
  const known = error instanceof LarrError;
  const code = known ? error.code : 'INTERNAL';
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`larr: ${message} [${code}]\n`);
  if (!known && error instanceof Error && error.stack) process.stderr.write(`${error.stack}\n`);
  if (json) process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  process.exitCode = exitCode(error);
}
