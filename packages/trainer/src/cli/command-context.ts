// What every `larr` command has in common: options, where output goes, how it stops, how errors become exit codes.
import { dirname, resolve } from 'node:path';
import {
  type DirectoryLock,
  exitCode,
  LarrError,
  type Launch,
  launchOf,
  lockDirectory,
  mustBeDirectory,
  problemsOf,
  settingsText,
  UsageError,
  whyNotJson,
} from '@larr/core';
import type { Job, TensorError } from '@larr/torch';
import { SingleBar } from 'cli-progress';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { Configuration, ConfigurationShape } from './configuration.js';
import { deviceOfRank, requireDevice } from './device.js';
import { defaultThreads } from './threads.js';

/** Options that mean the same wherever they are taken; a command takes those that mean something to it (`withOptions`). */
export interface SharedOptions {
  config: string | undefined;
  seed: number;
  device: string;
  threads: number;
}

/** What `action` itself looks at. */
interface ActionOptions extends Partial<SharedOptions> {
  json: boolean;
  out?: string;
  /** Several processes share --out, each with a lock of its own. */
  shard?: unknown;
}

/** Of a command that takes these shared options, and --json as all do. */
export type OptionsOf<K extends keyof SharedOptions = never> = Pick<SharedOptions, K> & { json: boolean };

/** What a command's action gets beside its options. */
export interface CommandContext {
  /** Aborted by SIGINT and SIGTERM: stages save a checkpoint and stop. */
  signal: AbortSignal;
  /** The processes that work on this together; null where it is one. All but rank 0 are silent. */
  job: Job | null;
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

const sharedOptions: Record<keyof SharedOptions, () => Option> = {
  config: () =>
    new Option('--config <file>', 'JSON file with settings; a section for each stage (docs/configuration.md)'),
  seed: () => new Option('--seed <n>', 'seed of everything random').argParser(wholeNumber(0)).default(1),
  device: () =>
    new Option('--device <device>', 'where to compute: cpu, cuda or cuda:N').argParser(device).default('cpu'),
  threads: () =>
    new Option('--threads <n>', 'threads to compute with')
      .argParser(wholeNumber(1))
      // `action` asks the environment: what is wrong there is told as any other error, and only by commands that compute.
      .default(0, 'LARR_THREADS, else OMP_NUM_THREADS, else all processors'),
};

/** Adds the shared options that mean something to a command, and --json. Any other is refused as unknown. */
export function withOptions(command: Command, ...names: (keyof SharedOptions)[]): Command {
  for (const name of names) command.addOption(sharedOptions[name]());
  return command.option('--json', 'print one JSON document on stdout and nothing else', false);
}

/** Those of a command that trains on a dataset or embeds it: the shared ones, --data and --split. */
export function withTrainingOptions(command: Command): Command {
  return withOptions(command, 'config', 'seed', 'device', 'threads')
    .requiredOption('--data <dir>', 'what `import`, `world` or `prepare` wrote')
    .option('--split <name>', "which of the dataset's splits (its default)");
}

/** Those of a command that makes data: it computes with DuckDB, on the CPU, and says so where another device is asked for. */
export function withDataOptions(command: Command): Command {
  withOptions(command, 'config', 'seed', 'threads');
  return command.addOption(
    new Option('--device <device>', 'cpu: data are made on the CPU alone').argParser(cpuAlone).default('cpu'),
  );
}

function device(text: string): string {
  if (!/^(cpu|cuda(:\d+)?)$/.test(text)) throw new InvalidArgumentError('It must be cpu, cuda or cuda:N.');
  return text;
}

function cpuAlone(text: string): string {
  if (device(text) !== 'cpu') throw new InvalidArgumentError('Data are made on the CPU alone: leave it out.');
  return text;
}

/**
 * Reads `--config`: a JSON object whose sections have defaults, so that no file means all defaults.
 * @throws UsageError `CONFIG_MISSING`, `CONFIG_NOT_JSON`; `CONFIG_INVALID` with every setting that does not exist or has a wrong value
 */
export function readConfig(file: string | undefined): Configuration {
  if (file === undefined) return Configuration.parse({});
  const text = settingsText(file, 'CONFIG_MISSING', 'the configuration file');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError('CONFIG_NOT_JSON', `${file} is not JSON: ${whyNotJson(text, error)}`);
  }
  const parsed = Configuration.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = problemsOf(ConfigurationShape, parsed.error, value).map((problem) => `  ${problem}`);
  throw new UsageError(
    'CONFIG_INVALID',
    `${file} is not a valid configuration (docs/configuration.md):\n${problems.join('\n')}`,
  );
}

