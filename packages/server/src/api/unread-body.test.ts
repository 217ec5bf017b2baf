import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../observability/metrics.js';
import { ModelRegistry } from '../ranking/model-registry.js';
import type { RankingModel } from '../ranking/ranking-model.js';
import { createApp } from './app.js';
import { DEFAULT_LIMITS } from './state.js';
import { discardBody } from './unread-body.js';

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A connection, and what has come over it: `received` waits for a text, or for the end where there is none, and fails where the connection does. */
async function connectTo(port: number): Promise<{ socket: Socket; received: (text?: string) => Promise<string> }> {
  const socket = connect(port, '127.0.0.1');
  ends.push(() => socket.destroy());
  let all = '';
  let over = '';
  socket.on('data', (part) => {
    all += part;
  });
  socket.on('error', (error) => {
    over = String(error);
  });
  socket.on('close', () => {
    over ||= 'closed';
  });
  await once(socket, 'connect');
  const received = async (text?: string) => {
    while (text === undefined || !all.includes(text)) {
      if (over === 'closed' && text === undefined) return all;
      if (over !== '') throw new Error(`${over}, after: ${all}`);
      await setTimeout(2);
    }
    return all;
  };
  return { socket, received };
}

/** A model must be there; none of these requests comes so far. */
const unasked = {
  identity: { name: 'none', bundle: '0123456789ab' },
  close: async () => {},
} as unknown as RankingModel;

describe('a request that is refused before its body has come', () => {
  const serve = async () => {
    const models = new ModelRegistry();
    models.install(unasked);
    const state = { models, events: null, experiments: null, stopping: false };
    const app = createApp({ state, metrics: createMetrics(), limits: { ...DEFAULT_LIMITS, bodyBytes: 2000 } });
    ends.push(() => app.close());
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { state, ...(await connectTo((app.server.address() as AddressInfo).port)) };
  };
  const head = (length: string, path = '/v1/rank', type = 'application/json') =>
    `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: ${type}\r\n${length}\r\n\r\n`;
  const probe = 'GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n';
  // more than the system's buffers take
  const size = 32 * 2 ** 20;
  const body = Buffer.alloc(size, '9');
  const piece = `10000\r\n${'9'.repeat(65536)}\r\n`;

  it.each([
    ['BODY_TOO_LARGE', head(`content-length: ${size}`), body],
    ['NOT_FOUND', head(`content-length: ${size}`, '/v1/nowhere', 'text/plain'), body],
    ['METHOD_NOT_ALLOWED', head(`content-length: ${size}`, '/healthz', 'text/plain'), body],
    ['BODY_TOO_LARGE', head('transfer-encoding: chunked'), `${piece.repeat(300)}0\r\n\r\n`],
    ['BODY_NOT_JSON', head('content-length: 1'), '{'],
  ])('is written to its end, answered %s, and the connection serves on', async (code, start, rest) => {
    const { socket, received } = await serve();
    socket.write(start);
    socket.write(rest);
    await received(code);
    socket.write(probe);
    expect(await received('HTTP/1.1 200')).not.toMatch(/connection: close/i);
  });

  it('is answered where the client wants the connection closed', async () => {
    const { socket, received } = await serve();
    socket.write(head(`content-length: ${size}\r\nconnection: close`));
    socket.write(body);
    const answer = await received();
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toMatch('BODY_TOO_LARGE');
  });

  it('is answered while the server stops', async () => {
    const { state, socket, received } = await serve();
    state.stopping = true;
    socket.write(head(`content-length: ${size}`));
    socket.write(body);
    const answer = await received();
    expect(answer).toMatch(/^HTTP\/1\.1 503 /);
    expect(answer).toMatch(/connection: close/i);
  });

  it('has an answer at once where more is announced than is worth reading, and the connection ends', async () => {
    const { socket, received } = await serve();
    socket.write(head('content-length: 1000000000000'));
    const answer = await received();
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toMatch(/connection: close/i);
  });
});

describe('discardBody', () => {
  const refusing = async (limits: { idleMilliseconds: number; bytes: number }) => {
    const found: Promise<boolean>[] = [];
    const server = createServer((request: IncomingMessage, reply) => {
      found.push(discardBody(request, limits));
      void found[0]!.then(() => reply.writeHead(413).end('no'));
    });
    ends.push(() => new Promise((resolve) => server.close(resolve)).then(() => {}));
    ends.push(() => server.closeAllConnections());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { socket, received } = await connectTo((server.address() as AddressInfo).port);
    socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n');
    while (found.length === 0) await setTimeout(2);
    return { socket, received, ended: found[0]! };
  };

  it('waits for the end of a body that comes slowly', async () => {
    const { socket, received, ended } = await refusing({ idleMilliseconds: 20_000, bytes: 1000 });
    for (let i = 0; i < 10; i++) {
      socket.write('x'.repeat(10));
      await setTimeout(10);
    }
    expect(await ended).toBe(true);
    await received('413');
  });

  it('gives up on a client that sends nothing more', async () => {
    const { received, ended } = await refusing({ idleMilliseconds: 50, bytes: 1000 });
    expect(await ended).toBe(false);
    await received('413');
  });

  it('gives up on one that sends too much', async () => {
    const { socket, ended } = await refusing({ idleMilliseconds: 20_000, bytes: 50 });
    socket.write('x'.repeat(60));
    expect(await ended).toBe(false);
  });

  it('does not wait for one that is gone', async () => {
    const { socket, ended } = await refusing({ idleMilliseconds: 20_000, bytes: 1000 });
    socket.destroy();
    expect(await ended).toBe(false);
  });
});
