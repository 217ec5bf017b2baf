// One server with everything switched on, as docs/operations.md runs it: what the documents show works, the client, the fuzz.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { EventQueue, LarrAccessError, LarrClient, LarrRequestError } from '@larr/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fuzz } from '../../packages/server/test/fuzz/fuzz.mjs';
import { program as larr, root } from '../larr.js';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset } from './tiny-dataset.js';

let directory: string;
let child: ChildProcess;
let key: string;
let rankKey: string;
let url: string;
let adminUrl: string;

const newKey = async (scopes: string): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...[larr, 'keys', 'add', '--keys', join(directory, 'keys.json'), '--name', 'test', '--scopes', scopes],
  ]);
  return stdout.trim();
};

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-operations-'));
  await prepareTinyDataset(directory, { history: true });
  const bundles = join(directory, 'bundles');
  mkdirSync(bundles);
  renameSync((await exportTinyBundle(directory, 'larr')).bundle, join(bundles, 'larr'));
  symlinkSync(join(bundles, 'larr'), join(bundles, 'current'));
  key = await newKey('rank,events,read,admin');
  rankKey = await newKey('rank');
  const at = (name: string): string => join(directory, name);
  mkdirSync(at('runs'));
  // as on a machine of its own: continuous integration switches some libraries' reporting off by itself
  const { CI: _, ORT_DISABLE_TELEMETRY: __, ...environment } = process.env;
  const env = { ...environment, HOME: at('home') };
  mkdirSync(at('home'));
  child = spawn(
    process.execPath,
    [
      ...[
        larr,
        'serve',
        '--bundle',
        join(bundles, 'current'),
        '--bundles',
        bundles,
        '--port',
        '0',
        '--admin-port',
        '0',
      ],
      ...[
        '--keys',
        at('keys.json'),
        '--events',
        at('events'),
        '--experiments',
        at('experiments'),
        '--runs',
        at('runs'),
      ],
      ...['--threads', '2', '--log-level', 'error', '--json'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env },
  );
  const [line] = await once(child.stdout!, 'data');
  ({ url, adminUrl } = JSON.parse(String(line)));
}, 180_000);
afterAll(async () => {
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  rmSync(directory, { recursive: true, force: true });
  expect(code).toBe(0);
});

describe('the documents', () => {
  // README.md shows the demo, whose bundle demo.test.ts has.
  const files = [
    ...readdirSync(join(root, 'docs')).map((name) => join('docs', name)),
    ...readdirSync(join(root, 'packages')).map((name) => join('packages', name, 'README.md')),
  ];
  const blocks = files.flatMap((file) => {
    let text = '';
    try {
      text = readFileSync(join(root, file), 'utf8');
    } catch {
      return []; // a package without a README
    }
    return [...text.matchAll(/```sh\n([\s\S]*?)```/g)]
      .map(([, commands]) => commands!)
      .filter((commands) => /^curl /m.test(commands) || commands.includes('larr keys'))
      .map((commands) => ({ file, commands }));
  });

  it('have examples', () => {
    expect(new Set(blocks.map(({ file }) => file))).toEqual(
      new Set(['docs/experiments.md', 'docs/operations.md', join('packages', 'server', 'README.md')]),
    );
  });

  // In order: an example may build on the one before it.
  it.each(blocks)('$file: $commands', async ({ commands }) => {
    const script = commands
      .replaceAll(/(http:\/\/)?(127\.0\.0\.1|localhost):8080/g, adminUrl)
      .replaceAll(/(http:\/\/)?(127\.0\.0\.1|localhost):9090/g, adminUrl);
    // The shortest examples leave the key out, as a server on one's own machine asks for none.
    const tools = `larr() { "${process.execPath}" "${larr}" "$@"; }
      curl() { command curl -H "authorization: Bearer $KEY" "$@"; }`;
    const { stdout } = await promisify(execFile)('bash', ['-ec', `${tools}\n${script}`], {
      cwd: directory,
      env: { ...process.env, KEY: key },
    });
    expect(stdout.includes(`{"error":{"code"`)).toBe(false);
    if (commands.includes('curl')) expect(stdout).not.toBe('');
  });
});

