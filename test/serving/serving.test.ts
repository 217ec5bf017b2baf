import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  type BundleFile,
  type BundleManifest,
  encodeSafetensors,
  openDataset,
  readSafetensors,
  writeBundle,
} from '@larr/core';
import { createServer, type RankReply, type RunningServer } from '@larr/server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset, type TinyEvent } from './tiny-dataset.js';

const packageDirectory = dirname(createRequire(import.meta.url).resolve('@larr/server/package.json'));
const program = join(packageDirectory, 'bin', 'larr-server.mjs');

let directory: string;
let events: TinyEvent[];
let bundle: string;
let server: RunningServer;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-serving-'));
  events = await prepareTinyDataset(directory, { history: false });
  bundle = (await exportTinyBundle(directory, 'larr')).bundle;
  server = await createServer({ bundle, port: 0 });
  await server.ready;
}, 120_000);
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

async function post(
  body: unknown,
  url = server.url,
): Promise<{ status: number; headers: Headers; reply: RankReply & { error?: { code: string; field?: string } } }> {
  const response = await fetch(`${url}/v1/rank`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, reply: (await response.json()) as RankReply };
}

/** What a client says of the moment of an event. */
function sceneOf({ time, weather, temperature, city, latitude, longitude }: TinyEvent): Record<string, unknown> {
  return { time, weather, temperature: temperature === '' ? null : temperature, city, latitude, longitude };
}

