// The whole way round: a server ranks, what happens is posted to it, the log becomes a table, `prepare` reads it, a model trains on it.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DuckdbSession, generateWorld, literal, openDataset, WorldReplay, worldOf } from '@larr/core';
import { createServer } from '@larr/server';
import { loadTrainingData, trainModel } from '@larr/trainer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { larr } from '../larr.js';
import { exportTinyBundle } from './tiny-bundle.js';

const VISITS = 60;

let directory: string;
let data: string;
let bundle: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-loop-'));
  data = join(directory, 'data');
  await generateWorld({ scale: 'tiny', seed: 2, output: data });
  bundle = (await exportTinyBundle(directory, 'ple')).bundle;
}, 120_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('serve, log, compact, prepare, train', () => {
  it('what was shown and done on the days after the log becomes rows that a model learns from', async () => {
    const log = join(directory, 'log');
    const world = await WorldReplay.open({ ...(await worldOf(data)), days: 2 });
    const server = await createServer({ bundle, port: 0, events: log, console: false });
    const post = async (path: string, body: object) => {
      const reply = await fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      });
      expect(reply.status).toBe(200);
      return (await reply.json()) as { requestId: string; ranked: { poi: string }[]; accepted: number };
    };
    let impressions = 0;
    let clicks = 0;
    let orders = 0;
    try {
      await server.ready;
      for (let day = 0; day < 2; day++) {
        for (const [i, second] of world.visits(day, VISITS).entries()) {
          const index = day * VISITS + i;
          const { user, shown } = world.visit(index, day, second);
          if (shown.length === 0) continue;
          const scene = world.scene();
          const of = { user: String(user), time: String(scene.time) };
          const { requestId, ranked } = await post('/v1/rank', {
            user: of.user,
            scene,
            candidates: shown.map(String),
            k: 6,
          });
          const list = ranked.map(({ poi }) => Number(poi));
          const wanted = world.show(list);
          const chance = world.chance(1, index);
          const events = list.flatMap((poi, position): object[] => {
            const about = { ...of, poi: String(poi), requestId };
            const id = `${index}.${position}`;
            impressions++;
            // The scene comes with the first of a list.
            const seen = {
              ...about,
              id,
              type: 'impression',
              position: position + 1,
              ...(position === 0 ? { scene } : {}),
            };
            if (chance.uniform() >= wanted.click[position]! * 3) return [seen];
            clicks++;
            const click = { ...about, id: `${id}.click`, type: 'click' };
            if (chance.uniform() >= wanted.order[position]! * 2) return [seen, click];
            orders++;
            return [seen, click, { ...about, id: `${id}.order`, type: 'order', value: world.price(poi) }];
          });
          expect((await post('/v1/events', { events })).accepted).toBe(events.length);
          if (i === 0) expect((await post('/v1/events', { events })).accepted).toBe(0);
        }
      }
    } finally {
      await server.close();
    }
    expect(orders).toBeGreaterThan(0);

    const compacted = join(directory, 'compacted');
    const compact = ['events', 'compact', '--in', log, '--out', compacted, '--schema', join(data, 'schema.json')];
    const first = await larr(...compact, '--history', '--json');
    expect(first.stderr).not.toContain('larr:');
    expect(JSON.parse(first.stdout)).toMatchObject({ days: 2, impressions, clicks, orders, unattributed: 0, open: [] });
    expect(JSON.parse((await larr(...compact, '--history', '--json')).stdout).written).toEqual([]);
    expect(readdirSync(join(compacted, 'events')).sort()).toEqual([
      `${world.date(0)}.parquet`,
      `${world.date(1)}.parquet`,
    ]);

    const again = join(directory, 'again');
    const prepared = await larr('prepare', '--schema', join(compacted, 'schema.json'), '--out', again, '--json');
    expect(prepared.code, prepared.stderr).toBe(0);
    const { manifest } = await openDataset(data);
    const { parts } = manifest.splits.time!;
    const before = Object.values(parts).reduce((sum, { rows }) => sum + rows, 0);
    const now = (await openDataset(again)).manifest.splits.time!.parts;
    expect(Object.values(now).reduce((sum, { rows }) => sum + rows, 0)).toBe(before + impressions);
    // The last day is the test part: the second day that was served.
    expect(now.test.rows + now.validation.rows).toBe(impressions);
    expect(now.test.clicks + now.validation.clicks).toBe(clicks);
    expect(now.test.orders! + now.validation.orders!).toBe(orders);

    using db = await DuckdbSession.open();
    const [row] = await db.rows<{ weather: bigint; city: bigint; distance: bigint }>(
      `SELECT count(*) FILTER (cat_weather > 0) AS weather, count(*) FILTER (cat_city > 0) AS city, count(*) FILTER (dense_distance > 0) AS distance
       FROM read_parquet(${literal(join(again, 'splits', 'time', 'test', '*.parquet'))})`,
    );
    // What the server was told of the moment is there, in every row of the day.
    expect(Object.values(row!).map(Number)).toEqual([now.test.rows, now.test.rows, now.test.rows]);

    const loaded = await loadTrainingData({ data: again });
    try {
      const config = { epochs: 1, batchSize: 512, embeddingDim: 4, hidden: [8], ple: { levels: [[8]], tower: [4] } };
      const result = await trainModel(loaded, { model: 'ple', out: join(directory, 'run-again'), seed: 1, config });
      expect(result.epochs).toBe(1);
    } finally {
      loaded.dispose();
    }
  }, 120_000);
});

