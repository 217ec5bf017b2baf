import type { IncomingMessage } from 'node:http';

/** What a client may send on after its request was refused, before its connection is cut. */
const LIMITS = { milliseconds: 5_000, bytes: 64 * 2 ** 20 };

/**
 * Reads what is left of a refused request and throws it away. Closing the connection instead would reset it while the client
 * still writes, and most clients then report the broken connection and never read the answer that says what was wrong.
 * A client that has not ended after five seconds or 64 MiB is cut off.
 */
export function discardBody(request: IncomingMessage, limits = LIMITS): void {
  if (request.complete) return;
  const { socket } = request;
  let left = limits.bytes;
  const timer = setTimeout(() => socket.destroy(), limits.milliseconds);
  request.once('close', () => clearTimeout(timer));
  request.on('data', (part: Buffer) => {
    left -= part.length;
    if (left < 0) socket.destroy();
  });
}