function createProgress(): { show: CommandContext['progress']; end(): void } {
  const interactive = process.stderr.isTTY === true;
  let bar: SingleBar | null = null;
  let stage = '';
  let lastLine = 0;
  /** The stage that was last told to be done: told again, it is not shown again. */
  let complete = '';
  const end = () => {
    bar?.stop();
    bar = null;
    stage = '';
  };
  return {
    end,
    show(name, done, total, note = '') {
      if (done >= total && name === complete) return;
      complete = done >= total ? name : '';
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

/** How a command takes its output and an interruption. */
export interface ActionKind {
  /** What --out names; checked before any work. Default: a directory. */
  out?: 'directory' | 'file';
  /**
   * What Ctrl-C leads to: `goes on`, the command saves where it is, and the same command continues; `starts over`, it stops at once
   * and leaves nothing; `ends` (default), the process ends as any other.
   */
  interrupted?: 'goes on' | 'starts over' | 'ends';
  /** Whether the processes that mpirun starts do the work together (`CommandContext.job`); of other commands they are refused (`refuseLaunch`). */
  together?: boolean;
}

const farewells = {
  'goes on': { now: 'saving, then stopping', reason: 'interrupted; the same command goes on from here' },
  'starts over': {
    now: 'stopping',
    reason: 'interrupted; nothing was written or replaced, and the same command starts over',
  },
};

/**
 * Makes a commander action of `work`: its result is printed as JSON with `--json`, else handed to `present`, whose text
 * goes to stderr. Errors end the program with their exit code (`exitCode`), an interruption with 1.
 */
export function action<O extends ActionOptions, R>(
  work: (options: O, context: CommandContext) => Promise<R>,
  present: (result: R) => string,
  { out = 'directory', interrupted = 'ends', together = false }: ActionKind = {},
): (options: O) => Promise<void> {
  return async (options) => {
    const stop = new AbortController();
    const launch = together ? launchOf() : null;
    const speaks = launch === null || launch.rank === 0;
    let job: Job | null = null;
    const farewell = interrupted === 'ends' ? null : farewells[interrupted];
    const onSignal = (signal: NodeJS.Signals) => {
      if (stop.signal.aborted) process.exit(1); // the second one does not wait
      if (speaks) process.stderr.write(`\nlarr: ${signal}: ${farewell!.now} (again to stop at once)\n`);
      stop.abort(new LarrError('INTERRUPTED', farewell!.reason));
    };
    if (farewell !== null) {
      process.on('SIGINT', onSignal);
      process.on('SIGTERM', onSignal);
    }
    const bars: { end(): void }[] = [];
    const say = (line: string) => {
      if (!speaks) return;
      for (const bar of bars) bar.end();
      process.stderr.write(`${line}\n`);
    };
    const progress = createProgress();
    bars.push(progress);
    let lock: DirectoryLock | undefined;
    try {
      if (options.threads !== undefined) {
        options.threads ||= defaultThreads();
        // Read by the math libraries when they are loaded, which commands do only inside `work`.
        process.env.OMP_NUM_THREADS = String(options.threads);
        process.env.LARR_THREADS = String(options.threads);
      }
      if (launch !== null) job = (await import('@larr/torch')).joinJob();
      if (options.out !== undefined)
        await mustBeDirectory(out === 'file' ? dirname(resolve(options.out)) : options.out);
      if (options.device !== undefined) {
        await requireDevice(options.device);
        if (job !== null) options.device = await deviceOfRank(options.device, job);
      }
      // A run that can go on has files that a second one at the same time would write too.
      if (options.out !== undefined && options.shard === undefined && interrupted === 'goes on' && speaks)
        lock = lockDirectory(options.out, 'the directory');
      const result = await work(options, {
        signal: stop.signal,
        job,
        say,
        progress: speaks ? progress.show : () => {},
      });
      progress.end();
      if (!speaks) return;
      if (options.json) process.stdout.write(`${JSON.stringify(result)}\n`);
      else process.stderr.write(`${present(result)}\n`);
    } catch (error) {
      progress.end();
      lock?.release(); // processes that end together do not come to the end of this one
      if (launch === null) fail(error, options.json);
      else await failTogether(error, options.json, launch, job);
    } finally {
      lock?.release();
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    }
  };
}

/**
 * Leaves it to the first of several processes to tell of what all of them may have failed with: a launcher ends the others with the
 * first that ends.
 */
export function firstSpeaks(): Promise<void> {
  process.removeAllListeners('SIGTERM').on('SIGTERM', () => process.exit());
  return new Promise((resolve) => setTimeout(resolve, 1500));
}

/** Reports the error of one of several processes, once, and ends them all: the others would wait for this one for ever. */
async function failTogether(error: unknown, json: boolean, { rank, size }: Launch, job: Job | null): Promise<void> {
  process.exitCode = exitCode(error);
  if (rank > 0) {
    await firstSpeaks();
    process.stderr.write(`larr: process ${rank} of ${size} failed:\n`);
  }
  fail(error, json);
  job?.abort(exitCode(error));
}

/**
 * Refuses a command that several processes of one launch would each do as a whole, over the same files.
 * @throws UsageError `ONE_PROCESS`
 */
export function refuseLaunch(command: string, launch: Launch): never {
  throw new UsageError(
    'ONE_PROCESS',
    `larr ${command} runs in one process, but ${launch.variable}=${launch.size} says that ${launch.size} were started; together they do larr pretrain, larr finetune and larr embed --shard rank. Start it without mpirun or srun, or, where each has an --out of its own, with ${launch.variable} unset (env -u ${launch.variable} larr …)`,
  );
}

/** A path as it can be pasted into a shell. */
export function shellWord(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

/** What the system says where a program can do nothing about it. */
const systemTroubles: Record<string, string> = {
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many files are open (ulimit -n)',
  EDQUOT: 'the disk quota is used up',
};

/** What node says of a module that is not there: a package whose TypeScript is not built, or that is not installed. */
const isNotBuilt = (error: unknown): boolean =>
  (error as NodeJS.ErrnoException | null)?.code === 'ERR_MODULE_NOT_FOUND';

/** Of these people know the file, not the function that reads or writes it. The class is not asked: it comes with all of LibTorch. */
const isOfTensorFile = (error: unknown): error is TensorError =>
  error instanceof LarrError && (error.code === 'TENSOR_FILE' || error.code === 'TENSOR_DTYPE') && 'reason' in error;

/** Reports an error (one line for people; with `--json` a document too) and sets the exit code. */
export function fail(error: unknown, json: boolean): void {
  const trouble = error instanceof Error ? systemTroubles[(error as NodeJS.ErrnoException).code ?? ''] : undefined;
  const notBuilt = isNotBuilt(error);
  const known = error instanceof LarrError || trouble !== undefined || notBuilt;
  const code =
    error instanceof LarrError ? error.code : notBuilt ? 'NOT_BUILT' : trouble !== undefined ? 'SYSTEM' : 'INTERNAL';
  const said = isOfTensorFile(error) ? error.reason : error instanceof Error ? error.message : String(error);
  const message = notBuilt
    ? `a part of LARR is not built: ${said.split('\n', 1)[0]}. Run \`npm run setup\` in the project`
    : trouble === undefined
      ? said
      : `${trouble}: ${said}`;
  process.stderr.write(`larr: ${message} [${code}]\n`);
  if (!known && error instanceof Error && error.stack) process.stderr.write(`${error.stack}\n`);
  if (json) process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  process.exitCode = exitCode(error);
}
