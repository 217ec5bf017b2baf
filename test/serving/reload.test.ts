import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type RankReply, type RunningServer } from '@larr/server';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset } from './tiny-dataset.js';

let directory: string;
let server: RunningServer;
let digests: Record<'larr' | 'ple', string>;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-reload-'));
  await prepareTinyDataset(directory, { history: false });
  mkdirSync(join(directory, 'bundles'));
  for (const model of ['larr', 'ple']) await exportTinyBundle(directory, model, undefined, place(model));
  cpSync(place('ple'), place('damaged'), { recursive: true });
  const bytes = readFileSync(join(place('damaged'), 'ranker.onnx'));
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(join(place('damaged'), 'ranker.onnx'), bytes);
  server = await createServer({ bundle: place('larr'), bundles: join(directory, 'bundles'), port: 0 });
  await server.ready;
  const larr = server.model!.bundle;
  digests = { larr, ple: (await admin('reload', { bundle: 'ple', alias: 'other' })).body.model!.bundle };
}, 120_000);
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

const place = (name: string) => join(directory, 'bundles', name);

interface AdminReply {
  model?: { bundle: string };
  error?: { code: string; message: string };
  bundles?: {
    alias: string;
    model: { bundle: string };
    path: string;
    previous: string | null;
    failure: object | null;
  }[];
}

async function admin(what: string, body?: object): Promise<{ status: number; body: AdminReply }> {
  const reply = await fetch(`${server.url}/v1/admin/${what}`, {
    method: body === undefined ? 'GET' : 'POST',
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return { status: reply.status, body: (await reply.json()) as AdminReply };
}

async function rank(user: string, bundle?: string): Promise<RankReply> {
  const reply = await fetch(`${server.url}/v1/rank`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      user,
      scene: { time: '2026-01-05T12:00:00', weather: 'sunny' },
      candidates: Array.from({ length: 30 }, (_, i) => `p${i}`),
      ...(bundle === undefined ? {} : { bundle }),
    }),
  });
  expect(reply.status).toBe(200);
  return (await reply.json()) as RankReply;
}

const answer = ({ model, ranked }: RankReply) => ({
  model,
  scores: ranked.map(({ poi, pCtr }) => [poi, pCtr.toFixed(5)]),
});

it('reloads under load: no request is dropped, and each has the scores of the one bundle that it names', async () => {
  const users = ['u1', 'u2', 'u3', 'nobody'];
  const expected = new Map<string, object>();
  for (const user of users) {
    expected.set(`${digests.larr} ${user}`, answer(await rank(user)));
    expected.set(`${digests.ple} ${user}`, answer(await rank(user, 'other')));
  }
  let asking = true;
  const seen = new Set<string>();
  const callers = Array.from({ length: 6 }, async (_, i) => {
    while (asking) {
      const user = users[i % users.length]!;
      const reply = await rank(user);
      seen.add(reply.model.bundle);
      expect(answer(reply)).toEqual(expected.get(`${reply.model.bundle} ${user}`));
    }
  });
  for (const bundle of ['ple', 'larr', 'ple', 'larr'] as const) {
    const { status, body } = await admin('reload', { bundle });
    expect([status, body.model?.bundle]).toEqual([200, digests[bundle]]);
  }
  asking = false;
  await Promise.all(callers);
  expect(seen).toEqual(new Set(Object.values(digests)));
});

it('stays with the bundle that answers where another does not load, says why without a path, and rolls back', async () => {
  await admin('reload', { bundle: 'ple' });
  const damaged = await admin('reload', { bundle: 'damaged' });
  expect([damaged.status, damaged.body.error?.code]).toEqual([409, 'BUNDLE_FILE_CHANGED']);
  expect(damaged.body.error?.message).toContain('damaged');
  expect(JSON.stringify(damaged.body)).not.toContain(directory);
  expect((await rank('u1')).model.bundle).toBe(digests.ple);
  const [current] = (await admin('state')).body.bundles!;
  expect(current).toMatchObject({
    alias: 'current',
    path: 'ple',
    model: { bundle: digests.ple },
    previous: digests.larr,
    failure: { code: 'BUNDLE_FILE_CHANGED' },
  });
  expect(
    (await (await fetch(`${server.url}/metrics`)).text()).match(/larr_reloads_total\{[^}]*failed[^}]*\} (\d+)/)?.[1],
  ).toBe('1');
  expect((await admin('rollback', {})).body.model?.bundle).toBe(digests.larr);
  expect((await rank('u1')).model.bundle).toBe(digests.larr);
});

it('loads nothing from outside the directory that it was given', async () => {
  for (const bundle of ['../bundles/ple/../../data', '..', '/etc', 'nothing', '.']) {
    const { status, body } = await admin('reload', { bundle });
    expect([status, body.error?.code]).toEqual([400, 'BUNDLE_UNKNOWN']);
  }
});

it('unloads an alias, which no request gets any more, and never the current bundle', async () => {
  await admin('reload', { bundle: 'ple', alias: 'gone' });
  const unload = (alias: string) => fetch(`${server.url}/v1/admin/bundles/${alias}`, { method: 'DELETE' });
  expect((await unload('gone')).status).toBe(200);
  expect((await unload('gone')).status).toBe(404);
  expect((await unload('current')).status).toBe(409);
  const reply = await fetch(`${server.url}/v1/rank`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: 'u1', candidates: ['p1'], bundle: 'gone' }),
  });
  expect([reply.status, ((await reply.json()) as AdminReply).error?.code]).toEqual([400, 'BUNDLE_UNKNOWN']);
});
