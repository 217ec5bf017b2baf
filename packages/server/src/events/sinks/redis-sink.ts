import { Redis } from 'ioredis';
import type { EventSink, OutgoingEvent, SinkAddress } from './sink.js';

/**
 * Appends events to a Redis stream: fields `id`, `type`, `user` and `event` (the event as JSON). What Redis does with them then, on its disk and in its replicas,
 * is its own configuration's.
 */
export class RedisSink implements EventSink {
  readonly #redis: Redis;
  readonly #stream: string;
  readonly #maxlen: string | null;

  constructor({ url, topic }: SinkAddress) {
    this.#stream = topic;
    this.#maxlen = url.searchParams.get('maxlen');
    const database = url.pathname.slice(1);
    this.#redis = new Redis({
      host: url.hostname,
      port: url.port === '' ? 6379 : Number(url.port),
      ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
      ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
      ...(database === '' ? {} : { db: Number(database) }),
      ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
      lazyConnect: true,
      // Whoever forwards tries again, with the whole batch and at its own pace.
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      retryStrategy: null,
      connectTimeout: 5_000,
      commandTimeout: 10_000,
    });
    // A lost connection shows at the next send; without a listener the client would write it to the console.
    this.#redis.on('error', () => {});
  }

  async send(events: readonly OutgoingEvent[]): Promise<void> {
    if (this.#redis.status !== 'ready') {
      this.#redis.disconnect();
      await this.#redis.connect();
    }
    const batch = this.#redis.pipeline();
    const trim = this.#maxlen === null ? [] : ['MAXLEN', '~', this.#maxlen];
    for (const { id, type, user, line } of events)
      batch.call('XADD', this.#stream, ...trim, '*', 'id', id, 'type', type, 'user', user, 'event', line);
    for (const [error] of (await batch.exec()) ?? [[new Error('Redis did not answer')]]) if (error) throw error;
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
  }
}
