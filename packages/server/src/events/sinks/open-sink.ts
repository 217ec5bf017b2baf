import { type EventSink, parseSink, type SinkAddress } from './sink.js';

/** Reads a sink's address and makes the sink; it connects when it has something to send. @throws UsageError SINK_INVALID */
export async function openSink(text: string): Promise<{ address: SinkAddress; sink: EventSink }> {
  const address = parseSink(text);
  // Who has no sink loads no client.
  if (address.kind === 'redis') return { address, sink: new (await import('./redis-sink.js')).RedisSink(address) };
  return { address, sink: new (await import('./kafka-sink.js')).KafkaSink(address) };
}
