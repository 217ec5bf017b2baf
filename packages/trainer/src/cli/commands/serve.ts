import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import { serverProgram } from '../../serving/server-process.js';
import { fail, type OptionsOf, wholeNumber, withOptions } from '../command-context.js';
import { defaultThreads } from '../threads.js';

interface ServeOptions extends OptionsOf<'threads'> {
  bundle: string;
  host: string;
  port: number;
  events?: string;
  experiments?: string;
  sink: string[];
}

/**
 * Runs the server until it ends; signals are handed on, so that it finishes what is in flight.
 * @param more options of larr-server as they were given
 * @returns its exit code
 */
export function serve(
  options: Pick<ServeOptions, 'bundle' | 'host' | 'port' | 'threads' | 'json' | 'events' | 'experiments'> & {
    sink?: readonly string[];
  },
  more: readonly string[] = [],
): Promise<number> {
  return runServer(
    [
      '--bundle',
      options.bundle,
      '--host',
      options.host,
      '--port',
      String(options.port),
      '--threads',
      String(options.threads),
      ...(options.events === undefined ? [] : ['--events', options.events]),
      ...(options.sink ?? []).flatMap((url) => ['--sink', url]),
      ...(options.experiments === undefined ? [] : ['--experiments', options.experiments]),
      ...(options.json ? ['--json'] : []),
      ...more,
    ],
    options.threads,
  );
}

/** Runs the server's program with `args` until it ends; its exit code. */
function runServer(args: readonly string[], threads: number): Promise<number> {
  const child = spawn(
    process.execPath,
    [serverProgram(), ...args],
    // The scene kernel takes its threads from the environment.
    // By its end of the channel the server knows that this process is gone, however it ended, and stops.
    { stdio: ['inherit', 'inherit', 'inherit', 'ipc'], env: { ...process.env, LARR_THREADS: String(threads) } },
  );
  const handOn = (signal: NodeJS.Signals) => child.kill(signal);
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, handOn);
  // Started by `npm run larr`, this process has a channel of its own.
  const abandoned = () => child.kill('SIGTERM');
  if (process.connected) process.once('disconnect', abandoned);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      for (const signal of signals) process.off(signal, handOn);
      process.off('disconnect', abandoned);
      resolve(signal ? 1 : (code ?? 1));
    });
  });
}

export function registerServe(program: Command): void {
  withOptions(program.command('serve').description('serve a bundle over HTTP'), 'threads')
    .requiredOption('--bundle <dir>', 'what `larr export` wrote')
    .option('--host <host>', 'address to listen on', '127.0.0.1')
    .option('--port <port>', 'port to listen on; 0 picks a free one', wholeNumber(0), 8080)
    .option('--events <dir>', 'keep impressions, clicks and orders sent to /v1/events in a log here')
    .option(
      '--sink <url>',
      'pass events on to redis://…?stream=NAME or kafka://…/TOPIC; may be repeated',
      (url, before: string[]) => [...before, url],
      [],
    )
    .option('--experiments <dir>', 'keep and run experiments here; needs --events')
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText(
      'after',
      '\nEvery other option of larr-server is handed on to it: keys, rates, TLS, a second port, logs (docs/operations.md).',
    )
    .action(async (options: ServeOptions, command: Command) => {
      try {
        process.exitCode = await serve({ ...options, threads: options.threads || defaultThreads() }, command.args);
      } catch (error) {
        fail(error, options.json);
      }
    });
  withOptions(program.command('keys').description('make, list and revoke the keys that a server asks for'))
    .allowUnknownOption()
    .allowExcessArguments()
    .addHelpText(
      'after',
      '\nlarr keys add --keys FILE --name NAME --scopes LIST · larr keys list --keys FILE · larr keys revoke --keys FILE ID (docs/operations.md)',
    )
    .action(async (options: OptionsOf, command: Command) => {
      try {
        process.exitCode = await runServer(['keys', ...command.args, ...(options.json ? ['--json'] : [])], 1);
      } catch (error) {
        fail(error, options.json);
      }
    });
}
