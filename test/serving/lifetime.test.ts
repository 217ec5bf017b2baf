import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { program as larr, root } from '../larr.js';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset } from './tiny-dataset.js';

let directory: string;
let bundle: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-lifetime-'));
  await prepareTinyDataset(directory, { history: false });
  bundle = (await exportTinyBundle(directory, 'dnn')).bundle;
}, 120_000);
const server = join(root, 'packages', 'server', 'bin', 'larr-server.mjs');
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Starts a server program; resolves when it has printed a line on stdout or has ended. */
async function start(script: string, args: string[]) {
  const child: ChildProcess = spawn(process.execPath, [script, ...args, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const [line] = (await once(child.stdout!, 'data')) as [Buffer];
  const said = JSON.parse(String(line)) as { url: string; error?: { code: string; message: string } };
  return { child, exited, ...said };
}

async function answers(url: string): Promise<boolean> {
  return fetch(`${url}/healthz`).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function goes(url: string): Promise<boolean> {
  for (let i = 0; i < 100 && (await answers(url)); i++) await new Promise((resolve) => setTimeout(resolve, 50));
  return !(await answers(url));
}

describe('a server that `larr serve` started', () => {
  it.each(['SIGTERM', 'SIGHUP', 'SIGKILL'] as const)('ends when that is sent %s', async (signal) => {
    const { child, exited, url } = await start(larr, ['serve', '--bundle', bundle]);
    expect(await answers(url)).toBe(true);
    child.kill(signal);
    const code = await exited;
    if (signal !== 'SIGKILL') expect(code).toBe(0);
    expect(await goes(url)).toBe(true);
  });
});

it('two servers do not write one event log, and the next takes it when the first is killed', async () => {
  const args = ['--bundle', bundle, '--events', join(directory, 'events')];
  const first = await start(server, args);
  const second = await start(server, args);
  expect(second.error).toEqual({
    code: 'IN_USE',
    message: expect.stringMatching(new RegExp(`events is in use by process ${first.child.pid} of LARR since`)),
  });
  expect(await second.exited).toBe(2);
  first.child.kill('SIGKILL');
  await first.exited;
  const third = await start(server, args);
  expect(await answers(third.url)).toBe(true);
  third.child.kill('SIGTERM');
  expect(await third.exited).toBe(0);
});
