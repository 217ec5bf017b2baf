import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { redisInstalled, startRedis, type TestRedis } from '../../store/redis.fixture.js';
import { EventLog, type LogDamage } from '../event-log.js';
import { Forwarder, type ForwarderOptions } from './forwarder.js';
import { StubBroker } from './kafka-broker.fixture.js';
import { openSink } from './open-sink.js';
import { brokersOf, type EventSink, type OutgoingEvent, parseSink } from './sink.js';

let directory: string;
let log: EventLog;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-sinks-'));
  log = await EventLog.open(directory, { segmentBytes: 400 });
});
afterEach(async () => {
  await log.close();
  rmSync(directory, { recursive: true, force: true });
});

const received = '2026-01-01T00:00:00.000Z';
const event = (n: number) => ({ id: `e${n}`, type: 'click', user: `u${n % 3}`, text: '🍜'.repeat(n % 7), received });
const ids = (n: number, from = 0) => Array.from({ length: n }, (_, i) => `e${from + i}`);
const write = async (n: number, from = 0) => {
  for (let i = 0; i < n; i += 4)
    await log.append(Array.from({ length: Math.min(4, n - i) }, (_, j) => event(from + i + j)));
};

/** Waits until something is so, at most five seconds. */
async function until(so: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 5000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 5)))
    if (await so()) return;
  throw new Error('it did not come to that in five seconds');
}

/** Keeps what it gets; fails as often as it is told, before or after taking the batch. */
class MemorySink implements EventSink {
  readonly got: OutgoingEvent[] = [];
  failures: ('before' | 'after')[] = [];
  tries = 0;
  async send(events: readonly OutgoingEvent[]): Promise<void> {
    this.tries++;
    const fate = this.failures.shift();
    if (fate === 'before') throw new Error('away');
    this.got.push(...events);
    if (fate === 'after') throw new Error('away before it could say so');
  }
  async close(): Promise<void> {}
}

const forwarder = (sink: EventSink, more: Partial<ForwarderOptions> = {}) =>
  new Forwarder(log, sink, { directory, name: 'test', retryMs: [2, 20], ...more });

