import { createHash } from 'node:crypto';
import { UsageError } from '@larr/core';

/** An event on its way to a sink: the line of the log as it stands, and what sinks address it by. */
export interface OutgoingEvent {
  id: string;
  type: string;
  user: string;
  line: string;
}

/** Somewhere that events are passed on to. */
export interface EventSink {
  /** Hands events over, in order; resolves when the other side has them for good. Some may be there already, from a try that failed half-way. */
  send(events: readonly OutgoingEvent[]): Promise<void>;
  close(): Promise<void>;
}

/** A sink as it is configured. */
export interface SinkAddress {
  kind: 'redis' | 'kafka';
  /** tells the sink's place in the log apart from other sinks'; holds no password */
  name: string;
  url: URL;
  /** stream of Redis, topic of Kafka */
  topic: string;
}

const SCHEME = /^(?:rediss?|kafkas?):\/\//;
const ENCODED = 'In a name or password write / as %2F, ? as %3F, # as %23, @ as %40 and % as %25';
const TOPIC = /^[A-Za-z0-9._-]{1,249}$/;

/**
 * Reads a sink's address: `redis://[user:password@]host:port[/database]?stream=NAME[&maxlen=N]` (`rediss:` with TLS) or
 * `kafka://host:port[,host:port…]/topic` (`kafkas:` with TLS, SASL/PLAIN by `user:password@`).
 * @throws UsageError SINK_INVALID
 */
export function parseSink(text: string): SinkAddress {
  let shown = SCHEME.exec(text)?.[0] ?? '';
  const wrong = (why: string) =>
    new UsageError(
      'SINK_INVALID',
      `--sink ${shown}${shown === '' ? '' : '…'}: ${why}. Write redis://host:6379?stream=events or kafka://host:9092/topic`,
    );
  if (shown === '') throw wrong('it begins with none of redis://, rediss://, kafka:// and kafkas://');
  // Several brokers are no URL: the others come back in `brokersOf`.
  const first = text.replace(/^(kafkas?:\/\/(?:[^/@]*@)?[^/,]+)(?:,[^/]*)/, '$1');
  let url: URL;
  try {
    url = new URL(first);
    decodeURIComponent(url.username + url.password);
  } catch {
    throw wrong(`it is no address. ${ENCODED}`);
  }
  const scheme = url.protocol.slice(0, -1);
  // Then what was taken for the host, or stands behind it, is a part of the password.
  const rest = text.slice(shown.length);
  const authority = /^[^/?#]*/.exec(rest)![0];
  if (rest.slice(authority.length).includes('@') || (scheme.startsWith('kafka') && authority.split('@').length > 2))
    throw wrong(ENCODED);
  shown += url.host;
  const kind = scheme.startsWith('redis') ? 'redis' : 'kafka';
  const known = kind === 'redis' ? ['stream', 'maxlen'] : [];
  for (const key of url.searchParams.keys()) if (!known.includes(key)) throw wrong(`"${key}" is none of its settings`);
  const topic = kind === 'redis' ? (url.searchParams.get('stream') ?? 'larr-events') : url.pathname.slice(1);
  if (!TOPIC.test(topic))
    throw wrong(kind === 'redis' ? 'that is no name of a stream' : 'the topic is missing, or no name of one');
  if (url.hostname === '') throw wrong('the host is missing');
  const maxlen = url.searchParams.get('maxlen');
  if (maxlen !== null && !/^[1-9]\d{0,14}$/.test(maxlen)) throw wrong('maxlen is no number of events');
  if (kind === 'redis' && !/^\/?\d{0,3}$/.test(url.pathname))
    throw wrong('after the host comes the number of a database');
  const place = `${scheme}//${url.host}${url.pathname}?${topic} ${text.match(/^kafkas?:\/\/(?:[^/@]*@)?([^/]*)/)?.[1] ?? ''}`;
  const name = `${kind}-${createHash('sha256').update(place).digest('hex').slice(0, 12)}`;
  url.searchParams.set('brokers', text.match(/^kafkas?:\/\/(?:[^/@]*@)?([^/?]*)/)?.[1] ?? '');
  return { kind, name, url, topic };
}

/** Addresses of a Kafka sink's brokers, host:port. */
export function brokersOf({ url }: SinkAddress): string[] {
  return url.searchParams
    .get('brokers')!
    .split(',')
    .map((broker) => (/:\d+$/.test(broker) ? broker : `${broker}:9092`));
}
