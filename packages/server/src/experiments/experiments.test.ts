// Experiments as the server runs them: over HTTP, with a model that the tests know, and an event log on the disk.
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createApp } from '../api/app.js';
import { DEFAULT_LIMITS } from '../api/state.js';
import { EventLog } from '../events/event-log.js';
import { createMetrics } from '../observability/metrics.js';
import { ModelRegistry } from '../ranking/model-registry.js';
import type { RankingModel } from '../ranking/ranking-model.js';
import { createServer } from '../server.js';
import { Experiments } from './experiments.js';

/** Ranks as asked; its name tells which bundle answered. */
const model = (name: string): RankingModel => ({
  identity: { name, bundle: name.padEnd(12, '0') },
  directory: '/nowhere',
  explainable: false,
  queuedRows: 0,
  broken: false,
  examples: [{ user: 'new user', scene: {}, candidates: ['a', 'b'] }],
  async rank({ candidates, k, by }) {
    const score = by === 'pCtr' ? 0.25 : 0.125;
    return {
      ranked: candidates.slice(0, k).map((poi, i) => ({ poi, rank: i + 1, score, pCtr: 0.25, pCtcvr: 0.125 })),
      fallbacks: { user: false, pois: [], scene: [], features: [] },
    };
  },
  async close() {},
});

let directory: string;
let app: FastifyInstance;
let models: ModelRegistry;
let log: EventLog;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-experiments-'));
  models = new ModelRegistry();
  models.install(model('old'));
  log = await EventLog.open(join(directory, 'events'));
  await open();
});
afterEach(async () => {
  await app.close();
  await log.close();
  rmSync(directory, { recursive: true, force: true });
});

async function open(): Promise<void> {
  const places = { directory, events: join(directory, 'events'), onExposures: () => {} };
  const experiments = await Experiments.open(places, log, models);
  const state = { models, events: log, experiments, stopping: false };
  app = createApp({ state, metrics: createMetrics(), limits: DEFAULT_LIMITS });
}

const call = async (method: 'GET' | 'PUT' | 'POST' | 'DELETE', url: string, payload?: object) => {
  const reply = await app.inject({ method, url, ...(payload === undefined ? {} : { payload }) });
  return { status: reply.statusCode, body: reply.json() };
};
const rank = async (user: string, more: object = {}) =>
  (await call('POST', '/v1/rank', { user, candidates: ['p', 'q', 'r'], ...more })).body;
const logged = () =>
  readdirSync(join(directory, 'events'))
    .sort()
    .flatMap((name) =>
      readFileSync(join(directory, 'events', name), 'utf8')
        .split('\n')
        .filter(Boolean),
    )
    .map((line) => JSON.parse(line));

const definition = {
  arms: [{ name: 'control' }, { name: 'short', bundle: 'new', parameters: { k: 1, by: 'pCtr' } }],
  durableExposures: true,
};

