import type { IncomingMessage } from 'node:http';

/** What is still read of a request that is refused. */
const LIMITS = { idleMilliseconds: 5_000, bytes: 64 * 2 ** 20 };

/**
 * Reads what is left of a refused request's body and throws it away; the answer should wait for it. Sent before, it is lost where the
 * connection is then closed (as the client wished, or because the server stops): the system resets a connection that has unread
 * input, and most clients report that and never read the answer that says what was wrong.
 * @returns whether the body came to its end: not where the client sends nothing for five seconds, goes away, or has more than 64 MiB to send;
 *   then the connection is of no further use.
 */
export function discardBody(request: IncomingMessage, limits = LIMITS): Promise<boolean> {
  const { socket } = request;
  // a request that was injected has no socket of its own, and does not say that it is complete
  if (request.complete || request.readableEnded) return Promise.resolve(true);
  if (socket.destroyed || Number(request.headers['content-length']) > limits.bytes) return Promise.resolve(false);
  return new Promise((resolve) => {
    let left = limits.bytes;
    const settle = (ended: boolean) => {
      clearTimeout(timer);
      request.off('data', taken).off('end', finished).off('close', gone);
      socket.off('close', gone);
      resolve(ended);
    };
    const finished = () => settle(true);
    const gone = () => settle(request.complete);
    const taken = (part: Buffer) => {
      timer.refresh();
      left -= part.length;
      if (left < 0) settle(false);
    };
    const timer = setTimeout(() => settle(false), limits.idleMilliseconds);
    request.on('data', taken).on('end', finished).on('close', gone);
    socket.on('close', gone);
    request.resume();
  });
}
