import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { deviceInfo } from './index.js';

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

test('calls begun while the process exits are clean: one at once, and one that nobody will hear of', () => {
  const ended = run(
    'L.infoNce(p); process.on("exit", () => { L.infoNce(p); console.log(L.infoNceSync({ ...p, batch: 64, q: p.q.slice(0, 8192), k: p.k.slice(0, 8192) }).loss > 0); });' +
      'setTimeout(() => process.exit(7), 20);',
  );
  expect(ended).toMatchObject({ status: 7, signal: null, stderr: '', stdout: 'true\n' });
});

test('exit while workers settle one call after another is clean', () => {
  const source = `
    import * as L from ${JSON.stringify(built)};
    const p = { q: new Float32Array(64).fill(0.1), k: new Float32Array(64).fill(0.1), batch: 8, dim: 8, scale: 1 };
    const go = () => { for (let i = 0; i < 50; i++) L.infoNce(p); setImmediate(go); };
    go();`;
  const ended = run(`
    import { Worker } from 'node:worker_threads';
    const source = 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(source)});
    for (let i = 0; i < 3; i++) new Worker(new URL(source));
    setTimeout(() => process.exit(7), 250);`);
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
  for (const isa of ['AVX2', 'avx2 ', 'amx,avx2', '0'])
    expect(run(about, { LARR_ISA: isa }).stderr).toContain(`LARR_ISA=${isa} is not available here`);
  for (const threads of ['0', '-1', '1025', '2x', '1e3'])
    expect(run(about, { LARR_THREADS: threads }).stderr).toContain(`LARR_THREADS=${threads} is not a number from 1 to`);
  expect(run(about, { LARR_THREADS: 'many' }).stderr).toContain('LARR_THREADS=many is not a number from 1 to 1024');
  for (const device of ['gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda0', 'cuda:99999999999']) {
    expect(run(about, { LARR_DEVICE: device }).stderr).toContain(
      `LARR_DEVICE=${device} is no device; it must be cpu, cuda or cuda:<number>`,
    );
  }
});

/** A scorer of random weights, in a program of `run`. */
const scorer = `
  const dims = { d: 64, heads: 4, ffn: 96, headHidden: 40, out: 24 }, fields = 3;
  const numbers = (n, seed) => Float32Array.from({ length: n }, (_, i) => Math.sin((i + 1) * seed) / 4);
  const weights = Object.fromEntries(Object.entries(L.weightShapes(fields, dims)).map(([name, shape], i) => [name, numbers(shape.reduce((a, b) => a * b, 1), i + 1.3)]));
  const make = (dtype, change) => new L.SceneScorer({ table: numbers(90 * 64, 0.7), fieldOf: Int32Array.from({ length: 90 }, (_, e) => e % 3), fields, dims, weights, dtype, ...change });
  const rows = Int32Array.from({ length: 20_000 * 3 }, (_, i) => i % 11 === 0 ? -1 : (i * 7919 % 30) * 3 + i % 3);`;

test('a GPU that is not there is one clear error of every call, before any work', () => {
  const ended = run(
    `${scorer}
     for (const call of [L.deviceInfo, () => L.infoNceSync(p), () => L.infoNce(p), () => make('f32')]) {
       try { await call(); console.log('no error'); } catch (e) { console.log(e.name, e.code, e.message); }
     }`,
    { LARR_DEVICE: 'cuda:77' },
  );
  const lines = ended.stdout.trim().split('\n');
  expect(lines).toHaveLength(4);
  for (const line of lines)
    expect(line).toMatch(/^KernelError NO_SUCH_DEVICE LARR_DEVICE=cuda:77 is not available: \S+/);
});

