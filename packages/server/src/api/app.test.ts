import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { EventLog } from '../events/event-log.js';
import { createMetrics } from '../observability/metrics.js';
import { ModelRegistry } from '../ranking/model-registry.js';
import type { RankingModel } from '../ranking/ranking-model.js';
import { createApp } from './app.js';
import { ApiError } from './errors.js';
import { type AppState, DEFAULT_LIMITS } from './state.js';

/** A model that ranks by the length of the id: what the HTTP layer does is the same for every model. */
const byLength: RankingModel = {
  identity: { name: 'by-length', bundle: '0123456789ab' },
  directory: '/nowhere',
  explainable: false,
  queuedRows: 0,
  drift: () => [],
  store: null,
  poiTable: { pois: 0, bytes: 0 },
  ranker: { kind: 'onnx', bytes: 0 },
  score: async () => [],
  poiNumber: () => null,
  checkScene(scene) {
    if (scene.temp_c === 'hot') {
      throw new ApiError(400, 'SCENE_VALUE_INVALID', 'scene.temp_c: a number is expected', 'scene.temp_c');
    }
  },
  recall: async () => ({ pois: [], matched: [], common: [], unmatched: [] }),
  broken: false,
  examples: [{ user: 'u1', scene: {}, candidates: ['a', 'bb'] }],
  async rank({ candidates, user, k }) {
    if (user === 'explode') throw new Error('secret at /srv/model/weights.bin');
    if (user === 'overflow') {
      const none = { score: Number.NaN, pCtr: Number.NaN, pCtcvr: null };
      return {
        ranked: candidates.map((poi, i) => ({ poi, rank: i + 1, ...none })),
        fallbacks: { user: false, pois: [], scene: [], features: [] },
      };
    }
    const ranked = [...candidates].sort((a, b) => b.length - a.length).slice(0, k);
    return {
      ranked: ranked.map((poi, i) => ({ poi, rank: i + 1, score: 0.5, pCtr: 0.5, pCtcvr: null })),
      fallbacks: { user: false, pois: [], scene: [], features: [] },
    };
  },
  async close() {},
};

const serving = (model: RankingModel): AppState => {
  const models = new ModelRegistry();
  models.install(model);
  return { models, events: null, experiments: null, stopping: false };
};
const limits = { bodyBytes: 2000, bodyDepth: 4, candidates: 5 };
const state = serving(byLength);
const app = createApp({ state, metrics: createMetrics(), limits });
afterAll(() => app.close());
beforeEach(() => {
  state.models.install(byLength);
  state.stopping = false;
});

const post = (
  payload: string | Buffer | object,
  headers: Record<string, string> = { 'content-type': 'application/json' },
) => app.inject({ method: 'POST', url: '/v1/rank', payload, headers });
const good = { user: 'u', scene: {}, candidates: ['a', 'bbb', 'cc'] };

