import { Kafka, logLevel, Partitioners, type Producer } from 'kafkajs';
import { brokersOf, type EventSink, type OutgoingEvent, type SinkAddress } from './sink.js';

/** Sends events to a Kafka topic, acknowledged by all in-sync replicas. The key is the user, so that a user's events stay in order; the value is the event as JSON. */
export class KafkaSink implements EventSink {
  readonly #producer: Producer;
  readonly #topic: string;
  #connected = false;

  constructor(address: SinkAddress) {
    const { url, topic } = address;
    this.#topic = topic;
    const kafka = new Kafka({
      clientId: 'larr-server',
      brokers: brokersOf(address),
      logLevel: logLevel.NOTHING,
      connectionTimeout: 5_000,
      requestTimeout: 10_000,
      // Whoever forwards tries again, with the whole batch and at its own pace.
      retry: { retries: 0 },
      ssl: url.protocol === 'kafkas:',
      ...(url.username === ''
        ? {}
        : {
            sasl: {
              mechanism: 'plain' as const,
              username: decodeURIComponent(url.username),
              password: decodeURIComponent(url.password),
            },
          }),
    });
    this.#producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
    this.#producer.on('producer.disconnect', () => {
      this.#connected = false;
    });
  }

  async send(events: readonly OutgoingEvent[]): Promise<void> {
    if (!this.#connected) {
      await this.#producer.connect();
      this.#connected = true;
    }
    await this.#producer.send({
      topic: this.#topic,
      acks: -1,
      messages: events.map(({ id, type, user, line }) => ({ key: user, value: line, headers: { id, type } })),
    });
  }

  async close(): Promise<void> {
    await this.#producer.disconnect();
  }
}