/** Starts the program; resolves when it is ready or has ended. */
async function start(
  args: string[],
): Promise<{ process: ChildProcess; url: string | null; stderr: () => string; exited: Promise<number | null> }> {
  const child = spawn(process.execPath, [program, ...args, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  child.stderr!.on('data', (data) => {
    stderr += data;
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const first = await Promise.race([
    once(child.stdout!, 'data').then(([data]) => String(data)),
    exited.then(() => null),
  ]);
  return {
    process: child,
    url: first === null ? null : (JSON.parse(first) as { url: string }).url,
    stderr: () => stderr,
    exited,
  };
}

describe('a served bundle', () => {
  it('gives every test event, asked over HTTP, the probability the trainer gave it', async () => {
    const test = await (await openDataset(join(directory, 'data'))).loadPart('test');
    const { tensors } = await readSafetensors(join(bundle, 'parity.safetensors'));
    const [ctr, ctcvr] = [tensors.p_ctr!.data as Float32Array, tensors.p_ctcvr!.data as Float32Array];
    expect(test.rows).toBe(ctr.length);
    for (let row = 0; row < test.rows; row += 7) {
      const event = events[Number(test.rowId[row])]!;
      const { reply } = await post({ user: event.user, scene: sceneOf(event), candidates: [event.poi] });
      expect(reply.ranked[0]!.pCtr).toBeCloseTo(ctr[row]!, 5);
      expect(reply.ranked[0]!.pCtcvr).toBeCloseTo(ctcvr[row]!, 5);
    }
  });

  it('ranks candidates together as it scores them alone, best first', async () => {
    const event = events.at(-1)!;
    const candidates = Array.from({ length: 30 }, (_, i) => `p${i}`);
    const { reply } = await post({ user: event.user, scene: sceneOf(event), candidates });
    expect(reply.ranked.map(({ rank }) => rank)).toEqual(candidates.map((_, i) => i + 1));
    const scores = reply.ranked.map(({ score }) => score);
    expect(scores).toEqual([...scores].sort((a, b) => b - a));
    for (const { poi, pCtr } of reply.ranked) {
      const alone = await post({ user: event.user, scene: sceneOf(event), candidates: [poi] });
      expect(alone.reply.ranked[0]!.pCtr).toBeCloseTo(pCtr, 6);
    }
    const best = await post({ user: event.user, scene: sceneOf(event), candidates, k: 3, by: 'pCtr' });
    expect(best.reply.ranked).toHaveLength(3);
    expect(best.reply.ranked[0]!.score).toBe(best.reply.ranked[0]!.pCtr);
  });

  it('gives each candidate of a long list, whose rows several threads share, the scores it has in a short one', async () => {
    const event = events.at(-1)!;
    const known = Array.from({ length: 30 }, (_, i) => `p${i}`);
    const long = Array.from({ length: 990 }, (_, i) => (i % 33 === 0 ? known[i / 33]! : `stranger${i}`));
    const request = { user: event.user, scene: sceneOf(event) };
    const short = (await post({ ...request, candidates: known })).reply.ranked;
    const { ranked } = (await post({ ...request, candidates: long })).reply;
    expect(ranked).toHaveLength(990);
    const scores = new Map(ranked.map((one) => [one.poi, one]));
    for (const { poi, pCtr, pCtcvr } of short) {
      expect(scores.get(poi)!.pCtr).toBeCloseTo(pCtr, 6);
      expect(scores.get(poi)!.pCtcvr).toBeCloseTo(pCtcvr!, 6);
    }
    // strangers are in no place that tells them apart
    expect(new Set(ranked.filter(({ poi }) => poi.startsWith('s')).map(({ pCtr }) => pCtr.toFixed(6))).size).toBe(1);
  });

  it('explains by attention over the scene keywords that are there, and by no others', async () => {
    const { reply } = await post({
      user: 'u1',
      scene: { time: '2026-01-05T12:00:00', weather: 'sunny' },
      candidates: ['p1', 'p2'],
      explain: true,
    });
    for (const { attention } of reply.ranked) {
      expect(Object.keys(attention!).sort()).toEqual(['slot', 'weather']);
      const total = Object.values(attention!).reduce((sum, share) => sum + share, 0);
      expect(total).toBeGreaterThan(0);
      expect(total).toBeLessThan(1);
    }
  });

  it('ranks unknown users, POIs and scene texts by their fallback, and says and counts them', async () => {
    const scene = { time: '2026-01-05T12:00:00', weather: 'raining frogs' };
    const { status, reply } = await post({ user: 'nobody', scene, candidates: ['p1', 'nowhere'] });
    expect(status).toBe(200);
    expect(reply.fallbacks).toMatchObject({
      user: true,
      pois: ['nowhere'],
      scene: [{ field: 'weather', text: 'raining frogs' }],
      features: [{ feature: 'weather', value: 'raining frogs' }],
    });
    const usual = await post({ user: 'u1', scene: { time: scene.time, weather: '' }, candidates: ['p1'] });
    expect(usual.reply.fallbacks).toMatchObject({ user: false, pois: [], scene: [], features: [] });
    const forgotten = await post({ user: 'u1', scene: {}, candidates: ['p1'] });
    expect(forgotten.reply.fallbacks.missing).toEqual(expect.arrayContaining(['time', 'weather']));
    const rest = usual.reply.fallbacks.missing ?? [];
    expect(rest).not.toContain('time');
    const whole = { ...scene, weather: 'sunny', ...Object.fromEntries(rest.map((column) => [column, null])) };
    const told = await post({ user: 'u1', scene: whole, candidates: ['p1'] });
    expect(told.reply.fallbacks).toEqual({ user: false, pois: [], scene: [], features: [] });
    const missing = await post({ user: 'nobody', scene: { time: scene.time }, candidates: ['p1'] });
    const unknown = reply.ranked.find(({ poi }) => poi === 'p1')!;
    expect(unknown.pCtr).toBeCloseTo(missing.reply.ranked[0]!.pCtr, 6);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    for (const kind of ['user', 'poi', 'scene', 'feature', 'missing'])
      expect(metrics).toMatch(new RegExp(`larr_fallbacks_total\\{kind="${kind}"\\} [1-9]`));
  });

  it("takes a scene keyword's text directly, and refuses fields it does not know", async () => {
    const warm = await post({ user: 'u1', scene: { warmth: 'hot' }, candidates: ['p1'] });
    const hot = await post({ user: 'u1', scene: { warmth: 'freezing' }, candidates: ['p1'] });
    expect([warm.status, hot.status]).toEqual([200, 200]);
    expect(warm.reply.ranked[0]!.pCtr).not.toBe(hot.reply.ranked[0]!.pCtr);
    const typo = await post({ user: 'u1', scene: { wether: 'sunny' }, candidates: ['p1'] });
    expect([typo.status, typo.reply.error]).toMatchObject([
      400,
      { code: 'SCENE_FIELD_UNKNOWN', field: 'scene.wether' },
    ]);
    const number = await post({ user: 'u1', scene: { warmth: 30 }, candidates: ['p1'] });
    expect([number.status, number.reply.error]).toMatchObject([
      400,
      { code: 'SCENE_VALUE_INVALID', field: 'scene.warmth' },
    ]);
  });

  it('answers many requests at once each with its own answer', async () => {
    const requests = events
      .slice(-60)
      .map((event, i) => ({ user: event.user, scene: sceneOf(event), candidates: [`p${i % 30}`, `p${(i + 7) % 30}`] }));
    const alone = [];
    for (const request of requests) alone.push((await post(request)).reply.ranked);
    const together = await Promise.all(requests.map(async (request) => (await post(request)).reply.ranked));
    together.forEach((ranked, i) => {
      expect(ranked.map(({ poi }) => poi)).toEqual(alone[i]!.map(({ poi }) => poi));
      for (const [j, { pCtr }] of ranked.entries()) expect(pCtr).toBeCloseTo(alone[i]![j]!.pCtr, 6);
    });
  });

  it('answers every example of its OpenAPI document with none but the user, who is nobody', async () => {
    const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      paths: {
        '/v1/rank': {
          post: { requestBody: { content: { 'application/json': { examples: Record<string, { value: unknown }> } } } };
        };
      };
    };
    const { examples } = document.paths['/v1/rank'].post.requestBody.content['application/json'];
    expect(Object.keys(examples).length).toBeGreaterThan(0);
    for (const { value } of Object.values(examples)) {
      const { status, reply } = await post(value);
      expect(status).toBe(200);
      expect(reply.fallbacks).toEqual({ user: true, pois: [], scene: [], features: [] });
    }
  });

  it('refuses with 503 and Retry-After what would wait beyond its bounds, and answers the rest', async () => {
    // one thread of the slower ranker, which cannot keep up with this
    const queue = { queuedRows: 1, batchRows: 1 };
    const small = await createServer({ bundle, port: 0, ranker: 'onnx', threads: 1, queue });
    try {
      await small.ready;
      const replies = await Promise.all(
        Array.from({ length: 400 }, () => post({ user: 'u1', candidates: ['p1'] }, small.url)),
      );
      const statuses = new Set(replies.map(({ status }) => status));
      expect(statuses).toEqual(new Set([200, 503]));
      for (const { status, reply, headers } of replies) {
        if (status === 503) expect([reply.error!.code, headers.get('retry-after')]).toEqual(['OVERLOADED', '1']);
        else expect(reply.ranked).toHaveLength(1);
      }
    } finally {
      await small.close();
    }
  });

  it('says on /readyz that it is loading until it can rank', async () => {
    const other = await createServer({ bundle, port: 0 });
    try {
      const early = await fetch(`${other.url}/readyz`);
      expect([early.status, await early.json()]).toEqual([503, { status: 'loading' }]);
      expect((await fetch(`${other.url}/healthz`)).status).toBe(200);
      await other.ready;
      expect((await fetch(`${other.url}/readyz`)).status).toBe(200);
    } finally {
      await other.close();
    }
  });
});

describe('models of other kinds', () => {
  it.each(['ple', 'larr-no-al', 'deepfm'])('%s is served; attention is refused where there is none', async (model) => {
    const other = await createServer({ bundle: (await exportTinyBundle(directory, model)).bundle, port: 0 });
    try {
      await other.ready;
      const request = { user: 'u1', scene: { time: '2026-01-05T12:00:00' }, candidates: ['p1', 'p2'] };
      expect((await post(request, other.url)).reply.ranked).toHaveLength(2);
      const explained = await post({ ...request, explain: true }, other.url);
      expect([explained.status, explained.reply.error!.code]).toEqual([400, 'NOT_EXPLAINABLE']);
    } finally {
      await other.close();
    }
  });

  it('refuses to serve by the native ranker a network that it has no program of', async () => {
    const exported = await exportTinyBundle(directory, 'dcn-v2');
    const other = await createServer({ bundle: exported.bundle, port: 0, ranker: 'native' });
    try {
      await expect(other.ready).rejects.toMatchObject({ code: 'NO_NATIVE_RANKER' });
    } finally {
      await other.close();
    }
  });
});

describe('a model with the terms of a factorisation machine', () => {
  it('is served alike by either ranker, and a program of before these were there as it was', async () => {
    const out = join(directory, 'bundle-fm');
    await exportTinyBundle(directory, 'larr', undefined, out, { interactions: 'fm' });
    const scores = async (served: string, ranker: 'native' | 'onnx') => {
      const other = await createServer({ bundle: served, port: 0, ranker });
      try {
        await other.ready;
        const event = events.at(-1)!;
        const candidates = [...Array.from({ length: 30 }, (_, i) => `p${i}`), 'nowhere'];
        const ask = { user: event.user, scene: sceneOf(event), candidates };
        // the second time from what the native ranker has kept of the POIs
        await post(ask, other.url);
        const { ranked } = (await post(ask, other.url)).reply;
        return new Map(ranked.map(({ poi, pCtr, pCtcvr }) => [poi, [pCtr, pCtcvr!]]));
      } finally {
        await other.close();
      }
    };
    const [native, onnx] = [await scores(out, 'native'), await scores(out, 'onnx')];
    expect(new Set([...native.values()].map(String)).size).toBeGreaterThan(10);
    for (const [poi, both] of native)
      both.forEach((score, task) => {
        expect(score).toBeCloseTo(onnx.get(poi)![task]!, 6);
      });

    const rewritten = async (from: string, change: (program: Record<string, unknown>) => object) => {
      const copy = join(directory, 'other-program');
      const { files, ...manifest } = JSON.parse(readFileSync(join(from, 'manifest.json'), 'utf8')) as BundleManifest;
      const same = Object.keys(files).map((file): [string, BundleFile] => [file, { from: join(from, file) }]);
      const program = change(JSON.parse(readFileSync(join(from, 'ranker.json'), 'utf8')));
      await writeBundle(copy, { ...Object.fromEntries(same), 'ranker.json': JSON.stringify(program) }, manifest);
      return copy;
    };
    const before = await rewritten(bundle, ({ terms, secondOrder, ...program }) => {
      expect([terms, secondOrder]).toEqual([null, null]);
      return program;
    });
    expect((await scores(before, 'native')).size).toBe(31);
    await expect(
      scores(await rewritten(out, (program) => ({ ...program, terms: 'gone' })), 'native'),
    ).rejects.toMatchObject({
      code: 'BUNDLE_INVALID',
      message: expect.stringContaining('no table "gone"'),
    });
    await expect(
      scores(await rewritten(out, (program) => ({ ...program, terms: null })), 'native'),
    ).rejects.toMatchObject({ code: 'BUNDLE_INVALID', message: expect.stringContaining('secondOrder needs terms') });
  });
});

describe('a model that attends to sequences', () => {
  it('is served to users with a history and to those without one', async () => {
    const own = mkdtempSync(join(tmpdir(), 'larr-serving-'));
    await prepareTinyDataset(own, { history: true });
    const other = await createServer({ bundle: (await exportTinyBundle(own, 'larr', 'din')).bundle, port: 0 });
    try {
      await other.ready;
      const candidates = ['p1', 'p2', 'p3'];
      const scores = await Promise.all(
        ['u1', 'nobody'].map(async (user) => {
          const { status, reply } = await post({ user, candidates }, other.url);
          expect(status).toBe(200);
          return reply.ranked!.map(({ score }) => score);
        }),
      );
      expect(scores[0]).not.toEqual(scores[1]);
      for (const score of scores.flat()) expect(score > 0 && score < 1).toBe(true);
    } finally {
      await other.close();
      rmSync(own, { recursive: true, force: true });
    }
  });
});

describe('the larr-server program', () => {
  it('ranks alike with either ranker, and maps neither LibTorch nor the trainer into the process', async () => {
    const request = {
      user: 'u1',
      scene: { time: '2026-01-05T12:00:00', weather: 'sunny', latitude: 22.5, longitude: 114 },
      candidates: [...Array.from({ length: 30 }, (_, i) => `p${i}`), 'nowhere'],
    };
    const scores: Map<string, number>[] = [];
    for (const kind of ['native', 'onnx']) {
      const running = await start(['--bundle', bundle, '--ranker', kind]);
      try {
        // the second time from what the native ranker has kept of the POIs
        for (let time = 0; time < 2; time++) {
          const { reply } = await post(request, running.url!);
          scores.push(new Map(reply.ranked.map(({ poi, pCtcvr }) => [poi, pCtcvr!])));
        }
        const status = await fetch(`${running.url}/v1/admin/state`);
        const { bundles } = (await status.json()) as { bundles: { ranker: { kind: string; bytes: number } }[] };
        expect(bundles[0]!.ranker.kind).toBe(kind);
        expect(bundles[0]!.ranker.bytes > 0).toBe(kind === 'native');
        const maps = readFileSync(`/proc/${running.process.pid}/maps`, 'utf8');
        expect(maps.includes('libonnxruntime')).toBe(kind === 'onnx');
        expect(maps).not.toMatch(/torch|libc10/);
      } finally {
        running.process.kill('SIGTERM');
        await running.exited;
      }
    }
    expect(new Set(scores[0]!.values()).size).toBeGreaterThan(10);
    for (const other of scores.slice(1)) {
      expect(other.size).toBe(31);
      for (const [poi, score] of scores[0]!) expect(other.get(poi)).toBeCloseTo(score, 6);
    }
    const { dependencies } = JSON.parse(readFileSync(join(packageDirectory, 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
    };
    expect(Object.keys(dependencies).filter((name) => /@larr\/(torch|trainer)/.test(name))).toEqual([]);
  });

  it('finishes what is in flight when it is told to stop, and exits 0', async () => {
    const running = await start(['--bundle', bundle]);
    const candidates = Array.from({ length: 30 }, (_, i) => `p${i}`);
    const inFlight = Array.from({ length: 40 }, () => post({ user: 'u1', candidates }, running.url!));
    await Promise.race(inFlight);
    running.process.kill('SIGTERM');
    const settled = await Promise.allSettled(inFlight);
    expect(await running.exited).toBe(0);
    // a connection that was not accepted yet is refused; one that was, is answered
    const answered = settled.filter((result) => result.status === 'fulfilled');
    expect(answered.length).toBeGreaterThan(0);
    for (const { value } of answered) {
      if (value.status === 200) expect(value.reply.ranked).toHaveLength(30);
      else expect(value.status).toBe(503);
    }
    await expect(fetch(`${running.url}/healthz`)).rejects.toThrow();
  });

  const damages: [string, (copy: string) => void, string][] = [
    ['a file one byte longer', (copy) => appendFileSync(join(copy, 'ranker.onnx'), 'x'), 'BUNDLE_FILE_CHANGED'],
    [
      'a flipped bit in the embeddings',
      (copy) => {
        const file = join(copy, 'embeddings.safetensors');
        const bytes = readFileSync(file);
        bytes[bytes.length - 5]! ^= 1;
        writeFileSync(file, bytes);
      },
      'BUNDLE_FILE_CHANGED',
    ],
    ['a missing file', (copy) => rmSync(join(copy, 'scene.safetensors')), 'BUNDLE_FILE_MISSING'],
    ['a file that is not listed', (copy) => writeFileSync(join(copy, 'extra.bin'), 'x'), 'BUNDLE_FILE_UNKNOWN'],
    [
      'a manifest cut short',
      (copy) => writeFileSync(join(copy, 'manifest.json'), '{"format":"larr-bun'),
      'BUNDLE_CORRUPT',
    ],
    ['no manifest', (copy) => rmSync(join(copy, 'manifest.json')), 'BUNDLE_MISSING'],
  ];
  it.each(damages)(
    'refuses a bundle with %s by its code: exit 1, or 2 where it is none',
    async (_what, damage, code) => {
      const copy = join(directory, 'damaged');
      cpSync(bundle, copy, { recursive: true });
      try {
        damage(copy);
        const ended = await start(['--bundle', copy]);
        expect(await ended.exited).toBe(code === 'BUNDLE_MISSING' ? 2 : 1);
        expect(ended.stderr()).toContain(`larr-server: ${code}: `);
        expect(ended.stderr()).not.toMatch(/\n\s+at /);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    },
  );

  it("judges scores by the bundle's own tolerance", async () => {
    const copy = join(directory, 'other-scores');
    const { tensors } = await readSafetensors(join(bundle, 'parity.safetensors'));
    const scores = (tensors.p_ctcvr!.data as Float32Array).map((p) => p * 1.001);
    const { files: listed, ...manifest } = JSON.parse(
      readFileSync(join(bundle, 'manifest.json'), 'utf8'),
    ) as BundleManifest;
    const parity = encodeSafetensors({ ...tensors, p_ctcvr: { shape: [scores.length], data: scores } });
    const files = Object.fromEntries(
      Object.keys(listed).map((file): [string, BundleFile] => [file, { from: join(bundle, file) }]),
    );
    const load = async (relative: number) => {
      const tolerance = { absolute: 1e-6, relative };
      await writeBundle(
        copy,
        { ...files, 'parity.safetensors': parity },
        { ...manifest, parity: { rows: scores.length, tolerance } },
      );
      const other = await createServer({ bundle: copy, port: 0 });
      return other.ready.finally(() => other.close());
    };
    await expect(load(1e-4)).rejects.toMatchObject({
      code: 'SELF_TEST_FAILED',
      message: expect.stringMatching(/^p_ctcvr of parity row \d+ /),
    });
    await load(1e-2);
  });

  it('has every event it acknowledged when it is killed, and knows them when it starts again', async () => {
    const log = join(directory, 'events');
    const event = (id: string) => ({ id, type: 'click', user: 'u1', poi: 'p1', time: '2026-01-10T12:11:00' });
    const send = async (url: string, ids: string[]) => {
      const body = JSON.stringify({ events: ids.map(event) });
      const reply = await fetch(`${url}/v1/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      return (await reply.json()) as { accepted: number; duplicates: number };
    };
    const running = await start(['--bundle', bundle, '--events', log]);
    const acknowledged: string[] = [];
    const sending = Array.from({ length: 200 }, async (_, i) => {
      const ids = [`a${i}`, `b${i}`];
      await send(running.url!, ids);
      acknowledged.push(...ids);
      if (acknowledged.length === 100) running.process.kill('SIGKILL');
    });
    await Promise.allSettled(sending);
    await running.exited;
    expect(acknowledged.length).toBeGreaterThanOrEqual(100);
    const again = await start(['--bundle', bundle, '--events', log]);
    try {
      expect(await send(again.url!, acknowledged)).toMatchObject({ accepted: 0, duplicates: acknowledged.length });
    } finally {
      again.process.kill('SIGTERM');
      await again.exited;
    }
  });

  it('says which port is taken, and what to do', async () => {
    const taken = createServer({ bundle, port: server.port });
    await expect(taken).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringMatching(new RegExp(`port ${server.port} of 127\\.0\\.0\\.1 is in use.*--port`)),
    });
    await expect(createServer({ bundle, host: '192.0.2.1', port: 0, front: { open: true } })).rejects.toMatchObject({
      code: 'ADDRESS_UNKNOWN',
    });
    // The one that has it goes on.
    expect((await fetch(`${server.url}/healthz`)).status).toBe(200);
  });

  it('exits 2 on wrong usage, naming the option', async () => {
    for (const args of [[], ['--bundle', bundle, '--threads', 'many'], ['--bundle', bundle, '--colour']]) {
      const ended = await start(args);
      expect(await ended.exited).toBe(2);
      expect(ended.stderr()).toMatch(/larr-server: \w+: .*--(bundle|threads|colour)/);
    }
  });
});