describe('the HTTP layer', () => {
  it('answers a good request with the ranked candidates and the request id it was given', async () => {
    const reply = await post({ ...good, k: 2 }, { 'content-type': 'application/json', 'x-request-id': 'abc-1' });
    expect(reply.statusCode).toBe(200);
    expect(reply.json()).toMatchObject({
      requestId: 'abc-1',
      model: byLength.identity,
      ranked: [
        { poi: 'bbb', rank: 1, pCtcvr: null },
        { poi: 'cc', rank: 2 },
      ],
    });
    expect(reply.headers['x-request-id']).toBe('abc-1');
  });

  it('takes every character of UTF-8 as it is', async () => {
    const candidates = ['茶', 'café', '🍜'];
    const escaped = JSON.stringify({ ...good, candidates }).replace('🍜', '\\ud83c\\udf5c');
    const reply = await post(Buffer.from(escaped));
    expect(
      reply
        .json()
        .ranked.map(({ poi }: { poi: string }) => poi)
        .sort(),
    ).toEqual(candidates.sort());
  });

  it('names the scene value that left no score, and takes the blame where there is none', async () => {
    const user = 'overflow';
    const far = await post({ ...good, user, scene: { city: 'x', hour: 3, wind: '2e37' } });
    expect(far.statusCode).toBe(400);
    expect(far.json().error).toMatchObject({ code: 'SCENE_VALUE_INVALID', field: 'scene.wind' });
    const ordinary = await post({ ...good, user, scene: { city: 'x', hour: 3 } });
    expect([ordinary.statusCode, ordinary.json().error.code]).toEqual([500, 'INTERNAL']);
  });

  const refused: [string, string | Buffer | object, string, string?][] = [
    ['a body that is not UTF-8', Buffer.from('{"user":"caf\xe9","candidates":["a"]}', 'latin1'), 'BODY_NOT_JSON'],
    ['a body with a byte order mark', '\ufeff{"user":"u","candidates":["a"]}', 'BODY_NOT_JSON'],
    ['a body that is not JSON', '{"user": ', 'BODY_NOT_JSON'],
    ['an empty body', '', 'BODY_NOT_JSON'],
    ['half of a surrogate pair', '{"user":"\\ud83c","candidates":["a"]}', 'BODY_NOT_JSON'],
    ['the halves of a pair the wrong way round', '{"user":"\\udf5c\\uD83C","candidates":["a"]}', 'BODY_NOT_JSON'],
    ['a body that is no object', '[1]', 'BODY_INVALID'],
    ['a missing user', { scene: {}, candidates: ['a'] }, 'BODY_INVALID', 'user'],
    ['a number as user (never coerced)', { ...good, user: 3 }, 'BODY_INVALID', 'user'],
    ['no candidates', { ...good, candidates: [] }, 'BODY_INVALID', 'candidates'],
    ['too many candidates', { ...good, candidates: ['1', '2', '3', '4', '5', '6'] }, 'BODY_INVALID', 'candidates'],
    ['a candidate of the wrong type', { ...good, candidates: ['a', 7] }, 'BODY_INVALID', 'candidates[1]'],
    ['a candidate given twice', { ...good, candidates: ['a', 'b', 'a'] }, 'BODY_INVALID', 'candidates[2]'],
    ['a scene value that is an object', { ...good, scene: { city: {} } }, 'BODY_INVALID', 'scene.city'],
    ['an unknown field', { ...good, candidate: [] }, 'BODY_INVALID', 'candidate'],
    ['a k of zero', { ...good, k: 0 }, 'BODY_INVALID', 'k'],
    ['an unknown order', { ...good, by: 'price' }, 'BODY_INVALID', 'by'],
    ['a field named __proto__', '{"user":"u","candidates":["a"],"__proto__":{"k":1}}', 'BODY_INVALID', '__proto__'],
    ['deep nesting', `{"user":${'['.repeat(50)}${']'.repeat(50)}}`, 'BODY_TOO_DEEP'],
  ];
  it.each(refused)('refuses %s with 400, naming the field', async (_what, body, code, field) => {
    const reply = await post(body);
    expect(reply.statusCode).toBe(400);
    expect(reply.json().error).toMatchObject({ code, ...(field === undefined ? {} : { field }) });
    expect(reply.json().error.message).not.toBe('');
  });

  it.each([[['spicy', 'vegan']], [{}], [[]]])('says how a list goes where a scene value is %j', async (city) => {
    const { error } = (await post({ ...good, scene: { city } })).json();
    expect(error).toMatchObject({ code: 'BODY_INVALID', field: 'scene.city' });
    expect(error.message).toContain('a list goes as one text, its values joined with ", " as in training');
    const long = (await post({ ...good, scene: { city: 'x'.repeat(600) } })).json().error;
    expect(long.message).not.toContain('a list');
  });

  it('refuses other media types, larger bodies, unknown addresses and wrong methods as JSON', async () => {
    expect((await post('user=1', { 'content-type': 'application/x-www-form-urlencoded' })).json().error.code).toBe(
      'MEDIA_TYPE_UNSUPPORTED',
    );
    expect((await post('x', { 'content-type': 'text/plain' })).statusCode).toBe(415);
    const packed = await post('{}', { 'content-type': 'application/json', 'content-encoding': 'gzip' });
    expect([packed.statusCode, packed.json().error.message]).toEqual([
      415,
      'the body must be sent as it is, without a content-encoding',
    ]);
    const large = await post({ ...good, user: 'x'.repeat(3000) });
    expect([large.statusCode, large.json().error.code]).toEqual([413, 'BODY_TOO_LARGE']);
    const nowhere = await app.inject('/v2/rank');
    expect([nowhere.statusCode, nowhere.json().error.code]).toEqual([404, 'NOT_FOUND']);
    const wrongMethod = await app.inject('/v1/rank');
    expect([wrongMethod.statusCode, wrongMethod.json().error.code, wrongMethod.headers.allow]).toEqual([
      405,
      'METHOD_NOT_ALLOWED',
      'POST',
    ]);
  });

  it('shows neither message nor stack nor path of a failure inside', async () => {
    const reply = await post({ ...good, user: 'explode' });
    expect(reply.statusCode).toBe(500);
    expect(reply.json().error.code).toBe('INTERNAL');
    expect(reply.body).not.toMatch(/secret|srv|\.ts|\.js|at /);
  });

  it('is alive before it is ready, and says so', async () => {
    const empty = { ...state, models: new ModelRegistry() };
    const loading = createApp({ state: empty, metrics: createMetrics(), limits });
    expect((await loading.inject('/healthz')).json()).toEqual({ status: 'ok' });
    const readiness = await loading.inject('/readyz');
    expect([readiness.statusCode, readiness.json().status]).toEqual([503, 'loading']);
    const rank = await loading.inject({ method: 'POST', url: '/v1/rank', payload: good });
    expect([rank.statusCode, rank.json().error.code, rank.headers['retry-after']]).toEqual([503, 'NOT_READY', '1']);
    await loading.close();
    expect((await app.inject('/readyz')).json()).toEqual({ status: 'ready', model: byLength.identity });
    state.stopping = true;
    expect((await app.inject('/readyz')).statusCode).toBe(503);
  });

  it('answers what comes on an open connection while it stops as it answers every refusal', async () => {
    const leaving = serving(byLength);
    const server = createApp({ state: leaving, metrics: createMetrics(), limits });
    await server.listen({ host: '127.0.0.1', port: 0 });
    const socket = connect((server.server.address() as AddressInfo).port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET /v1/catalogue/scene HTTP/1.1\r\nhost: localhost\r\n');
    // The server has read that much before it begins to stop.
    await fetch(`http://127.0.0.1:${(server.server.address() as AddressInfo).port}/healthz`);
    leaving.stopping = true;
    const closed = server.close();
    await new Promise((resolve) => setImmediate(resolve));
    socket.write('\r\n');
    let answer = '';
    for await (const part of socket) answer += part;
    await closed;
    expect(answer).toMatch(/^HTTP\/1\.1 503 /);
    expect(answer).toMatch(/retry-after: 1\r\n/i);
    expect(answer).toMatch(/connection: close\r\n/i);
    expect(JSON.parse(answer.split('\r\n\r\n')[1]!)).toMatchObject({
      error: { code: 'NOT_READY', message: expect.stringContaining('stopping') },
      requestId: expect.any(String),
    });
  });

  it('is not ready, and says so to requests, once the model has failed', async () => {
    state.models.install({ ...byLength, broken: true });
    const readiness = await app.inject('/readyz');
    expect([readiness.statusCode, readiness.json().status]).toEqual([503, 'failed']);
    const rank = await post(good);
    expect([rank.statusCode, rank.json().error.code]).toEqual([503, 'MODEL_FAILED']);
    expect((await app.inject('/metrics')).body).toMatch(/larr_ready 0/);
  });

  it('sends security headers and no CORS headers', async () => {
    const { headers } = await app.inject({ url: '/healthz', headers: { origin: 'https://example.com' } });
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
      'x-frame-options': 'DENY',
    });
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  it('counts what it answers', async () => {
    await post(good);
    const text = (await app.inject('/metrics')).body;
    expect(text).toMatch(/larr_http_requests_total\{route="\/v1\/rank",method="POST",status="200"\} \d+/);
    expect(text).toMatch(/larr_candidates_total \d+/);
  });

  it('takes events only where it has a log for them', async () => {
    const event = { id: 'e1', type: 'click', user: 'u', poi: 'p', time: '2026-01-10T12:00:00' };
    const send = (to: typeof app, events: object[]) =>
      to.inject({ method: 'POST', url: '/v1/events', payload: { events } });
    expect((await send(app, [event])).statusCode).toBe(404);
    const directory = mkdtempSync(join(tmpdir(), 'larr-events-'));
    const events = await EventLog.open(directory);
    const taking = createApp({ state: { ...state, events }, metrics: createMetrics(), limits: DEFAULT_LIMITS });
    try {
      expect((await send(taking, [event, { ...event, id: 'e2' }])).json()).toMatchObject({
        accepted: 2,
        duplicates: 0,
      });
      expect((await send(taking, [event])).json()).toMatchObject({ accepted: 0, duplicates: 1 });
      expect((await send(taking, [{ ...event, type: 'glance' }])).json().error).toMatchObject({
        field: 'events[0].type',
      });
      expect(
        (await send(taking, [event, { ...event, id: 'e3', time: 'yesterday evening' }])).json().error,
      ).toMatchObject({ code: 'BODY_INVALID', field: 'events[1].time' });
      expect((await send(taking, [{ ...event, id: 'e4', time: '1768046400' }])).json().error).toMatchObject({
        code: 'BODY_INVALID',
        field: 'events[0].time',
      });
      const ahead = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString();
      expect((await send(taking, [{ ...event, id: 'e5', time: '2096-03-01T10:00:00' }])).json().error).toMatchObject({
        code: 'BODY_INVALID',
        field: 'events[0].time',
        message: expect.stringMatching(/more than a day after the server's clock/),
      });
      expect((await send(taking, [{ ...event, id: 'e6', time: ahead(25) }])).statusCode).toBe(400);
      // It is tomorrow already where the clock is 14 hours ahead.
      expect((await send(taking, [{ ...event, id: 'e6', time: ahead(23) }])).json()).toMatchObject({ accepted: 1 });
      for (const value of ['-5', '1e999'])
        expect(
          (
            await taking.inject({
              method: 'POST',
              url: '/v1/events',
              headers: { 'content-type': 'application/json' },
              payload: `{"events":[${JSON.stringify({ ...event, id: 'e7', type: 'order' }).slice(0, -1)},"value":${value}}]}`,
            })
          ).json().error,
        ).toMatchObject({ code: 'BODY_INVALID', field: 'events[0].value' });
      expect((await send(taking, [{ ...event, id: 'e7', type: 'order', value: 0 }])).json()).toMatchObject({
        accepted: 1,
      });
      const scenes = [{ temp_c: 20 }, { temp_c: 'hot' }].map((scene, i) => ({ ...event, id: `s${i}`, scene }));
      const refused = await send(taking, scenes);
      expect([refused.statusCode, refused.json().error]).toEqual([
        400,
        {
          code: 'SCENE_VALUE_INVALID',
          field: 'events[1].scene.temp_c',
          message: 'events[1].scene.temp_c: a number is expected',
        },
      ]);
      // nothing of them was written, and a bundle beside may read what the current one does not
      state.models.install({ ...byLength, checkScene: () => {} }, 'other');
      expect((await send(taking, scenes)).json()).toMatchObject({ accepted: 2, duplicates: 0 });
      await state.models.unload('other');
      const loading = createApp({
        state: { ...state, models: new ModelRegistry(), events },
        metrics: createMetrics(),
        limits: DEFAULT_LIMITS,
      });
      expect((await send(loading, [{ ...scenes[1], id: 's2' }])).json()).toMatchObject({ accepted: 1 });
      await loading.close();
      const document = (await taking.inject('/openapi.json')).json();
      const { examples } = document.paths['/v1/events'].post.requestBody.content['application/json'];
      expect((await send(taking, examples.request1.value.events)).statusCode).toBe(200);
      expect(await new Validator().validate(document)).toMatchObject({ valid: true });
    } finally {
      await taking.close();
      await events.close();
      rmSync(directory, { recursive: true, force: true });
    }
  });

  it('describes itself in a valid OpenAPI document: every route, every example answered', async () => {
    const document = (await app.inject('/openapi.json')).json();
    expect(Object.keys(document.paths).sort()).toEqual([
      '/healthz',
      '/metrics',
      '/readyz',
      '/v1/admin/health',
      '/v1/catalogue/moment',
      '/v1/catalogue/pois',
      '/v1/catalogue/scene',
      '/v1/catalogue/users',
      '/v1/rank',
      '/v1/recall',
      '/v1/score',
    ]);
    const { examples } = document.paths['/v1/rank'].post.requestBody.content['application/json'];
    for (const { value } of Object.values(examples) as { value: object }[])
      expect((await post(value)).statusCode).toBe(200);
    expect(await new Validator().validate(document)).toMatchObject({ valid: true });
  });
});