describe('an experiment over HTTP', () => {
  it('is made, started, given to users by arm, and logged once per user', async () => {
    expect((await call('PUT', '/v1/experiments/test', definition)).body.experiment.state).toBe('draft');
    const early = await call('POST', '/v1/experiments/test/start');
    expect(early).toMatchObject({ status: 409, body: { error: { code: 'EXPERIMENT_UNUSABLE' } } });
    models.install(model('new'), 'new');
    expect((await call('POST', '/v1/experiments/test/start')).body.experiment.state).toBe('running');
    const arms = new Map<string, string>();
    for (let u = 0; u < 40; u++) {
      for (let again = 0; again < 2; again++) {
        const reply = await rank(`u${u}`);
        const [{ arm }] = reply.experiments;
        arms.set(`u${u}`, arm);
        expect(reply.model.name).toBe(arm === 'short' ? 'new' : 'old');
        expect(reply.ranked).toHaveLength(arm === 'short' ? 1 : 3);
        expect(reply.ranked[0].score).toBe(arm === 'short' ? 0.25 : 0.125);
      }
    }
    expect(new Set(arms.values()).size).toBe(2);
    const exposures = logged();
    expect(exposures).toHaveLength(40);
    for (const { type, user, arm, experiment, bundle } of exposures) {
      expect({ type, arm, experiment }).toEqual({ type: 'exposure', arm: arms.get(user), experiment: 'test' });
      expect(bundle).toBe(arm === 'short' ? 'new000000000' : 'old000000000');
    }
    // Who asks for a bundle by name looks at it, and is in no experiment.
    const looked = await rank('looker', { bundle: 'new' });
    expect(looked.experiments).toEqual([]);
    expect(logged()).toHaveLength(40);
  });

  it('with durable exposures says so where the log cannot be written, and ranks when it can again', async () => {
    models.install(model('new'), 'new');
    await call('PUT', '/v1/experiments/test', definition);
    await call('POST', '/v1/experiments/test/start');
    const append = log.append.bind(log);
    log.append = () => Promise.reject(new Error('no space left'));
    const ask = () => call('POST', '/v1/rank', { user: 'u', candidates: ['p'] });
    for (const { status, body } of await Promise.all([ask(), ask()]))
      expect([status, body.error.code]).toEqual([503, 'EXPOSURE_NOT_WRITTEN']);
    log.append = append;
    expect((await ask()).status).toBe(200);
    expect(logged()).toHaveLength(1);
    await call('POST', '/v1/experiments/test/stop');
    await call('PUT', '/v1/experiments/lax', { ...definition, durableExposures: false });
    await call('POST', '/v1/experiments/lax/start');
    log.append = () => Promise.reject(new Error('no space left'));
    expect((await ask()).status).toBe(200);
    log.append = append;
  });

  it('after a restart gives the same arms, and writes no exposure twice', async () => {
    models.install(model('new'), 'new');
    await call('PUT', '/v1/experiments/test', definition);
    await call('POST', '/v1/experiments/test/start');
    const before = [];
    for (let u = 0; u < 10; u++) before.push((await rank(`u${u}`)).experiments);
    await app.close();
    await log.close();
    log = await EventLog.open(join(directory, 'events'));
    await open();
    for (let u = 0; u < 10; u++) expect((await rank(`u${u}`)).experiments).toEqual(before[u]);
    expect(logged()).toHaveLength(10);
  });

  it('rests for everybody while a bundle of one arm is not loaded: the arms stay comparable', async () => {
    models.install(model('new'), 'new');
    await call('PUT', '/v1/experiments/test', definition);
    await call('POST', '/v1/experiments/test/start');
    await models.unload('new');
    for (let u = 0; u < 20; u++) expect((await rank(`u${u}`)).experiments).toEqual([]);
    expect(logged()).toHaveLength(0);
    expect((await call('GET', '/v1/experiments')).body.experiments[0].missingBundles).toEqual(['new']);
  });

  it('says in words what cannot be done', async () => {
    const refused = async (...args: Parameters<typeof call>) => {
      const { status, body } = await call(...args);
      return [status, body.error.code, body.error.field];
    };
    expect(await refused('GET', '/v1/experiments/none')).toEqual([404, 'EXPERIMENT_UNKNOWN', undefined]);
    expect(await refused('PUT', '/v1/experiments/UPPER', definition)).toEqual([400, 'BODY_INVALID', 'name']);
    const twins = { arms: [{ name: 'a' }, { name: 'a' }] };
    expect(await refused('PUT', '/v1/experiments/twins', twins)).toEqual([400, 'BODY_INVALID', 'arms.1.name']);
    expect(await refused('PUT', '/v1/experiments/odd', { arms: [{ name: 'a' }] })).toEqual([
      400,
      'BODY_INVALID',
      'arms',
    ]);
    await call('PUT', '/v1/experiments/test', definition);
    expect(await refused('GET', '/v1/experiments/test/report')).toEqual([409, 'EXPERIMENT_STATE', undefined]);
    expect(await refused('POST', '/v1/experiments/test/stop')).toEqual([409, 'EXPERIMENT_STATE', undefined]);
    expect(await refused('PUT', '/v1/holdout', { share: 2 })).toEqual([400, 'BODY_INVALID', 'share']);
    const own = { id: 'larr:exposure:x', type: 'click', user: 'u', poi: 'p', time: '2026-01-01T00:00:00' };
    expect(await refused('POST', '/v1/events', { events: [own] })).toEqual([400, 'BODY_INVALID', 'events[0].id']);
    expect((await call('PUT', '/v1/holdout', { share: 1 })).body.holdout.share).toBe(1);
    expect((await call('DELETE', '/v1/experiments/test')).status).toBe(200);
    expect((await call('GET', '/v1/experiments')).body.experiments).toEqual([]);
  });

  it('reports what the log holds: days, figures and lifts, by the users who were exposed', async () => {
    await call('PUT', '/v1/experiments/test', { arms: [{ name: 'a' }, { name: 'b', parameters: { k: 2 } }] });
    await call('POST', '/v1/experiments/test/start');
    const events: object[] = [];
    const expected = { a: [0, 0, 0, 0], b: [0, 0, 0, 0] } as Record<string, number[]>;
    for (let u = 0; u < 60; u++) {
      const [{ arm }] = (await rank(`u${u}`)).experiments;
      const of = expected[arm]!;
      const time = '2026-01-10T12:00:00';
      for (let i = 0; i < 3; i++)
        events.push({ id: `i${u}.${i}`, type: 'impression', user: `u${u}`, poi: `p${i}`, time });
      if (u % 3 === 0) events.push({ id: `c${u}`, type: 'click', user: `u${u}`, poi: 'p0', time });
      if (u % 6 === 0) events.push({ id: `o${u}`, type: 'order', user: `u${u}`, poi: 'p0', time, value: 20.5 });
      [3, u % 3 === 0 ? 1 : 0, u % 6 === 0 ? 1 : 0, u % 6 === 0 ? 20.5 : 0].forEach((n, i) => {
        of[i]! += n;
      });
    }
    events.push({ id: 'stranger', type: 'click', user: 'nobody', poi: 'p0', time: '2026-01-10T12:00:00' });
    await log.append([]); // the exposures are on their way already; this comes back behind them
    expect((await call('POST', '/v1/events', { events })).body.accepted).toBe(events.length);
    // A line that is in the log twice, as after ids were forgotten, counts once.
    const again = logged().find(({ id }) => id === 'c0');
    appendFileSync(join(directory, 'events', 'events-00000001.jsonl'), `${JSON.stringify(again)}\n{"id":"torn","ty`);
    const { status, body } = await call('GET', '/v1/experiments/test/report');
    expect(status).toBe(200);
    expect(body.days).toHaveLength(1);
    const { figures, day } = body.days[0];
    expect(day).toBe(new Date().toISOString().slice(0, 10));
    for (const { arm, users, impressions, clicks, orders, gmv, metrics } of figures.arms) {
      expect([impressions, clicks, orders, gmv]).toEqual(expected[arm]);
      expect(metrics.ctr.value).toBeCloseTo(clicks / impressions, 12);
      expect(metrics.gmv.value).toBeCloseTo(gmv / users, 12);
      expect(metrics.ctr.standardError).toBeGreaterThan(0);
    }
    expect(figures.arms[0].users + figures.arms[1].users).toBe(60);
    expect(figures.sampleRatio.alarm).toBe(false);
    const ctr = figures.comparisons.find(({ metric }: { metric: string }) => metric === 'ctr');
    expect(ctr.treatment).toBe('b');
    expect(ctr.effect.sequential.difference[0]).toBeLessThan(ctr.effect.fixed.difference[0]);
    expect(ctr.cuped).toBeNull();
    expect(body.verdicts).toMatchObject([{ treatment: 'b', metric: 'ctr', outcome: 'open' }]);
    expect(body.usersNeeded).toBeGreaterThan(1000);
    expect(body.unreadableLines).toBe(0);
  });

  it('takes what users did before the start as the covariate, and nothing between start and exposure', async () => {
    const day = 86_400_000;
    const past = (days: number) => new Date(Date.now() - days * day).toISOString();
    const event = (id: string, user: string, received: string) => ({
      id,
      type: 'click',
      user,
      poi: 'p',
      time: received,
      received,
    });
    const users = Array.from({ length: 30 }, (_, u) => `u${u}`);
    await log.append(
      users.flatMap((user, u) => Array.from({ length: u % 5 }, (_, i) => event(`before-${user}-${i}`, user, past(3)))),
    );
    await log.append([event('too old', 'u0', past(30))]);
    await log.append(users.map((user) => ({ ...event(`seen-${user}`, user, past(3)), type: 'impression' })));
    await call('PUT', '/v1/experiments/test', { arms: [{ name: 'a' }, { name: 'b' }], prePeriodDays: 14 });
    await call('POST', '/v1/experiments/test/start');
    await new Promise((resolve) => setTimeout(resolve, 5));
    await log.append([event('between', 'u0', new Date().toISOString())]);
    await new Promise((resolve) => setTimeout(resolve, 5));
    for (const user of users) await rank(user);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const now = new Date().toISOString();
    await log.append(users.map((user) => ({ ...event(`after-${user}`, user, now), type: 'impression' })));
    await log.append(users.flatMap((user, u) => (u % 5 > 1 ? [event(`click-${user}`, user, now)] : [])));
    const { days } = (await call('GET', '/v1/experiments/test/report')).body;
    const { figures } = days.at(-1);
    expect(figures.arms[0].clicks + figures.arms[1].clicks).toBe(18);
    const ctr = figures.comparisons.find(({ metric }: { metric: string }) => metric === 'ctr');
    // 0 … 4 clicks before go with 0, 0, 1, 1, 1 after: r² = .75 in all, a little else within the arms
    expect(ctr.cuped.varianceReduction).toBeGreaterThan(0.6);
    expect(ctr.cuped.varianceReduction).toBeLessThan(0.9);
  });

  it('starts, pauses and goes without a body, whatever media type the request names', async () => {
    await call('PUT', '/v1/experiments/test', { arms: [{ name: 'a' }, { name: 'b' }] });
    const bare = async (method: 'POST' | 'PUT' | 'DELETE', url: string) =>
      (await app.inject({ method, url, headers: { 'content-type': 'application/json' }, payload: '' })).statusCode;
    for (const step of ['start', 'pause', 'stop']) expect(await bare('POST', `/v1/experiments/test/${step}`)).toBe(200);
    expect(await bare('DELETE', '/v1/experiments/test')).toBeLessThan(300);
    expect(await bare('PUT', '/v1/experiments/test')).toBe(400);
  });

  it('lines of the log that cannot be read are counted in the report, and left out of it', async () => {
    await call('PUT', '/v1/experiments/test', { arms: [{ name: 'a' }, { name: 'b' }], durableExposures: true });
    await call('POST', '/v1/experiments/test/start');
    for (let u = 0; u < 10; u++) await rank(`u${u}`);
    const received = new Date().toISOString();
    const order = (id: string, more: object) => JSON.stringify({ id, type: 'order', user: 'u0', received, ...more });
    const file = join(directory, 'events', 'events-00000001.jsonl');
    const bad = ['nonsense', '[1]', order('x', { value: 'ten' }), order('y', { received: 'today' }), '{"id":"cut'];
    const lines = [order('1', { value: 5 }), ...bad, order('2', { value: 7.5 }), '{"id":"torn'];
    appendFileSync(file, lines.join('\n'));
    const { status, body } = await call('GET', '/v1/experiments/test/report');
    expect([status, body.unreadableLines]).toEqual([200, bad.length]);
    const arms: { orders: number; gmv: number; users: number }[] = body.days.at(-1).figures.arms;
    const sum = (of: 'orders' | 'gmv' | 'users') => arms.reduce((total, arm) => total + arm[of], 0);
    expect([sum('users'), sum('orders'), sum('gmv')]).toEqual([10, 2, 12.5]);
  });

  it('a server without an event log takes neither experiments nor sinks, and no sink that it cannot read', async () => {
    const options = { bundle: directory, port: 0 };
    const experiments = join(directory, 'book');
    await expect(createServer({ ...options, experiments })).rejects.toMatchObject({ code: 'EVENTS_MISSING' });
    const sinks = ['redis://127.0.0.1'];
    await expect(createServer({ ...options, sinks })).rejects.toMatchObject({ code: 'EVENTS_MISSING' });
    const wrong = { ...options, events: join(directory, 'other'), sinks: ['carrier-pigeon://loft'] };
    await expect(createServer(wrong)).rejects.toMatchObject({ code: 'SINK_INVALID' });
  });
});