describe('forwarding a log', () => {
  it('passes on what was there and what comes, in order, over all files', async () => {
    const sink = new MemorySink();
    await write(20);
    const running = forwarder(sink, { batchBytes: 100 });
    await running.start();
    await write(21, 20);
    await until(() => sink.got.length === 41);
    expect(sink.got.map(({ id }) => id)).toEqual(ids(41));
    expect(sink.got.map(({ line }) => JSON.parse(line))).toEqual(ids(41).map((_, n) => event(n)));
    expect(sink.got[4]).toMatchObject({ user: 'u1', type: 'click' });
    expect(running.behind).toEqual({ segments: 0, bytes: 0 });
    expect(log.end.segment).toBeGreaterThan(3);
    await running.stop();
  });

  it('goes on after a stop where it was, and after a crash loses nothing', async () => {
    const first = new MemorySink();
    const one = forwarder(first);
    await one.start();
    await write(10);
    await until(() => first.got.length === 10);
    await one.stop();
    await write(6, 10);
    const second = new MemorySink();
    const two = forwarder(second);
    await two.start();
    await until(() => second.got.length === 6);
    expect(second.got.map(({ id }) => id)).toEqual(ids(6, 10));
    await two.stop();
    // Without its place, as after a crash before the first was kept: all again.
    rmSync(join(directory, 'sink-test.json'));
    const third = new MemorySink();
    const three = forwarder(third);
    await three.start();
    await until(() => third.got.length === 16);
    await three.stop();
  });

  it('tries again until the sink takes them, slower each time, and nobody who writes waits for it', async () => {
    const sink = new MemorySink();
    sink.failures = ['before', 'after', 'before', 'before'];
    const troubles: (string | null)[] = [];
    const running = forwarder(sink, { onTrouble: (error) => troubles.push(error?.message ?? null) });
    await running.start();
    expect(await log.append([event(0)])).toEqual({ accepted: 1, duplicates: 0 });
    await until(() => troubles.includes(null));
    expect(troubles).toEqual(['away', 'away before it could say so', 'away', 'away', null]);
    // At least once: the batch whose answer was lost is there twice.
    expect(sink.got.map(({ id }) => id)).toEqual(['e0', 'e0']);
    await running.stop();
  });

  it('passes over lines that are no events, says how many, and does not stop at them', async () => {
    await write(4);
    await log.close();
    const first = join(directory, 'events-00000001.jsonl');
    appendFileSync(first, 'nonsense\n{"type":"click"}\n{"id":"x"}\n\n');
    log = await EventLog.open(directory);
    await write(4, 4);
    const sink = new MemorySink();
    let skipped = 0;
    const running = forwarder(sink, { onSkipped: (lines) => (skipped += lines) });
    await running.start();
    await until(() => sink.got.length === 8);
    expect(sink.got.map(({ id }) => id)).toEqual(ids(8));
    expect(skipped).toBe(3);
    await running.stop();
  });

  it('skips as many lines as the log counts when it is opened, the torn ends of older files too', async () => {
    await write(20);
    await log.close();
    const older = (n: number) => join(directory, `events-0000000${n}.jsonl`);
    appendFileSync(older(1), `nonsense\n${JSON.stringify(event(99)).repeat(9).slice(0, -1)}`);
    appendFileSync(older(2), ' ');
    const damage: LogDamage[] = [];
    log = await EventLog.open(directory, { onDamage: (told) => damage.push(told) });
    expect(log.end.segment).toBeGreaterThan(2);
    const sink = new MemorySink();
    let skipped = 0;
    const running = forwarder(sink, { batchBytes: 100, onSkipped: (lines) => (skipped += lines) });
    await running.start();
    await until(() => sink.got.length === 20);
    await until(() => running.behind.segments === 0 && running.behind.bytes === 0);
    expect(damage).toMatchObject([{ lines: 2, torn: null }]);
    expect(skipped).toBe(2);
    await running.stop();
  });

  it('passes over files that were taken away', async () => {
    await write(12);
    rmSync(join(directory, 'events-00000001.jsonl'));
    const sink = new MemorySink();
    const running = forwarder(sink);
    await running.start();
    await until(() => sink.got.at(-1)?.id === 'e11');
    expect(sink.got.length).toBeLessThan(12);
    await running.stop();
  });
});

describe.runIf(redisInstalled)('a Redis stream', () => {
  let redis: TestRedis;
  beforeEach(async () => {
    redis = await startRedis();
  });
  afterEach(() => redis.remove());

  it('has every event, in order, also when Redis was killed and came back', async () => {
    const { address, sink } = await openSink(`${redis.url}/2?stream=orders`);
    const troubles: unknown[] = [];
    const running = forwarder(sink, { name: address.name, onTrouble: (error) => troubles.push(error) });
    await running.start();
    await write(12);
    const read = async () => {
      const client = new Redis(redis.url, { db: 2, lazyConnect: true, retryStrategy: null });
      client.on('error', () => {});
      try {
        await client.connect();
        return (await client.xrange('orders', '-', '+')).map(
          ([, fields]) =>
            Object.fromEntries(fields.flatMap((f, i) => (i % 2 ? [] : [[f, fields[i + 1]!]]))) as Record<
              string,
              string
            >,
        );
      } finally {
        client.disconnect();
      }
    };
    await until(async () => (await read()).length === 12);
    await redis.kill();
    await write(12, 12);
    await until(() => troubles.length > 0);
    await redis.start();
    await until(async () => new Set((await read()).map(({ id }) => id)).size === 24);
    const got = await read();
    // What was sent twice stands at its place again; in the order of the first times nothing is missing.
    expect([...new Set(got.map(({ id }) => id))]).toEqual(ids(24));
    expect(got.map(({ event: line }) => JSON.parse(line!).id)).toEqual(got.map(({ id }) => id));
    expect(got[5]).toMatchObject({ type: 'click', user: 'u2' });
    await running.stop();
    expect(JSON.parse(readFileSync(join(directory, `sink-${address.name}.json`), 'utf8')).segment).toBe(
      log.end.segment,
    );
  }, 20_000);
});

