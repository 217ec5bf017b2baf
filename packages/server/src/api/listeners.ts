import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer, type Server as HttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TlsMaterial } from '../security/tls.js';

/** A client that never finishes its request, or only dribbles its headers, does not hold a connection for ever. */
const REQUEST_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
/** Longer than load balancers keep theirs (60 s is usual): the side that closes an idle connection should be the one that sends. */
const KEEP_ALIVE_MS = 72_000;

/** The HTTP or, with a certificate, HTTPS servers that stand before one application. */
export class Listeners {
  readonly #servers = new Set<Server>();
  #tls: TlsMaterial | null;

  constructor(tls: TlsMaterial | null) {
    this.#tls = tls;
  }

  get protocol(): 'http' | 'https' {
    return this.#tls === null ? 'http' : 'https';
  }

  /** A server that hands its requests to `handler`; it does not listen yet. */
  create(handler: RequestListener): Server {
    const options = { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: HEADERS_TIMEOUT_MS };
    const server: Server =
      this.#tls === null
        ? createHttpServer(options, handler)
        : (createHttpsServer({ ...options, ...this.#tls, minVersion: 'TLSv1.2' }, handler) as unknown as Server);
    server.keepAliveTimeout = KEEP_ALIVE_MS;
    server.on('clientError', refuseUnreadable);
    this.#servers.add(server);
    server.on('close', () => this.#servers.delete(server));
    return server;
  }

  /** New connections get this certificate; those that are open keep theirs. */
  renew(tls: TlsMaterial): void {
    this.#tls = tls;
    for (const server of this.#servers)
      (server as unknown as HttpsServer).setSecureContext({ ...tls, minVersion: 'TLSv1.2' });
  }

  /** Cuts every connection off, whatever it waits for. */
  cutAll(): void {
    for (const server of this.#servers) server.closeAllConnections();
  }
}

/** Listens; resolves with the port. Rejects with the system's reason. */
export function listen(server: Server, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** Stops accepting; resolves when what was in flight is answered. */
export function stopListening(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
  });
}

const UNREADABLE: Record<string, [status: string, code: string, message: string]> = {
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    'HEADERS_TOO_LARGE',
    'the headers are larger than 16 KiB',
  ],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'REQUEST_TIMEOUT', 'the request did not arrive in time'],
};

/** What came is no HTTP: the parser knows no request to answer, so this writes to the socket itself. */
export function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, code, message] = UNREADABLE[error.code ?? ''] ?? [
    '400 Bad Request',
    'REQUEST_INVALID',
    'what came is no HTTP request',
  ];
  const body = JSON.stringify({ error: { code, message }, requestId: randomUUID() });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\ncache-control: no-store\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
