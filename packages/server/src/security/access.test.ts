import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { generate } from 'selfsigned';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { createApp } from '../api/app.js';
import { DEFAULT_LIMITS } from '../api/state.js';
import { createMetrics } from '../observability/metrics.js';
import { ModelRegistry } from '../ranking/model-registry.js';
import type { RankingModel } from '../ranking/ranking-model.js';
import { type FrontOptions, openFront } from './front.js';
import { runKeysCommand } from './key-commands.js';

const root = mkdtempSync(join(tmpdir(), 'larr-access-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const model = {
  identity: { name: 'first-is-best', bundle: '0123456789ab' },
  examples: [],
  broken: false,
  queuedRows: 0,
  drift: () => [],
  async rank({ user, candidates }: { user: string; candidates: string[] }) {
    if (user === 'explode') throw new Error('ENOENT: /srv/bundles/secret/ranker.onnx');
    return {
      ranked: candidates.map((poi, i) => ({ poi, rank: i + 1, score: 0.5, pCtr: 0.5, pCtcvr: null })),
      fallbacks: { user: false, pois: [], scene: [], features: [] },
    };
  },
  async close() {},
} as unknown as RankingModel;

const keyFile = join(root, 'keys.json');
const makeKey = async (scopes: string, ...more: string[]): Promise<string> =>
  (await runKeysCommand(['add', '--keys', keyFile, '--name', scopes, '--scopes', scopes, ...more])).stdout.trim();

const opened: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0)) await close();
});

/** An application behind a front of these options. */
async function serve(
  options: FrontOptions,
): Promise<{ app: FastifyInstance; listen: () => Promise<{ url: string; admin: string | null; port: number }> }> {
  const metrics = createMetrics();
  const front = await openFront({ log: { level: 'silent' }, ...options }, '127.0.0.1', metrics);
  const models = new ModelRegistry();
  models.install(model);
  const state = { models, events: null, experiments: null, stopping: false };
  const app = createApp({ state, metrics, limits: DEFAULT_LIMITS } as Parameters<typeof createApp>[0], front);
  opened.push(() => Promise.all([app.close(), front.close()]));
  return {
    app,
    async listen() {
      const url = await app.listen({ host: '127.0.0.1', port: 0 });
      const admin = await front.listenAdmin(app);
      front.attach(app);
      return { url, port: Number(new URL(url).port), admin: admin === null ? null : `http://127.0.0.1:${admin}` };
    },
  };
}

const rank = (headers: Record<string, string> = {}, user = 'u'): InjectOptions => ({
  method: 'POST',
  url: '/v1/rank',
  payload: { user, candidates: ['a', 'b'] },
  headers,
});
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

