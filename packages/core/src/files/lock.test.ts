import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { lockDirectory } from './lock.js';

const root = mkdtempSync(join(tmpdir(), 'larr-lock-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A process that lives until it is killed. */
async function other() {
  const child = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await once(child.stdout, 'data');
  return child;
}

it('keeps a directory to one holder at a time, and leaves nothing behind', () => {
  const directory = join(root, 'a', 'b');
  const lock = lockDirectory(directory, 'the run');
  expect(() => lockDirectory(directory, 'the run')).toThrow(/the run .*a\/b is in use by this process already/);
  lock.release();
  lock.release();
  expect(existsSync(join(root, 'a'))).toBe(false);
  const again = lockDirectory(directory, 'the run');
  writeFileSync(join(directory, 'metrics.jsonl'), '');
  again.release();
  expect(readdirSync(directory)).toEqual(['metrics.jsonl']);
});

it("names the living holder, and takes over a dead one's lock, a torn one, and one whose number another process has now", async () => {
  const directory = join(root, 'c');
  const first = lockDirectory(directory, 'the event log');
  const file = join(directory, readdirSync(directory)[0]!);
  const own = JSON.parse(readFileSync(file, 'utf8')) as { pid: number; started: string };
  const child = await other();
  const exited = once(child, 'exit');
  try {
    writeFileSync(file, JSON.stringify({ pid: child.pid, started: null }));
    utimesSync(file, new Date(), new Date('2026-11-23T05:06:07Z'));
    const begun = performance.now();
    expect(() => lockDirectory(directory, 'the event log')).toThrow(
      expect.objectContaining({
        code: 'IN_USE',
        message: `the event log ${directory} is in use by process ${child.pid} of LARR since 2026-11-23T05:06:07Z. Stop it (kill ${child.pid}) or wait for it to end, or name another directory`,
      }),
    );
    expect(performance.now() - begun).toBeLessThan(500);
  } finally {
    child.kill('SIGKILL');
    await exited;
  }
  for (const left of [
    JSON.stringify({ pid: child.pid, started: null }),
    '{"pid',
    JSON.stringify({ ...own, started: '1' }),
  ]) {
    writeFileSync(file, left);
    const lock = lockDirectory(directory, 'the event log');
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(own);
    expect(readdirSync(directory)).toHaveLength(1);
    lock.release();
  }
  first.release();
});