describe('the client', () => {
  it('ranks, and learns why it may not', async () => {
    const client = new LarrClient({ url, key: rankKey });
    const { ranked, model } = await client.rank({
      user: 'u1',
      scene: { weather: 'sunny' },
      candidates: ['p1', 'p2', 'p3'],
      k: 2,
    });
    expect(ranked.map(({ rank }) => rank)).toEqual([1, 2]);
    expect(model.name).toBe('larr');
    const wrong = client.rank({ user: 'u1', scene: { wether: 'sunny' }, candidates: ['p1'] });
    await expect(wrong).rejects.toMatchObject({ code: 'SCENE_FIELD_UNKNOWN', field: 'scene.wether', status: 400 });
    await expect(wrong).rejects.toBeInstanceOf(LarrRequestError);
    const events = { events: [{ id: 'e', type: 'click' as const, user: 'u', poi: 'p', time: '2026-01-10T12:00:00' }] };
    await expect(client.events(events)).rejects.toBeInstanceOf(LarrAccessError);
    await expect(new LarrClient({ url }).rank({ user: 'u', candidates: ['p'] })).rejects.toMatchObject({
      code: 'KEY_MISSING',
    });
  });

  it('sends events that are in the log then, each once, and drops the one that is none', async () => {
    const refused: string[] = [];
    const queue = new EventQueue(new LarrClient({ url, key }), { batch: 7, onRefused: ({ id }) => refused.push(id) });
    const ids = Array.from({ length: 30 }, (_, i) =>
      queue.add({
        type: 'click',
        user: `u${i}`,
        poi: 'p1',
        time: i === 11 ? 'noon' : '2026-01-10T12:00:00',
        position: 1,
      }),
    );
    await queue.close();
    const log = readdirSync(join(directory, 'events')).filter((name) => name.endsWith('.jsonl'));
    const lines = log.flatMap((name) =>
      readFileSync(join(directory, 'events', name), 'utf8')
        .trim()
        .split('\n'),
    );
    const written = lines.map((line) => (JSON.parse(line) as { id: string }).id).filter((id) => ids.includes(id));
    expect(refused).toEqual([ids[11]]);
    expect(written).toEqual(ids.filter((_, i) => i !== 11));
  });

  it('reads what the administration port tells, and the public port tells nothing', async () => {
    const admin = new LarrClient({ url: adminUrl, key });
    const candidates = Array.from({ length: 30 }, (_, i) => `p${i}`);
    for (let i = 0; i < 20; i++) await admin.rank({ user: `u${i}`, scene: { weather: 'sunny' }, candidates });
    const report = await admin.call('healthReport', {});
    expect(report).toMatchObject({ status: 'ready', model: { name: 'larr' }, requests: { failed: 0 } });
    expect(report.stages.map(({ stage }) => stage)).toEqual(
      expect.arrayContaining(['features', 'scene', 'queue', 'ranker', 'sort']),
    );
    for (const { count, p50, p99 } of report.stages) {
      expect(count).toBeGreaterThanOrEqual(20);
      expect(p50).toBeLessThanOrEqual(p99!);
    }
    // 600 scores: enough for the drift to be told
    expect(report.drift).toEqual([
      { task: 'ctr', psi: expect.any(Number), scores: expect.any(Number) },
      { task: 'ctcvr', psi: expect.any(Number), scores: expect.any(Number) },
    ]);
    const metrics = await admin.call('metrics', {});
    expect(metrics).toMatch(/larr_score_drift_psi\{bundle="[0-9a-f]{12}",task="ctr"\} \d/);
    await expect(new LarrClient({ url, key }).call('metrics', {})).rejects.toMatchObject({
      status: 404,
      code: 'NOT_FOUND',
    });
  });
});

it('keeps nothing of its own in the home directory: no library that reports to its makers is at work', () => {
  expect(readdirSync(join(directory, 'home'), { recursive: true })).toEqual([]);
});

describe('a fuzz from the OpenAPI document', () => {
  it('finds no answer that the document does not have, and no failure', async () => {
    const verdict = await fuzz({ url: adminUrl, key, requests: 1000, seed: 7 });
    expect(verdict.failures).toEqual([]);
    const asked = verdict.byOperation as Record<string, Record<number, number>>;
    // it reached the model, and not only the first check
    expect(asked.rank![200]).toBeGreaterThan(5);
    expect(asked.rank![400]).toBeGreaterThan(5);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
  });
});
