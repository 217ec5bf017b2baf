import type { Metrics } from '../../observability/metrics.js';
import type { EventLog } from '../event-log.js';
import { Forwarder } from './forwarder.js';
import { openSink } from './open-sink.js';

/**
 * Passes a log's events on to every sink that is named, each at its own pace.
 * @param addresses as parseSink takes them
 * @returns stops them all, after what is under way
 * @throws UsageError SINK_INVALID; DataError SINK_PLACE_UNREADABLE
 */
export async function forwardEvents(
  log: EventLog,
  directory: string,
  addresses: readonly string[],
  metrics: Metrics,
): Promise<() => Promise<void>> {
  const sinks = await Promise.all(addresses.map(openSink));
  const forwarders = sinks.map(({ address: { name, kind, url, topic }, sink }) => {
    const label = `${kind}:${topic}`;
    const say = (text: string) => process.stderr.write(`larr-server: ${kind} ${url.host}, ${topic}: ${text}\n`);
    let silent = false;
    return new Forwarder(log, sink, {
      directory,
      name,
      onSent: (events) => metrics.forwarded.inc({ sink: label, outcome: 'sent' }, events),
      onTrouble: (error) => {
        if (error === null) say('takes events again');
        else {
          metrics.forwarded.inc({ sink: label, outcome: 'failed' });
          if (!silent) say(`takes no events: ${error.message}. They wait in the log`);
        }
        silent = error !== null;
      },
      onSkipped: (lines) => {
        metrics.forwarded.inc({ sink: label, outcome: 'skipped' }, lines);
        say(
          `${lines} ${lines === 1 ? 'line of the log is no event and was' : 'lines of the log are no events and were'} not passed on`,
        );
      },
      onPlaceLost: (error) =>
        say(`where it has come to could not be kept: ${error.message}. Some events will be sent again`),
    });
  });
  const stop = async () => {
    await Promise.all(forwarders.map((forwarder) => forwarder.stop()));
  };
  const started = await Promise.allSettled(forwarders.map((forwarder) => forwarder.start()));
  const failed = started.find(({ status }) => status === 'rejected');
  if (failed?.status === 'rejected') {
    await stop();
    throw failed.reason;
  }
  return stop;
}
