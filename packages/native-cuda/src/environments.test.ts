import { spawnSync } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';

const built = new URL('../dist/index.js', import.meta.url).href;

/** A program that imports the built package as L and has a large problem `p`. */
const program = (body: string) => `
  import * as L from ${JSON.stringify(built)};
  const batch = 3000, dim = 128;
  const fill = (seed) => Float32Array.from({ length: batch * dim }, (_, i) => Math.sin(i * seed));
  const p = { q: fill(1.1), k: fill(1.7), batch, dim, scale: 0.05 };
  ${body}`;

const run = (body: string, env: Record<string, string> = {}) =>
  spawnSync(process.execPath, ['--input-type=module', '-e', program(body)], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 50_000,
  });

const worker = (body: string) =>
  new Worker(
    new URL(
      `data:text/javascript,${encodeURIComponent(`import { parentPort } from 'node:worker_threads';${program(body)}`)}`,
    ),
  );

test('several worker threads compute at once, each the same as alone', async () => {
  const losses = await Promise.all(
    [1, 2, 3].map(
      () =>
        new Promise((resolve, reject) => {
          const w = worker('parentPort.postMessage((await L.infoNce(p)).loss)');
          w.once('message', resolve);
          w.once('error', reject);
        }),
    ),
  );
  expect(new Set(losses).size).toBe(1);
  expect(losses[0]).toBeGreaterThan(0);
});

test('a worker terminated in mid-call ends, and the process lives on', async () => {
  for (let i = 0; i < 4; i++) {
    const w = worker('L.infoNce(p); L.infoNce(p); parentPort.postMessage("begun"); await L.infoNce(p);');
    await new Promise((resolve) => w.once('message', resolve));
    await w.terminate();
  }
});

test('exit in mid-call is clean', () => {
  const ended = run('for (let i = 0; i < 6; i++) L.infoNce(p); setTimeout(() => process.exit(7), 20);');
  expect(ended).toMatchObject({ status: 7, signal: null, stderr: '' });
});

test('a process with nothing but a call open waits for it, then ends', () => {
  const ended = run('L.infoNce(p).then((r) => console.log(Number.isFinite(r.loss)));');
  expect(ended).toMatchObject({ status: 0, stdout: 'true\n' });
});

test('LARR_ISA, LARR_THREADS and LARR_DEVICE choose, and refuse what is not there', () => {
  const about = 'console.log(JSON.stringify(L.deviceInfo()));';
  expect(JSON.parse(run(about, { LARR_ISA: 'scalar', LARR_THREADS: '3', LARR_DEVICE: 'cpu' }).stdout)).toMatchObject({
    isa: 'scalar',
    threads: 3,
    device: 'cpu',
  });
  expect(run(about, { LARR_ISA: 'sse9' }).stderr).toContain(
    'LARR_ISA=sse9 is not available here; this machine has scalar',
  );
  expect(run(about, { LARR_THREADS: 'many' }).stderr).toContain('LARR_THREADS=many is not a number from 1 to 1024');
  expect(run(about, { LARR_DEVICE: 'cuda' }).stderr).toContain('LARR_DEVICE=cuda is not available');
});