describe('a server with keys', () => {
  it('answers only to keys that it knows, and each only what its scopes allow', async () => {
    const [ranks, reads] = [await makeKey('rank'), await makeKey('read')];
    const { app } = await serve({ keys: keyFile });
    const ask = async (options: InjectOptions): Promise<[number, string | undefined, unknown]> => {
      const reply = await app.inject(options);
      const code = reply.headers['content-type']?.toString().includes('json') ? reply.json().error?.code : undefined;
      return [reply.statusCode, code, reply.headers['www-authenticate']];
    };
    expect(await ask(rank())).toEqual([401, 'KEY_MISSING', 'Bearer realm="larr"']);
    for (const wrong of [
      'Bearer nonsense',
      `Basic ${ranks}`,
      `Bearer ${ranks.slice(0, -1)}`,
      `Bearer ${ranks} ${reads}`,
    ])
      expect(await ask(rank({ authorization: wrong }))).toEqual([401, 'KEY_UNKNOWN', 'Bearer error="invalid_token"']);
    expect(await ask(rank(bearer(ranks)))).toEqual([200, undefined, undefined]);
    expect(await ask(rank({ authorization: `bearer  ${ranks}` }))).toEqual([200, undefined, undefined]);
    expect(await ask(rank(bearer(reads)))).toEqual([
      403,
      'SCOPE_MISSING',
      'Bearer error="insufficient_scope", scope="rank"',
    ]);
    for (const url of ['/metrics', '/v1/admin/health']) {
      expect((await ask({ url, headers: bearer(reads) }))[0]).toBe(200);
      expect((await ask({ url, headers: bearer(ranks) }))[0]).toBe(403);
      expect((await ask({ url }))[0]).toBe(401);
    }
    for (const url of ['/healthz', '/readyz', '/openapi.json']) expect((await ask({ url }))[0]).toBe(200);
    expect(await ask({ url: '/nowhere' })).toEqual([404, 'NOT_FOUND', undefined]);
    const metrics = (await app.inject({ url: '/metrics', headers: bearer(reads) })).body;
    expect(metrics).toMatch(/larr_refused_total\{reason="key-unknown"\} 4/);
    expect(metrics).toMatch(/larr_refused_total\{reason="scope"\} 3/);
  });

  it('checks the key before it reads the body', async () => {
    const { app } = await serve({ keys: keyFile });
    const reply = await app.inject({
      ...rank(),
      payload: 'x'.repeat(5 << 20),
      headers: { 'content-type': 'text/plain' },
    });
    expect(reply.statusCode).toBe(401);
  });

  it('limits a key by its own rate and others by the general one, and says when to come again', async () => {
    const [slow, usual] = [await makeKey('rank', '--rate', '1'), await makeKey('rank')];
    const { app } = await serve({ keys: keyFile, ratePerKey: 3, ratePerAddress: 2 });
    const statuses = async (options: InjectOptions, times: number): Promise<Record<number, number>> => {
      const counts: Record<number, number> = {};
      for (let i = 0; i < times; i++) {
        const { statusCode } = await app.inject(options);
        counts[statusCode] = (counts[statusCode] ?? 0) + 1;
      }
      return counts;
    };
    expect(await statuses(rank(bearer(slow)), 5)).toEqual({ 200: 2, 429: 3 });
    expect(await statuses(rank(bearer(usual)), 9)).toEqual({ 200: 6, 429: 3 });
    expect(await statuses(rank(bearer('larr_guess')), 7)).toEqual({ 401: 4, 429: 3 });
    // a key's own rate does not suffer from those who guess at the same address
    const refused = await app.inject(rank(bearer(slow)));
    expect([refused.json().error.code, refused.headers['retry-after']]).toEqual(['TOO_MANY_REQUESTS', '1']);
    expect(await statuses({ url: '/readyz' }, 30)).toEqual({ 200: 30 });
  });

  it('tells addresses behind a proxy apart only where it is told to trust it', async () => {
    for (const [trustProxy, expected] of [
      [[], 4],
      [['127.0.0.0/8'], 10],
    ] as const) {
      const { app } = await serve({ keys: keyFile, ratePerAddress: 2, trustProxy: [...trustProxy] });
      let answered = 0;
      for (let i = 0; i < 10; i++) {
        const { statusCode } = await app.inject({
          url: '/openapi.json',
          headers: { 'x-forwarded-for': `203.0.113.${i}` },
        });
        if (statusCode === 200) answered++;
      }
      expect(answered).toBe(expected);
    }
  });
});

describe('a server without keys', () => {
  it('is refused on an address that others can reach, unless it is told to be open', async () => {
    const metrics = createMetrics();
    for (const host of ['0.0.0.0', '::', '192.168.1.5', 'larr.example'])
      await expect(openFront({}, host, metrics)).rejects.toMatchObject({ code: 'KEYS_NEEDED' });
    for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost'])
      await (await openFront({}, host, metrics)).close();
    await (await openFront({ open: true }, '0.0.0.0', metrics)).close();
    await (await openFront({ keys: keyFile }, '0.0.0.0', metrics)).close();
    await expect(openFront({ adminPort: 0, adminHost: '0.0.0.0' }, '127.0.0.1', metrics)).rejects.toMatchObject({
      code: 'KEYS_NEEDED',
    });
    await expect(openFront({ keys: keyFile, open: true }, '0.0.0.0', metrics)).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    });
    for (const wrong of [
      { corsOrigins: ['https://shop.example/'] },
      { corsOrigins: ['*'] },
      { trustProxy: ['everybody'] },
      { trustProxy: ['10.0.0.0/33'] },
    ])
      await expect(openFront(wrong, '127.0.0.1', metrics)).rejects.toMatchObject({ code: 'OPTION_INVALID' });
  });

  it('answers only to names of its own machine: a page that rebinds its name to it learns nothing', async () => {
    const { app } = await serve({});
    for (const host of ['localhost:8080', '127.0.0.1:8080', '[::1]:8080', 'larr.localhost'])
      expect((await app.inject({ ...rank(), headers: { host } })).statusCode).toBe(200);
    const rebound = await app.inject({ ...rank(), headers: { host: 'evil.example:8080' } });
    expect([rebound.statusCode, rebound.json().error.code]).toEqual([403, 'HOST_REFUSED']);
    expect(
      (await (await serve({ open: true })).app.inject({ ...rank(), headers: { host: 'larr.example' } })).statusCode,
    ).toBe(200);
  });

  it('lets no page of another origin change anything', async () => {
    const { app } = await serve({});
    const post = (origin: string, host = 'localhost:8080') => app.inject({ ...rank(), headers: { origin, host } });
    expect((await post('http://localhost:8080')).statusCode).toBe(200);
    for (const origin of ['https://evil.example', 'http://localhost:3000', 'null']) {
      const reply = await post(origin);
      expect([reply.statusCode, reply.json().error.code]).toEqual([403, 'ORIGIN_REFUSED']);
    }
  });
});

