import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../bin/larr-server.mjs', import.meta.url));

/** Runs the server's program; resolves with what it printed on stdout before it ended, trimmed. */
export async function runServerProgram(args) {
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`larr-server ${args[0]} ended with ${code}`);
  return text.trim();
}

/**
 * Starts the server's program; resolves when it is ready.
 * @param {string[]} args without --json
 * @param {string} [log] file for its standard error
 * @returns {Promise<{ child: import('node:child_process').ChildProcess, url: string, adminUrl: string | null, exited: Promise<unknown[]> }>}
 */
export async function startServer(args, log) {
  const child = spawn(process.execPath, [PROGRAM, ...args, '--json'], { stdio: ['ignore', 'pipe', 'pipe'] });
  if (log === undefined) child.stderr.resume();
  else child.stderr.pipe(createWriteStream(log, { flags: 'a' }));
  const exited = once(child, 'exit');
  const line = await Promise.race([once(child.stdout, 'data').then(([data]) => String(data)), exited.then(() => '')]);
  const said = line === '' ? { error: { message: 'it ended before it was ready' } } : JSON.parse(line);
  if (said.error !== undefined) throw new Error(`the server did not start: ${said.error.message}`);
  return { child, exited, url: said.url, adminUrl: said.adminUrl };
}

/** The options that the program takes, from its own help. */
export async function serverOptions() {
  const child = spawn(process.execPath, [PROGRAM, '--help'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (data) => {
    text += data;
  });
  await once(child, 'close');
  return new Set(text.match(/--[a-z-]+/g));
}
