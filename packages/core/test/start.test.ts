import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

/** What comes of a program whose main module is interrupted once it says "ready". */
async function interrupted(main: string) {
  const folder = await mkdtemp(join(tmpdir(), 'larr-start-'));
  await writeFile(join(folder, 'main.mjs'), main);
  await writeFile(
    join(folder, 'bin.mjs'),
    `import { start } from ${JSON.stringify(new URL('../start.mjs', import.meta.url).href)};
     await start('larr', new URL('./main.mjs', import.meta.url));`,
  );
  const child = spawn(process.execPath, [join(folder, 'bin.mjs'), '--json']);
  const said = { stdout: '', stderr: '' };
  child.stdout.on('data', (data) => {
    said.stdout += data;
    if (said.stdout === 'ready\n') child.kill('SIGINT');
  });
  child.stderr.on('data', (data) => {
    said.stderr += data;
  });
  const [code, signal] = await once(child, 'close');
  return { code, signal, ...said };
}

test('an interruption before a program listens ends it with a line and status 1', async () => {
  const { code, signal, stderr, stdout } = await interrupted(
    `process.stdout.write('ready\\n'); await new Promise((done) => setTimeout(done, 30_000));`,
  );
  expect({ code, signal }).toEqual({ code: 1, signal: null });
  expect(stderr).toContain('larr: SIGINT: interrupted [INTERRUPTED]');
  expect(stdout).toContain('"code":"INTERRUPTED"');
});

test('a program that listens is left to end as it means to', async () => {
  const { code, stderr } = await interrupted(
    `process.on('SIGINT', () => setTimeout(() => process.exit(7), 50)); process.stdout.write('ready\\n'); await new Promise((done) => setTimeout(done, 30_000));`,
  );
  expect(code).toBe(7);
  expect(stderr).toBe('');
});
