// What a server knows of users and POIs: scored, recalled, changed while it runs, and gone with the store for a while.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSafetensors, writeSafetensors } from '@larr/core';
import { createServer, type RankReply, type RunningServer } from '@larr/server';
import { exportBundle } from '@larr/trainer';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { redisInstalled, startRedis } from '../../packages/server/src/store/redis.fixture.js';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset } from './tiny-dataset.js';

let directory: string;
let bundle: string;
let server: RunningServer;
const candidates = Array.from({ length: 12 }, (_, i) => `p${i}`);
const scene = { time: '2026-01-05T12:00:00', weather: 'sunny', latitude: 22.5, longitude: 114 };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-features-'));
  await prepareTinyDataset(directory, { history: true });
  const exported = await exportTinyBundle(directory, 'larr');
  expect(exported.recall?.pois).toBe(30);
  bundle = exported.bundle;
  server = await createServer({ bundle, port: 0, unseen: join(directory, 'unseen.jsonl') });
  await server.ready;
}, 120_000);
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Reply extends RankReply {
  error?: { code: string; field?: string };
  results: { pCtr: number[]; pCtcvr: number[] | null; fallbacks: RankReply['fallbacks'] }[];
  pois: { poi: string; similarity: number }[];
  matched: { field: string; text: string }[];
  common: string[];
  unmatched: string[];
  recall: { matched: { text: string }[] };
  texts: { field: string; text: string }[];
}