describe('an experiment between two bundles', () => {
  it('loads the other bundle by its name, gives users the same arms after a restart, and reports them', async () => {
    const options = {
      ...{ bundle, bundles: directory, port: 0, console: false },
      ...{ events: join(directory, 'experiment-log'), experiments: join(directory, 'book') },
    };
    const run = async <T>(work: (ask: (method: string, path: string, body?: object) => Promise<T>) => Promise<T>) => {
      const server = await createServer(options);
      try {
        await server.ready;
        return await work(async (method, path, body) => {
          const reply = await fetch(`${server.url}/v1/${path}`, {
            method,
            ...(body === undefined
              ? {}
              : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
          });
          return (await reply.json()) as T;
        });
      } finally {
        await server.close();
      }
    };
    // biome-ignore lint/suspicious/noExplicitAny: replies of several routes
    type Reply = any;
    const rankAll = async (ask: (method: string, path: string, body?: object) => Promise<Reply>) => {
      const arms: string[] = [];
      for (let user = 0; user < 30; user++) {
        const { experiments } = await ask('POST', 'rank', { user: String(user), candidates: ['1', '2', '3'] });
        arms.push(experiments[0]?.arm);
      }
      return arms;
    };
    const before = await run<Reply>(async (ask) => {
      const definition = {
        arms: [{ name: 'now' }, { name: 'other', bundle: 'bundle-ple', parameters: { by: 'pCtr' } }],
      };
      await ask('PUT', 'experiments/real', definition);
      expect((await ask('POST', 'experiments/real/start')).experiment.state).toBe('running');
      return rankAll(ask);
    });
    expect(new Set(before)).toEqual(new Set(['now', 'other']));
    const after = await run<Reply>(async (ask) => {
      // The other bundle loads behind the first; until it is there nobody is in the experiment.
      for (let wait = 0; wait < 200 && (await ask('GET', 'experiments/real')).missingBundles.length > 0; wait++)
        await new Promise((resolve) => setTimeout(resolve, 50));
      const arms = await rankAll(ask);
      const { days } = await ask('GET', 'experiments/real/report');
      const users = days.at(-1).figures.arms.map(({ users }: { users: number }) => users);
      expect(users).toEqual(['now', 'other'].map((name) => before.filter((arm: string) => arm === name).length));
      return arms;
    });
    expect(after).toEqual(before);
    const lines = readFileSync(join(options.events, 'events-00000001.jsonl'), 'utf8').trim().split('\n');
    expect(lines).toHaveLength(30);
  }, 60_000);
});

describe('larr abtest', () => {
  it('of a bundle with itself finds the truth to be nothing, gives the same figures again, and leaves a report', async () => {
    const out = join(directory, 'abtest');
    const args = [
      'abtest',
      '--data',
      data,
      '--a',
      bundle,
      '--b',
      bundle,
      '--days',
      '2',
      '--visits',
      '80',
      '--candidates',
      '20',
    ];
    const { code, stdout, stderr } = await larr(...args, '--out', out, '--json');
    expect(code, stderr).toBe(0);
    const result = JSON.parse(stdout);
    expect(result.rows.map(({ metric }: { metric: string }) => metric)).toEqual(['ctr', 'cvr', 'ctcvr', 'gmv']);
    for (const { truth, a, b, interval } of result.rows) {
      expect(truth).toBe(0);
      expect(a).toBeGreaterThan(0);
      expect(b).toBeGreaterThan(0);
      if (interval !== null) expect(interval[0]).toBeLessThan(interval[1]);
    }
    expect(result.sameAtPosition).toBe(1);
    expect(result.days).toHaveLength(2);
    expect(result.arms.a.users + result.arms.b.users).toBeLessThanOrEqual(160);
    expect(existsSync(join(out, 'run.json'))).toBe(true);
    const page = readFileSync(join(out, 'report.html'), 'utf8');
    expect(page).toContain('lift up to each day');
    expect(page).not.toContain('NaN');
    const again = JSON.parse((await larr(...args, '--json')).stdout);
    expect(again.rows).toEqual(result.rows);
  }, 120_000);

  it('refuses data that are no built-in world, and a bundle of other data', async () => {
    const other = join(directory, 'other');
    await generateWorld({ scale: 'tiny', seed: 2, output: other, categoryGranularity: 'coarse' });
    const wrong = await larr('abtest', '--data', other, '--a', bundle, '--b', bundle, '--json');
    expect([wrong.code, JSON.parse(wrong.stdout).error.code]).toEqual([2, 'BUNDLE_OTHER_DATA']);
  }, 60_000);
});
