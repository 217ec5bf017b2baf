import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type ClientOptions, LarrClient } from './client.js';
import {
  LarrAccessError,
  LarrBusyError,
  LarrConnectionError,
  LarrRequestError,
  LarrServerError,
  LarrTimeoutError,
} from './errors.js';

interface Asked {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: unknown;
  at: number;
}
type Answer = (reply: ServerResponse, asked: Asked) => void;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A server that gives these answers in turn, the last one for ever; and a client of it. */
async function serving(
  answers: Answer[],
  options: Partial<ClientOptions> = {},
): Promise<{ client: LarrClient; asked: Asked[] }> {
  const asked: Asked[] = [];
  const server = createServer((request, reply) => {
    let text = '';
    request.on('data', (data) => {
      text += data;
    });
    request.on('end', () => {
      const { method = '', url = '', headers } = request;
      asked.push({ method, url, headers, body: text === '' ? undefined : JSON.parse(text), at: performance.now() });
      answers[Math.min(asked.length, answers.length) - 1]!(reply, asked.at(-1)!);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { client: new LarrClient({ url: `http://127.0.0.1:${port}/`, ...options }), asked };
}

const json =
  (status: number, value: unknown, headers: Record<string, string> = {}): Answer =>
  (reply) => {
    reply.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers });
    reply.end(JSON.stringify(value));
  };
const refusal = (status: number, code: string, headers: Record<string, string> = {}, field?: string): Answer =>
  json(
    status,
    { error: { code, message: `${code}, in words`, ...(field === undefined ? {} : { field }) }, requestId: 'r-7' },
    headers,
  );
const ranked = {
  requestId: 'r-1',
  model: { name: 'm', bundle: 'b' },
  ranked: [],
  fallbacks: { user: false, pois: [], scene: [], features: [] },
};
const question = { user: 'u', candidates: ['a'] };
const broken: Answer = (reply) => reply.destroy();

describe('a call', () => {
  it('sends the body, the key and the request id, and gives the reply', async () => {
    const { client, asked } = await serving([json(200, ranked)], { key: 'larr_x_y' });
    expect(await client.rank(question, { requestId: 'mine-1' })).toEqual(ranked);
    expect(asked).toEqual([
      expect.objectContaining({
        method: 'POST',
        url: '/v1/rank',
        body: question,
        headers: expect.objectContaining({
          authorization: 'Bearer larr_x_y',
          'content-type': 'application/json',
          'x-request-id': 'mine-1',
        }),
      }),
    ]);
  });

  it('scores and recalls, and does both again where a connection broke', async () => {
    const { client, asked } = await serving([broken, json(200, { results: [] }), broken, json(200, { pois: [] })]);
    const contexts = { requests: [{ user: 'u', scene: { weather: 'rain' }, candidates: ['a', 'b'] }] };
    const scored = await client.score(contexts);
    expect(scored.results).toEqual([]);
    const wanted = { text: 'noodle soup', k: 5, within: { city: 'london' } };
    const recalled = await client.recall(wanted, { requestId: 'mine-2' });
    expect(recalled.pois).toEqual([]);
    expect(asked.map(({ method, url, body }) => [method, url, body])).toEqual([
      ...Array(2).fill(['POST', '/v1/score', contexts]),
      ...Array(2).fill(['POST', '/v1/recall', wanted]),
    ]);
    expect(asked.at(-1)!.headers['x-request-id']).toBe('mine-2');
  });

  it('puts names into the path and the query, whatever they hold', async () => {
    const { client, asked } = await serving([json(200, {})]);
    await client.call('run', { params: { id: 'a/../b c?' }, query: { rows: 5 } });
    await client.call('cataloguePois', { query: { query: 'tea & cake' } });
    expect(asked.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /v1/runs/a%2F..%2Fb%20c%3F?rows=5',
      'GET /v1/catalogue/pois?query=tea+%26+cake',
    ]);
  });

  it('gives text where the answer is no JSON', async () => {
    const { client } = await serving([(reply) => reply.end('# HELP x\n')]);
    expect(await client.call('metrics', {})).toBe('# HELP x\n');
  });
});

describe('an answer that is no success', () => {
  const kinds: [number, string, new (...args: never[]) => Error][] = [
    [400, 'BODY_INVALID', LarrRequestError],
    [404, 'NOT_FOUND', LarrRequestError],
    [401, 'KEY_UNKNOWN', LarrAccessError],
    [403, 'SCOPE_MISSING', LarrAccessError],
    [500, 'INTERNAL', LarrServerError],
  ];
  it.each(kinds)(
    '%i is an error of its kind with the code, the field and the request id, and is not tried again',
    async (status, code, kind) => {
      const { client, asked } = await serving([refusal(status, code, {}, 'candidates[3]')]);
      const error = await client.rank(question).catch((caught) => caught);
      expect(error).toBeInstanceOf(kind);
      expect(error).toMatchObject({
        status,
        code,
        field: 'candidates[3]',
        requestId: 'r-7',
        message: `${code}, in words`,
      });
      expect(asked).toHaveLength(1);
    },
  );

  it("is an error also where a proxy's page comes in its place", async () => {
    const { client } = await serving([
      (reply) => {
        reply.writeHead(413, { 'content-type': 'text/html' });
        reply.end('<h1>Too Large</h1>');
      },
    ]);
    await expect(client.rank(question)).rejects.toMatchObject({ status: 413, code: 'HTTP_413', requestId: undefined });
  });
});

describe('what passes', () => {
  it.each([
    [503, 'OVERLOADED'],
    [429, 'TOO_MANY_REQUESTS'],
  ])('%i is waited for as long as the server says', async (status, code) => {
    const { client, asked } = await serving([refusal(status, code, { 'retry-after': '1' }), json(200, ranked)]);
    expect(await client.rank(question)).toEqual(ranked);
    expect(asked).toHaveLength(2);
    expect(asked[1]!.at - asked[0]!.at).toBeGreaterThanOrEqual(990);
  });

  it('is tried so often and no more, with random waits between', async () => {
    const { client, asked } = await serving([refusal(503, 'OVERLOADED')], { retries: 2 });
    const error = await client.rank(question).catch((caught) => caught);
    expect(error).toBeInstanceOf(LarrBusyError);
    expect(asked).toHaveLength(3);
  });

  it('is not waited for beyond the deadline', async () => {
    const { client, asked } = await serving([refusal(503, 'NOT_READY', { 'retry-after': '30' })], { deadlineMs: 5000 });
    const before = performance.now();
    await expect(client.rank(question)).rejects.toMatchObject({ code: 'NOT_READY', retryAfter: 30 });
    expect(performance.now() - before).toBeLessThan(4000);
    expect(asked).toHaveLength(1);
  });

  it('a broken connection is tried again where the request may be done twice, and only there', async () => {
    const { client, asked } = await serving([broken, json(200, ranked)]);
    expect(await client.rank(question)).toEqual(ranked);
    expect(asked).toHaveLength(2);
    const other = await serving([broken]);
    await expect(other.client.call('rollback', { body: {} })).rejects.toBeInstanceOf(LarrConnectionError);
    expect(other.asked).toHaveLength(1);
    const busy = await serving([refusal(503, 'STOPPING'), json(200, {})]);
    await busy.client.call('rollback', { body: {} });
    expect(busy.asked).toHaveLength(2);
  });

  it('a server that is not there is a connection error with the reason', async () => {
    const client = new LarrClient({ url: 'http://127.0.0.1:1', retries: 1 });
    await expect(client.rank(question)).rejects.toMatchObject({
      name: 'LarrConnectionError',
      message: expect.stringMatching(/ECONNREFUSED|bad port/),
    });
  });
});

describe('time', () => {
  it('an answer that does not come is a timeout, after as many tries as there is time for', async () => {
    const { client, asked } = await serving([() => {}], { timeoutMs: 400, retries: 1 });
    await expect(client.rank(question)).rejects.toBeInstanceOf(LarrTimeoutError);
    expect(asked).toHaveLength(2);
  });

  it('a call that is called off ends at once, while it is asked and while it waits', async () => {
    for (const answers of [[() => {}], [refusal(503, 'NOT_READY', { 'retry-after': '5' })]] as Answer[][]) {
      const { client, asked } = await serving(answers);
      const stop = new AbortController();
      setTimeout(() => stop.abort(new Error('enough')), 300);
      const before = performance.now();
      await expect(client.rank(question, { signal: stop.signal })).rejects.toThrow('enough');
      expect(performance.now() - before).toBeLessThan(3000);
      expect(asked).toHaveLength(1);
    }
  });
});