describe('pages of other origins', () => {
  const preflight = { origin: 'https://shop.example', 'access-control-request-method': 'POST' };

  it('may ask only where their origin is on the list, and never by a wildcard', async () => {
    const key = await makeKey('rank');
    const { app } = await serve({ keys: keyFile, corsOrigins: ['https://shop.example'] });
    const asked = await app.inject({ method: 'OPTIONS', url: '/v1/rank', headers: preflight });
    expect([
      asked.statusCode,
      asked.headers['access-control-allow-origin'],
      asked.headers['access-control-allow-headers'],
    ]).toEqual([204, 'https://shop.example', 'authorization, content-type, x-request-id']);
    const answered = await app.inject(rank({ ...bearer(key), origin: 'https://shop.example' }));
    expect([answered.statusCode, answered.headers['access-control-allow-origin'], answered.headers.vary]).toEqual([
      200,
      'https://shop.example',
      'origin',
    ]);
    // the page must be able to read why it was refused
    expect((await app.inject(rank({ origin: 'https://shop.example' }))).headers['access-control-allow-origin']).toBe(
      'https://shop.example',
    );
    for (const origin of ['https://evil.example', 'https://shop.example.evil.example', 'null']) {
      const other = await app.inject({ method: 'OPTIONS', url: '/v1/rank', headers: { ...preflight, origin } });
      expect([other.statusCode, other.headers['access-control-allow-origin']]).toEqual([405, undefined]);
      expect((await app.inject(rank({ ...bearer(key), origin }))).statusCode).toBe(403);
    }
  });

  it.each(['PATCH', 'DELETE'] as const)('may use the methods that the routes have, as %s', async (method) => {
    const { app } = await serve({ open: true, corsOrigins: ['https://shop.example'] });
    app.route({ method, url: '/v1/thing', config: { scope: 'admin' }, handler: async () => ({}) });
    const { headers } = await app.inject({ method: 'OPTIONS', url: '/v1/thing', headers: preflight });
    const allowed = String(headers['access-control-allow-methods']).split(', ');
    expect(allowed).toEqual(expect.arrayContaining(['GET', 'POST', method]));
    expect(allowed).not.toContain('TRACE');
  });

  it('may not ask at all by default', async () => {
    const { app } = await serve({ keys: keyFile });
    const { headers } = await app.inject({ method: 'OPTIONS', url: '/v1/rank', headers: preflight });
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});

describe('a second port', () => {
  it('answers everything, and the first one then no longer what is not for users', async () => {
    const all = await makeKey('rank,read,admin,events');
    const { listen } = await serve({ keys: keyFile, adminPort: 0 });
    const { url, admin } = await listen();
    const status = async (base: string, path: string, method = 'GET'): Promise<number> =>
      (
        await fetch(base + path, {
          method,
          headers: { ...bearer(all), ...(method === 'POST' ? { 'content-type': 'application/json' } : {}) },
          ...(method === 'POST' ? { body: JSON.stringify({ user: 'u', candidates: ['a'] }) } : {}),
        })
      ).status;
    for (const path of ['/metrics', '/v1/admin/health']) {
      expect(await status(url, path)).toBe(404);
      expect(await status(admin!, path)).toBe(200);
    }
    for (const base of [url, admin!]) {
      expect(await status(base, '/v1/rank', 'POST')).toBe(200);
      expect(await status(base, '/healthz')).toBe(200);
    }
    const hidden = await (await fetch(`${url}/metrics`)).json();
    const nowhere = await (await fetch(`${url}/nowhere`)).json();
    expect(hidden.error).toEqual(nowhere.error);
  });
});

describe('TLS', () => {
  const files = { cert: join(root, 'cert.pem'), key: join(root, 'key.pem') };
  const write = async (name: string): Promise<void> => {
    const made = await generate([{ name: 'commonName', value: name }], { keyType: 'ec' });
    writeFileSync(files.cert, made.cert);
    writeFileSync(files.key, made.private);
  };
  const subject = (port: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = tlsConnect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.end();
      });
      socket.on('error', reject);
    });

  it('encrypts, and takes a renewed certificate without a restart', async () => {
    await write('first');
    const { listen } = await serve({ tls: files });
    const { port } = await listen();
    expect(await subject(port)).toBe('first');
    const headers = await new Promise<Record<string, unknown>>((resolve, reject) => {
      httpsRequest(`https://127.0.0.1:${port}/healthz`, { rejectUnauthorized: false }, (reply) =>
        resolve(reply.resume().headers),
      )
        .on('error', reject)
        .end();
    });
    expect(headers['strict-transport-security']).toBe('max-age=31536000');
    // a certificate whose key has not come yet is no reason to stop
    writeFileSync(files.cert, 'broken');
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await subject(port)).toBe('first');
    await write('second');
    for (let i = 0; (await subject(port)) !== 'second'; i++) {
      expect(i).toBeLessThan(300);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });

  it('says what is wrong with a certificate before it starts', async () => {
    await write('first');
    const good = { ...files };
    const other = await generate([{ name: 'commonName', value: 'x' }], { keyType: 'ec' });
    const otherKey = join(root, 'other.pem');
    writeFileSync(otherKey, other.private);
    await expect(serve({ tls: { ...good, key: otherKey } })).rejects.toMatchObject({ code: 'TLS_INVALID' });
    await expect(serve({ tls: { ...good, key: keyFile } })).rejects.toMatchObject({ code: 'TLS_INVALID' });
    await expect(serve({ tls: { ...good, cert: join(root, 'none') } })).rejects.toMatchObject({
      code: 'TLS_UNREADABLE',
    });
  });
});

