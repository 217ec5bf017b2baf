import { once } from 'node:events';
import { createServer } from 'node:http';
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
  for (const end of ends.splice(0)) await end();
});

async function connectTo(port: number): Promise<{ socket: Socket; received: (text: string) => Promise<string> }> {
  const socket = connect(port, '127.0.0.1');
  ends.push(() => socket.destroy());
  await once(socket, 'connect');
  let all = '';
  socket.on('data', (part) => {
    all += part;
  });
  let over = '';
  socket.on('error', (error) => {
    over = String(error);
  });
  socket.on('close', () => {
    over ||= 'closed';
  });
  const received = async (text: string) => {
    while (!all.includes(text)) {
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

describe('a body that is refused before it has come', () => {
  const serve = async () => {
    const models = new ModelRegistry();
    models.install(unasked);
    const state = { models, events: null, experiments: null, stopping: false };
    const app = createApp({ state, metrics: createMetrics(), limits: { ...DEFAULT_LIMITS, bodyBytes: 2000 } });
    ends.push(() => app.close());
    await app.listen({ port: 0, host: '127.0.0.1' });
    return connectTo((app.server.address() as AddressInfo).port);
  };
  const head = (length: string) =>
    `POST /v1/rank HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${length}\r\n\r\n`;
  const probe = 'GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n';

  it('may be written to its end: the client can read why, and goes on with the connection', async () => {
    const { socket, received } = await serve();
    socket.write(head(`content-length: ${32 * 2 ** 20}`));
    // the answer is there before the body, and more follows than the system's buffers take
    const answer = await received('BODY_TOO_LARGE');
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).not.toMatch(/connection: close/i);
    socket.write(Buffer.alloc(32 * 2 ** 20, '9'));
    socket.write(probe);
    expect(await received('HTTP/1.1 200')).toMatch(/HTTP\/1\.1 200/);
  });

  it('may come in pieces of no announced length', async () => {
    const { socket, received } = await serve();
    const piece = `10000\r\n${'9'.repeat(65536)}\r\n`;
    socket.write(head('transfer-encoding: chunked') + piece.repeat(200));
    await received('BODY_TOO_LARGE');
    socket.write(`${piece.repeat(100)}0\r\n\r\n${probe}`);
    expect(await received('HTTP/1.1 200')).toMatch(/HTTP\/1\.1 200/);
  });

  it('keeps the connection after one that is no JSON', async () => {
    const { socket, received } = await serve();
    socket.write(`${head('content-length: 1')}{${probe}`);
    expect(await received('HTTP/1.1 200')).toMatch(/BODY_NOT_JSON/);
  });
});

describe('discardBody', () => {
  const refusing = async (limits: { milliseconds: number; bytes: number }) => {
    const server = createServer((request, reply) => {
      discardBody(request, limits);
      reply.writeHead(413).end('no');
    });
    ends.push(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return connectTo((server.address() as AddressInfo).port);
  };
  const head = 'POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n';

  it('cuts off who goes on for too long', async () => {
    const { socket, received } = await refusing({ milliseconds: 50, bytes: 1e9 });
    socket.write(`${head}dribble`);
    await received('413');
    await once(socket, 'close');
  });

  it('and who sends too much', async () => {
    const { socket, received } = await refusing({ milliseconds: 1e6, bytes: 1000 });
    socket.write(head + 'x'.repeat(900));
    await received('413');
    socket.write('x'.repeat(200));
    await once(socket, 'close');
  });
});
