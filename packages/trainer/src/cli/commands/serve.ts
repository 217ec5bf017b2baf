import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { LarrError } from '@larr/core';
import type { Command } from 'commander';
import { fail, type OptionsOf, wholeNumber, withOptions } from '../command-context.js';
import { defaultThreads } from '../threads.js';

interface ServeOptions extends OptionsOf<'threads'> {
  bundle: string;
  host: string;
  port: number;
  events?: string;
}

/** The server's program. It is a process of its own: LibTorch, which this one may have loaded, has no place in it. */
function serverProgram(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('@larr/server/package.json')), 'bin', 'larr-server.mjs');
  } catch (cause) {
    throw new LarrError('SERVER_NOT_INSTALLED', 'the package @larr/server is not installed beside this one', { cause });
  }
}

/**
 * Runs the server until it ends; signals are handed on, so that it finishes what is in flight.
 * @returns its exit code
 */
export function serve(
  options: Pick<ServeOptions, 'bundle' | 'host' | 'port' | 'threads' | 'json' | 'events'>,
): Promise<number> {
  const program = serverProgram();
  if (!existsSync(program)) throw new LarrError('SERVER_NOT_INSTALLED', `the server's program ${program} is missing`);
  const child = spawn(
    process.execPath,
    [
      program,
      '--bundle',
      options.bundle,
      '--host',
      options.host,
      '--port',
      String(options.port),
      '--threads',
      String(options.threads),
      ...(options.events === undefined ? [] : ['--events', options.events]),
      ...(options.json ? ['--json'] : []),
    ],
    // The scene kernel takes its threads from the environment.
    // By its end of the channel the server knows that this process is gone, however it ended, and stops.
    { stdio: ['inherit', 'inherit', 'inherit', 'ipc'], env: { ...process.env, LARR_THREADS: String(options.threads) } },
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
    .action(async (options: ServeOptions) => {
      try {
        process.exitCode = await serve({ ...options, threads: options.threads || defaultThreads() });
      } catch (error) {
        fail(error, options.json);
      }
    });
}