describe('what a refused client learns', () => {
  it('is the same shape everywhere and never a path, a stack or a version', async () => {
    const { app, listen } = await serve({});
    const { port } = await listen();
    const replies: string[] = [];
    const raw = (text: string): Promise<string> =>
      new Promise((resolve, reject) => {
        let answer = '';
        const socket = connect(port, '127.0.0.1', () => socket.write(text));
        socket.on('data', (data) => {
          answer += data;
          socket.end();
        });
        socket.on('close', () => resolve(answer));
        socket.on('error', reject);
      });
    const line = (path: string, more = ''): string => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n${more}\r\n`;
    replies.push(
      await raw('NONSENSE\r\n\r\n'),
      await raw(line('/v1/%zz')),
      await raw(line('/%00')),
      await raw(line('/..%2f..%2fetc%2fpasswd')),
      await raw(line(`/v1/catalogue/${'x'.repeat(500)}`)),
      await raw(line('/healthz', `x-long: ${'y'.repeat(20_000)}\r\n`)),
      await raw(
        'POST /v1/rank HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 5\r\n\r\n{"a":',
      ),
      await raw(
        'POST /v1/rank HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n',
      ),
      (await app.inject(rank({}, 'explode'))).body,
    );
    for (const reply of replies) {
      const body = JSON.parse(reply.slice(reply.indexOf('{')));
      expect(body).toEqual({
        error: expect.objectContaining({ code: expect.stringMatching(/^[A-Z_]+$/), message: expect.any(String) }),
        requestId: expect.stringMatching(/^[\w.:-]+$/),
      });
      expect(reply).not.toMatch(/\/srv|ENOENT|node_modules|\.[jt]s\b|at Object|fastify|FST_|HPE_/i);
      expect(reply).not.toMatch(/^(server|x-powered-by):/im);
    }
    expect(replies.map((reply) => /HTTP\/1.1 (\d+)/.exec(reply)?.[1])).toEqual([
      '400',
      '400',
      '404',
      '404',
      '404',
      '431',
      '400',
      '400',
      undefined,
    ]);
  });
});
