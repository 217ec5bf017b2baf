// What a server leaves behind when something of it fails.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createNetServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockDirectory } from '@larr/core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { closeAll } from './closing.js';
import { StubBroker } from './events/sinks/kafka-broker.fixture.js';
import { parseSink } from './events/sinks/sink.js';
import { createServer } from './server.js';

let directory: string;
let events: string;
let said: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'larr-server-'));
  events = join(directory, 'events');
  said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(directory, { recursive: true, force: true });
});

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createNetServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('a sink that fails', () => {
  it('at the start leaves no port, no lock and no file open', async () => {
    const port = await freePort();
    const sinks = ['redis://127.0.0.1:1?stream=s'];
    const options = { bundle: directory, port, events, sinks, front: { log: { level: 'silent' as const } } };
    const place = join(events, `sink-${parseSink(sinks[0]!).name}.json`);
    mkdirSync(place, { recursive: true }); // a file that cannot be read, whoever asks
    await expect(createServer(options)).rejects.toMatchObject({
      code: 'SINK_PLACE_UNREADABLE',
      message: expect.stringContaining(place),
    });
    rmSync(place, { recursive: true });
    const server = await createServer(options);
    expect(server.port).toBe(port);
    await server.close();
  });

  it('at the stop says so, and everything else is closed all the same', async () => {
    const broker = await StubBroker.start('orders');
    const sinks = [`kafka://127.0.0.1:${broker.port}/orders`];
    const options = { bundle: directory, port: 0, events, sinks, front: { log: { level: 'silent' as const } } };
    const place = join(events, `sink-${parseSink(sinks[0]!).name}.json`);
    const server = await createServer(options);
    mkdirSync(join(place, 'in the way'), { recursive: true }); // nothing can be renamed to it
    const event = { id: 'e', type: 'click', user: 'u', poi: 'p', time: '2026-01-10T12:11:00' };
    const reply = await fetch(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ events: [event] }),
    });
    expect(reply.status).toBe(200);
    await vi.waitFor(() => expect(broker.received.length).toBeGreaterThan(0), { timeout: 5000 });
    await server.close();
    await broker.stop();
    expect(said).toContain('could not be kept');
    expect(readdirSync(place)).toEqual(['in the way']);
    await expect(fetch(`${server.url}/healthz`)).rejects.toThrow();
    lockDirectory(events, 'the event log').release(); // it would say IN_USE
  }, 20_000);
});

it('starts over an event log with damaged lines, says where they are, counts them, and takes events', async () => {
  mkdirSync(events);
  const file = join(events, 'events-00000001.jsonl');
  const line = (id: string) => `${JSON.stringify({ id, type: 'click', received: '2026-01-10T12:00:00.000Z' })}\n`;
  const before = `${line('1')}nonsense\n${line('2')}`;
  writeFileSync(file, `${before}{"id":"to`);
  const server = await createServer({ bundle: directory, port: 0, events, front: { log: { level: 'silent' } } });
  try {
    expect(said).toContain(`${file}:2 (it is not JSON)`);
    expect(said).toContain(`the event log ${events} has 1 line that is no event`);
    expect(said).toContain(`lie in ${join(events, 'events-00000001.torn')} now`);
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).toContain('larr_event_log_bad_lines{what="skipped"} 1');
    expect(metrics).toContain('larr_event_log_bad_lines{what="torn"} 1');
    const event = { type: 'click', user: 'u', poi: 'p', time: '2026-01-10T12:11:00' };
    const reply = await fetch(`${server.url}/v1/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ events: ['1', '2', '3'].map((id) => ({ id, ...event })) }),
    });
    expect(await reply.json()).toMatchObject({ accepted: 1, duplicates: 2 });
  } finally {
    await server.close();
  }
  const after = readFileSync(file, 'utf8');
  expect(after.slice(0, before.length)).toBe(before);
  expect(after.slice(before.length)).toMatch(/^\{"id":"3".*\}\n$/);
});

it('refuses an event log that another server writes to at once, and names that one', async () => {
  const options = { bundle: directory, port: 0, events, front: { log: { level: 'silent' as const } } };
  const first = await createServer(options);
  try {
    await expect(createServer(options)).rejects.toMatchObject({ code: 'IN_USE' });
    expect((await fetch(`${first.url}/healthz`)).status).toBe(200);
  } finally {
    await first.close();
  }
});

it('closing goes on after a failure, says each, and fails with the first', async () => {
  const closed: string[] = [];
  const told: string[] = [];
  const step = (name: string, fails = false) =>
    [
      name,
      async () => {
        closed.push(name);
        if (fails) throw new Error(`${name} is stuck`);
      },
    ] as const;
  const all = closeAll([step('a'), step('b', true), step('c', true), step('d')], (text) => told.push(text));
  await expect(all).rejects.toThrow('b is stuck');
  expect(closed).toEqual(['a', 'b', 'c', 'd']);
  expect(told).toEqual(['b could not be closed: b is stuck', 'c could not be closed: c is stuck']);
});

it('refuses what its options name and is not there before it reads a bundle', async () => {
  const refused = (options: object, code: string, words: RegExp) =>
    expect(createServer({ bundle: directory, port: 0, ...options })).rejects.toMatchObject({
      name: 'UsageError',
      code,
      message: expect.stringMatching(words),
    });
  await refused({ bundles: join(directory, 'nowhere') }, 'BUNDLES_MISSING', /nowhere is not a directory/);
  await refused({ store: 'redsi://host:6379' }, 'STORE_URL', /redsi:.*redis:\/\/HOST:PORT/);
  await refused({ unseen: directory }, 'UNSEEN_UNREADABLE', /is a directory: name a file/);
  expect(readdirSync(directory)).toEqual([]);
});

it('says nothing beside the error of a bundle that cannot be served at the start', async () => {
  const server = await createServer({ bundle: directory, port: 0 });
  await expect(server.ready).rejects.toMatchObject({ code: 'BUNDLE_MISSING' });
  await server.close();
  expect(said).not.toContain('does not answer');
});

it('says that a bundle does not load which is not the one that it starts with', async () => {
  const server = await createServer({
    bundle: directory,
    bundles: directory,
    port: 0,
    front: { log: { level: 'silent' } },
  });
  mkdirSync(join(directory, 'other'));
  const reply = await fetch(`${server.url}/v1/admin/reload`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ bundle: 'other', alias: 'b' }),
  });
  expect(reply.status).toBe(409);
  await expect(server.ready).rejects.toMatchObject({ code: 'BUNDLE_MISSING' });
  await server.close();
  expect(said).toContain(`${join(directory, 'other')} does not answer as "b"`);
  expect(said).not.toContain('as "current"');
});

it('looks whether its ports are free before it reads a bundle or opens a log', async () => {
  const taken = createNetServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  try {
    for (const ports of [{ port }, { port: 0, front: { adminPort: port } }]) {
      const starting = createServer({ bundle: directory, events, ...ports });
      await expect(starting).rejects.toMatchObject({
        code: 'PORT_IN_USE',
        message: expect.stringContaining(`${port}`),
      });
    }
    expect(readdirSync(directory)).toEqual([]);
    expect(said).not.toContain('does not answer');
  } finally {
    taken.close();
  }
});