describe('a Kafka topic, by a stub of the broker', () => {
  it('has every event as a message keyed by its user, also when the broker refuses once and hangs up once', async () => {
    const broker = await StubBroker.start('orders');
    broker.next.push('refuse', 'take and hang up');
    const { address, sink } = await openSink(`kafka://127.0.0.1:${broker.port}/orders`);
    const troubles: unknown[] = [];
    const running = forwarder(sink, { name: address.name, onTrouble: (error) => troubles.push(error) });
    await write(6);
    await running.start();
    const different = () => new Set(broker.received.map(({ headers }) => headers.id)).size;
    await until(() => troubles.includes(null) && different() === 6);
    expect(troubles.filter((error) => error !== null)).toHaveLength(2);
    expect(broker.acks).toBe(-1);
    for (const { key, value, headers, topic } of broker.received) {
      expect(topic).toBe('orders');
      expect(JSON.parse(value)).toEqual(event(Number(headers.id!.slice(1))));
      expect(key).toBe(JSON.parse(value).user);
      expect(headers.type).toBe('click');
    }
    await running.stop();
    await broker.stop();
  }, 20_000);
});

describe("a sink's address", () => {
  it('is read with its parts, and has a name without the password in it', () => {
    const redis = parseSink('rediss://me:se%40cret@cache:7000/3?stream=s&maxlen=1000');
    expect(redis).toMatchObject({ kind: 'redis', topic: 's' });
    expect(parseSink('rediss://you:other@cache:7000/3?stream=s').name).toBe(redis.name);
    expect(parseSink('rediss://cache:7000/3?stream=t').name).not.toBe(redis.name);
    const kafka = parseSink('kafka://user:pw@one:9092,two,three:9094/events.v1');
    expect(kafka.topic).toBe('events.v1');
    expect(brokersOf(kafka)).toEqual(['one:9092', 'two:9092', 'three:9094']);
    expect(parseSink('kafka://one:9092,two/events.v1').name).not.toBe(parseSink('kafka://one:9092/events.v1').name);
  });

  it.each([
    'nonsense',
    'http://host/x',
    'redis://host/0?strem=x',
    'redis://host/zero',
    'redis://host?maxlen=-1',
    'kafka://host',
    'kafka://host/a/b',
    'kafka://host/t?acks=0',
  ])('%s is refused, in words', (text) => {
    expect(() => parseSink(text)).toThrow(expect.objectContaining({ code: 'SINK_INVALID' }));
  });

  it.each([
    ['redis://me:secret@host/zero', 'redis://host…'],
    ['redis://me:pa/secret@host', 'redis://…'],
    ['redis://me:12/secret@host', 'redis://…'],
    ['redis://me:12?secret=1@host', 'redis://…'],
    ['redis://me:12#secret@host', 'redis://…'],
    ['redis://me:secret@ho st', 'redis://…'],
    ['redis://me:se@secret@host/zero', 'redis://host…'],
    ['redis://me:secret%@host', 'redis://…'],
    ['kafka://me:p@secret@host:9092/t', 'kafka://…'],
    ['kafka://me:secret@host:port/t', 'kafka://…'],
    ['kafka://me:secret,too@one:9092,two/t/u', 'kafka://one:9092…'],
    ['http://me:secret@host/x', '--sink :'],
    ['me:secret@host', '--sink :'],
  ])('the refusal of %s says where it was to go, and repeats no password', (text, shown) => {
    const said = (() => {
      try {
        parseSink(text);
      } catch (error) {
        return error as Error;
      }
    })();
    expect(said).toMatchObject({ code: 'SINK_INVALID', message: expect.stringContaining(shown) });
    expect(said!.message).not.toContain('secret');
  });
});