test('the first call that goes to a GPU asks for it without keeping the event loop, and all others use the answer', () => {
  // A driver that takes its time: what the child does is its own affair, this process must go on.
  const folder = mkdtempSync(join(tmpdir(), 'larr-slow-driver-'));
  try {
    const made = spawnSync('c++', ['-shared', '-fPIC', '-x', 'c++', '-o', join(folder, 'libcuda.so.1'), '-'], {
      input: '#include <unistd.h>\nnamespace { struct Driver { Driver() { usleep(600000); } } driver; }\n',
      encoding: 'utf8',
    });
    expect(made).toMatchObject({ status: 0, stderr: '' });
    const ended = run(
      `let turns = 0;
       const timer = setInterval(() => turns++, 10);
       const calls = [1, 2, 3].map(() => L.infoNce(p).catch((e) => e.code));
       const codes = await Promise.all(calls);
       const meanwhile = turns;
       const started = performance.now();
       for (const call of [() => L.infoNce(p), () => L.infoNceSync(p), L.deviceInfo])
         try { await call(); } catch (e) { codes.push(e.code); }
       clearInterval(timer);
       console.log(JSON.stringify({ codes, meanwhile, after: performance.now() - started }));`,
      { LARR_DEVICE: 'cuda:77', LD_LIBRARY_PATH: folder },
    );
    const { codes, meanwhile, after } = JSON.parse(ended.stdout);
    expect(codes).toEqual(Array(6).fill('NO_SUCH_DEVICE'));
    if (deviceInfo().cuda.compiled) expect(meanwhile).toBeGreaterThan(20);
    expect(after).toBeLessThan(500);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('deviceInfo tells the GPUs that the driver names, or why there are none', () => {
  const { cuda } = deviceInfo();
  if (cuda.devices.length === 0) {
    expect(cuda.problem).toMatch(/\S/);
    return;
  }
  expect(cuda).toMatchObject({ compiled: true });
  expect(cuda.problem).toBeUndefined();
  cuda.devices.forEach((device, i) => {
    expect(device.index).toBe(i);
    expect(device.name).toMatch(/\S/);
    expect(device.computeCapability).toMatch(/^\d+\.\d+$/);
    expect(device.multiprocessors).toBeGreaterThan(0);
    expect(device.memory).toBeGreaterThan(1e8);
  });
});

test.runIf(deviceInfo().cuda.compiled)('a driver that crashes leaves the program alive, which says so', () => {
  const folder = mkdtempSync(join(tmpdir(), 'larr-driver-'));
  try {
    const made = spawnSync('c++', ['-shared', '-fPIC', '-x', 'c++', '-o', join(folder, 'libcuda.so.1'), '-'], {
      input: '#include <cstdlib>\nnamespace { struct Driver { Driver() { std::abort(); } } driver; }\n',
      encoding: 'utf8',
    });
    expect(made).toMatchObject({ status: 0, stderr: '' });
    const body = `const { device, cuda } = L.deviceInfo();
      console.log(JSON.stringify({ device, cuda, works: Number.isFinite(L.infoNceSync(p).loss) }));`;
    const ended = run(body, { LD_LIBRARY_PATH: folder });
    expect(ended).toMatchObject({ status: 0, signal: null });
    expect(JSON.parse(ended.stdout)).toEqual({
      device: 'cpu',
      cuda: { compiled: true, devices: [], problem: expect.stringMatching(/crashed.*SIGABRT/) },
      works: true,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const gpu = deviceInfo().cuda.devices.length > 0;
const onGpu = (body: string) => run(body, { LARR_DEVICE: 'cuda' });

test.runIf(gpu)('LARR_DEVICE=cuda computes on the GPU what the processor computes', () => {
  const body = `
    const groups = Int32Array.from({ length: batch }, (_, i) => i % 700);
    const found = [];
    for (const o of [p, { ...p, groups }, { ...p, dtype: 'bf16' }, { ...p, backward: false }]) {
      for (const r of [L.infoNceSync(o), await L.infoNce(o)]) {
        const some = (x) => x && Array.from({ length: 50 }, (_, i) => x[(i * 7919) % x.length]);
        found.push({ loss: r.loss, dscale: r.dscale, some: [r.dq, r.dk, r.lseRow, r.lseCol].map(some) });
      }
    }
    console.log(JSON.stringify({ device: L.deviceInfo().device, found }));`;
  const [here, there] = [run(body), onGpu(body)].map((ended) => JSON.parse(ended.stdout));
  expect(here.device).toBe('cpu');
  expect(there.device).toBe('cuda:0');
  here.found.forEach((wanted: (typeof here.found)[0], i: number) => {
    const got = there.found[i];
    const tolerance = i === 4 || i === 5 ? 2e-2 : 1e-4;
    expect(Math.abs(got.loss / wanted.loss - 1)).toBeLessThan(tolerance);
    expect(Math.abs(got.dscale - wanted.dscale)).toBeLessThan(tolerance * Math.max(1, Math.abs(wanted.dscale)));
    wanted.some.forEach((values: number[] | null, j: number) => {
      const most = Math.max(...(values ?? [1]).map(Math.abs));
      (values ?? []).forEach((value, n) => {
        expect(Math.abs(got.some[j][n] - value)).toBeLessThan(tolerance * most);
      });
    });
  });
});

test.runIf(gpu)('a width that the GPU has no kernels for is refused', () => {
  const ended =
    onGpu(`try { L.infoNceSync({ ...p, batch: 100, dim: 300, q: p.q.subarray(0, 30000), k: p.k.subarray(0, 30000) }); }
    catch (e) { console.log(e.code, e.message); }`);
  expect(ended.stdout).toMatch(/^BAD_ARGUMENT infonce: on a GPU dim must be from 1 to 256, got 300/);
});

test.runIf(gpu)('calls from several threads share the GPU, and an exit among them is clean', () => {
  const ended = onGpu(`
    import { Worker } from 'node:worker_threads';
    const source = ${JSON.stringify(program('setInterval(() => L.infoNce(p), 1);'))};
    for (let i = 0; i < 3; i++) new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)));
    const losses = await Promise.all(Array.from({ length: 20 }, () => L.infoNce(p).then((r) => r.loss)));
    console.log(new Set(losses).size);
    setTimeout(() => process.exit(7), 300);`);
  expect(ended).toMatchObject({ status: 7, signal: null, stdout: '1\n', stderr: '' });
});

test.runIf(gpu)('the scene encoder gives on the GPU what it gives on the processor', () => {
  const body = `${scorer}
    const found = [];
    for (const dtype of ['f32', 'bf16']) {
      const s = make(dtype);
      for (const n of [1, 500, 20_000]) {
        const some = rows.subarray(0, 3 * n);
        const { z, attention } = await s.encodeWithAttention(some);
        const targets = numbers(n * 24, 2.1);
        const { scores, top } = await s.score({ rows: some, targets, topK: 10, attention: true });
        found.push({ device: s.device, same: s.encodeSync(some).every((x, i) => x === z[i]), best: top.rows.every((row, i) => scores[row] === top.scores[i]),
          values: [z, attention, scores].map((x) => Array.from({ length: Math.min(200, x.length) }, (_, i) => x[(i * 7919) % x.length])) });
      }
    }
    console.log(JSON.stringify(found));`;
  const [here, there] = [run(body), onGpu(body)].map((ended) => JSON.parse(ended.stdout));
  here.forEach((wanted: (typeof here)[0], i: number) => {
    expect(wanted).toMatchObject({ device: 'cpu', same: true, best: true });
    expect(there[i]).toMatchObject({ device: 'cuda:0', same: true, best: true });
    wanted.values.forEach((values: number[], j: number) => {
      const most = Math.max(...values.map(Math.abs));
      values.forEach((value, n) => {
        expect(Math.abs(there[i].values[j][n] - value)).toBeLessThan((i < 3 ? 1e-4 : 6e-2) * most);
      });
    });
  });
});

test.runIf(gpu)('what is too wide for the GPU is encoded on the processor, which says why', () => {
  const ended = onGpu(`${scorer}
    const wide = { d: 64, heads: 4, ffn: 40_000, headHidden: 40, out: 24 };
    const s = make('f32', { dims: wide, weights: Object.fromEntries(Object.entries(L.weightShapes(fields, wide)).map(([name, shape], i) => [name, numbers(shape.reduce((a, b) => a * b, 1), i + 1.3)])) });
    console.log(s.device, s.whyCpu, (await s.encode(rows.subarray(0, 30))).every(Number.isFinite));`);
  expect(ended.stdout).toMatch(/^cpu scene encoder: .* bytes of shared memory.* true$/m);
});

test.runIf(gpu)('the scene encoder is shared by worker threads, and an exit among its calls is clean', () => {
  const body = `${scorer}
    const s = make('bf16');`;
  const ended = onGpu(`${body}
    import { Worker } from 'node:worker_threads';
    const source = ${JSON.stringify(program(`${body} setInterval(() => s.encode(rows), 1);`))};
    for (let i = 0; i < 3; i++) new Worker(new URL('data:text/javascript,' + encodeURIComponent(source)));
    const firsts = await Promise.all(Array.from({ length: 20 }, () => s.encode(rows).then((z) => z[77])));
    console.log(new Set(firsts).size);
    setTimeout(() => process.exit(7), 300);`);
  expect(ended).toMatchObject({ status: 7, signal: null, stdout: '1\n', stderr: '' });
});