async function ask(address: string, body: object, method = 'POST', url = server.url) {
  const answer = await fetch(`${url}/v1/${address}`, {
    method,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: answer.status, reply: (await answer.json()) as Reply };
}

describe('score', () => {
  it('gives many users and scenes the probabilities that rank gives each alone, in the order they were given', async () => {
    const requests = ['u1', 'u2', 'nobody'].flatMap((user) =>
      ['sunny', 'heavy rain'].map((weather) => ({ user, scene: { ...scene, weather }, candidates })),
    );
    const { reply } = await ask('score', { requests });
    for (const [i, request] of requests.entries()) {
      const { ranked } = (await ask('rank', request)).reply;
      const byPoi = new Map(ranked.map((one) => [one.poi, one]));
      expect(reply.results[i]!.fallbacks.user).toBe(request.user === 'nobody');
      for (const [j, poi] of candidates.entries()) {
        expect(reply.results[i]!.pCtr[j]).toBeCloseTo(byPoi.get(poi)!.pCtr, 6);
        expect(reply.results[i]!.pCtcvr![j]).toBeCloseTo(byPoi.get(poi)!.pCtcvr!, 6);
      }
    }
  });

  it('refuses more contexts or candidates than one call may have, and names the field', async () => {
    const request = { user: 'u1', candidates: ['p1'] };
    const many = await ask('score', { requests: Array.from({ length: 65 }, () => request) });
    expect([many.status, many.reply.error?.field]).toEqual([400, 'requests']);
    const large = { user: 'u1', candidates: Array.from({ length: 1900 }, (_, i) => `x${i}`) };
    const rows = await ask('score', { requests: Array.from({ length: 5 }, () => large) });
    expect([rows.status, rows.reply.error?.field]).toEqual([400, 'requests']);
    const typo = await ask('score', { requests: [request, { ...request, scene: { wether: 'sunny' } }] });
    expect([typo.status, typo.reply.error?.code]).toEqual([400, 'SCENE_FIELD_UNKNOWN']);
  });
});

describe('recall', () => {
  it('finds the POIs that exact search over the bundle’s vectors finds, and says which words it knew', async () => {
    const { reply } = await ask('recall', { text: 'A HOTPOT place, mon ami', k: 7 });
    expect([...reply.common, ...reply.unmatched].sort()).toEqual(['a', 'ami', 'mon', 'place']);
    expect(reply.unmatched).toEqual(expect.arrayContaining(['mon', 'ami']));
    expect(reply.matched.map(({ text }) => text)).toContain('hotpot');
    const { tensors: poiTensors } = await readSafetensors(join(bundle, 'recall/pois.safetensors'));
    const { tensors: termTensors } = await readSafetensors(join(bundle, 'recall/terms.safetensors'));
    const { poi: fields } = JSON.parse(readFileSync(join(bundle, 'recall/terms.json'), 'utf8')) as {
      poi: { field: string; terms: string[] }[];
    };
    const terms = fields.flatMap(({ field, terms: own }) => own.map((term) => ({ field, text: term })));
    const pois = poiTensors.vectors!;
    const d = pois.shape[1]!;
    const row = (data: Float32Array, i: number) => Array.from(data.subarray(i * d, (i + 1) * d));
    const query = reply.matched
      .map(({ field, text }) => terms.findIndex((term) => term.field === field && term.text === text))
      .map((i) => row(termTensors.terms!.data as Float32Array, i))
      .reduce((sum, vector) => sum.map((x, i) => x + vector[i]!));
    const length = Math.hypot(...query);
    const cosines = Array.from({ length: pois.shape[0]! }, (_, poi) => ({
      poi: `p${poi}`,
      similarity: row(pois.data as Float32Array, poi).reduce((sum, x, i) => sum + (x * query[i]!) / length, 0),
    })).sort((a, b) => b.similarity - a.similarity);
    const byNumber = (id: string) => cosines.find(({ poi }) => poi === id)!;
    expect(reply.pois).toHaveLength(7);
    reply.pois.forEach(({ poi, similarity }, i) => {
      expect(similarity).toBeCloseTo(cosines[i]!.similarity, 5);
      expect(similarity).toBeCloseTo(byNumber(poi).similarity, 5);
    });
  });

  it('goes by scene, by a user’s history, and within columns; says where nothing is known', async () => {
    const byScene = await ask('recall', { scene, k: 30 });
    expect(byScene.reply.matched).toContainEqual({ field: 'weather', text: 'sunny' });
    const byUser = await ask('recall', { user: 'u1', k: 30 });
    expect(byUser.reply.pois).toHaveLength(30);
    expect(byUser.reply.pois.map(({ poi }) => poi)).not.toEqual(byScene.reply.pois.map(({ poi }) => poi));
    const within = await ask('recall', { text: 'hotpot', k: 30, within: { cuisine: 'Pizza' } });
    expect(within.reply.pois.length).toBeGreaterThan(0);
    expect(within.reply.pois.length).toBeLessThan(30);
    const refused: [object, string][] = [
      [{ text: 'xyzzy' }, 'RECALL_EMPTY'],
      [{}, 'RECALL_EMPTY'],
      [{ user: 'nobody' }, 'USER_WITHOUT_HISTORY'],
      [{ user: 'nobody', text: 'xyzzy' }, 'RECALL_EMPTY'],
      [{ text: 'hotpot', within: { colour: 'red' } }, 'COLUMN_UNKNOWN'],
    ];
    for (const [body, code] of refused) {
      const { status, reply } = await ask('recall', body);
      expect([status, reply.error?.code]).toEqual([400, code]);
    }
  });

  it('gives a ranking its candidates', async () => {
    const { reply } = await ask('rank', { user: 'u1', scene, recall: { text: 'hotpot', k: 5 } });
    const recalled = (await ask('recall', { text: 'hotpot', k: 5 })).reply.pois.map(({ poi }) => poi);
    expect(reply.ranked.map(({ poi }) => poi).sort()).toEqual(recalled.sort());
    expect(reply.recall.matched.map(({ text }) => text)).toContain('hotpot');
    const both = await ask('rank', { user: 'u1', candidates: ['p1'], recall: { k: 5 } });
    expect([both.status, both.reply.error?.field]).toEqual([400, 'candidates']);
    const neither = await ask('rank', { user: 'u1' });
    expect([neither.status, neither.reply.error?.field]).toEqual([400, 'candidates']);
  });
});

it('lists scene texts that it has no embedding for, once each', async () => {
  const rain = { user: 'u1', scene: { ...scene, weather: 'raining frogs' }, candidates: ['p1'] };
  await ask('rank', rain);
  await ask('score', { requests: [rain] });
  const listed = await fetch(`${server.url}/v1/admin/unseen-texts`);
  expect(((await listed.json()) as Reply).texts).toEqual([{ field: 'weather', text: 'raining frogs' }]);
  await vi.waitFor(
    () =>
      expect(readFileSync(join(directory, 'unseen.jsonl'), 'utf8')).toBe(
        '{"field":"weather","text":"raining frogs"}\n',
      ),
    5000,
  );
});

it('knows a text that was embedded after the model was trained, from the next bundle on', async () => {
  const vectors = join(directory, 'vectors');
  const frogs = Float32Array.from({ length: 16 }, (_, i) => Math.cos(i * 3.7));
  // what `larr embed --texts` leaves there
  writeFileSync(join(vectors, 'later.json'), JSON.stringify([{ field: 'weather', text: 'raining frogs' }]));
  await writeSafetensors(join(vectors, 'later.safetensors'), { embeddings: { shape: [1, 16], data: frogs } });
  const out = join(directory, 'bundle-later');
  await exportBundle({ run: join(directory, 'run-larr'), data: join(directory, 'data'), out });
  const later = await createServer({ bundle: out, port: 0 });
  try {
    await later.ready;
    const rank = async (weather: string) => {
      const { reply } = await ask(
        'rank',
        { user: 'u1', scene: { ...scene, weather }, candidates, explain: true },
        'POST',
        later.url,
      );
      return reply;
    };
    const [frogs, missing] = [await rank('raining frogs'), await rank('')];
    expect(frogs.fallbacks.scene).toEqual([]);
    expect(Object.keys(frogs.ranked[0]!.attention!)).toContain('weather');
    expect(Object.keys(missing.ranked[0]!.attention!)).not.toContain('weather');
    // those that were known before are what they were
    const before = (await ask('rank', { user: 'u1', scene, candidates })).reply;
    const after = (await ask('rank', { user: 'u1', scene, candidates }, 'POST', later.url)).reply;
    expect(after.ranked.map(({ poi }) => poi)).toEqual(before.ranked.map(({ poi }) => poi));
    for (const [i, { pCtr }] of after.ranked.entries()) expect(pCtr).toBeCloseTo(before.ranked[i]!.pCtr, 6);
  } finally {
    await later.close();
  }
});

describe('features that change while the server runs', () => {
  const ctr = async (body: object, url = server.url) => {
    const { ranked } = (await ask('rank', body, 'POST', url)).reply;
    return ranked[0]!.pCtr;
  };

  it('a user’s reach the next request', async () => {
    const request = { user: 'u3', scene, candidates: ['p3'] };
    const before = await ctr(request);
    const other = await ask('admin/store/users', { rows: { u3: { home_city: 'Chengdu', age: '99' } } }, 'PATCH');
    expect(other.status).toBe(200);
    expect(await ctr(request)).not.toBeCloseTo(before, 5);
    const unknown = await ask('admin/store/users', { rows: { u3: { shoe_size: 43 } } }, 'PATCH');
    expect([unknown.status, unknown.reply.error?.code]).toEqual([400, 'COLUMN_UNKNOWN']);
  });

  it('a POI’s reach every server of the store in about a second, and one that starts later, and new POIs are known', async () => {
    const store = join(directory, 'store');
    const first = await createServer({ bundle, port: 0, store });
    const second = await createServer({ bundle, port: 0, store });
    try {
      await Promise.all([first.ready, second.ready]);
      const request = { user: 'u1', scene, candidates: ['p4'] };
      const before = await ctr(request, first.url);
      const rows = {
        p4: { price: '900', latitude: '10', longitude: '10' },
        brandNew: { price: '12', cuisine: 'Pizza' },
      };
      await ask('admin/store/pois', { rows }, 'PATCH', first.url);
      for (const { url } of [first, second]) {
        await vi.waitFor(async () => expect(await ctr(request, url)).not.toBeCloseTo(before, 5), 5000);
        const known = await ask('rank', { ...request, candidates: ['brandNew', 'nowhere'] }, 'POST', url);
        expect(known.reply.fallbacks.pois).toEqual(['nowhere']);
      }
      const third = await createServer({ bundle, port: 0, store });
      await third.ready;
      expect(await ctr(request, third.url)).toBeCloseTo(await ctr(request, first.url), 6);
      await third.close();
    } finally {
      await Promise.all([first.close(), second.close()]);
    }
  });
});

describe.runIf(redisInstalled)('a server whose Redis goes away', () => {
  it('ranks everyone as unknown meanwhile, at once, says and counts it, and knows them again by itself', async () => {
    const redis = await startRedis();
    const other = await createServer({ bundle, port: 0, store: redis.url });
    try {
      await other.ready;
      const request = { user: 'u1', scene, candidates };
      const rank = async () => (await ask('rank', request, 'POST', other.url)).reply;
      const usual = await rank();
      expect(usual.fallbacks).toMatchObject({ user: false });
      expect((await ask('rank', request)).reply.ranked.map(({ pCtr }) => pCtr.toFixed(5))).toEqual(
        usual.ranked.map(({ pCtr }) => pCtr.toFixed(5)),
      );
      await redis.kill();
      const started = performance.now();
      for (let i = 0; i < 20; i++) expect((await rank()).fallbacks).toMatchObject({ user: true, store: true });
      expect(performance.now() - started).toBeLessThan(3000);
      const metrics = await (await fetch(`${other.url}/metrics`)).text();
      expect(metrics).toMatch(/larr_fallbacks_total\{kind="store"\} 20/);
      const change = await ask('admin/store/users', { rows: { u1: { age: '3' } } }, 'PATCH', other.url);
      expect([change.status, change.reply.error?.code]).toEqual([503, 'STORE_AWAY']);
      await redis.start();
      await vi.waitFor(async () => expect(await rank()).toMatchObject({ fallbacks: { user: false } }), 10_000);
      expect((await rank()).ranked).toEqual(usual.ranked);
    } finally {
      await other.close();
      await redis.remove();
    }
  });

  it('starts without it, and loads its users once it is there', async () => {
    const redis = await startRedis();
    await redis.kill();
    const other = await createServer({ bundle, port: 0, store: redis.url });
    try {
      await other.ready;
      const user = async () =>
        (await ask('rank', { user: 'u1', scene, candidates: ['p1'] }, 'POST', other.url)).reply.fallbacks.user;
      expect(await user()).toBe(true);
      await redis.start();
      await vi.waitFor(async () => expect(await user()).toBe(false), 10_000);
    } finally {
      await other.close();
      await redis.remove();
    }
  });
});
