import type { Server } from 'node:http';
import { isIP } from 'node:net';
import { UsageError } from '@larr/core';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { Front } from '../api/app.js';
import { Listeners, listen, stopListening } from '../api/listeners.js';
import type { Metrics } from '../observability/metrics.js';
import { DEFAULT_LOG, type LogOptions } from '../observability/request-log.js';
import { isLoopback } from './access.js';
import { KeyRing } from './key-ring.js';
import { readTls, type TlsFiles } from './tls.js';
import { type Watch, watchFiles } from './watched-file.js';

export interface FrontOptions {
  /** Key file of `larr-server keys`; read again when it changes. Without one the server answers to its own machine alone. */
  keys?: string;
  /** Answer everybody everything, without keys, wherever it listens. */
  open?: boolean;
  /** A second port that answers everything, 0 for a free one; the first one then answers `rank`, `events` and the probes alone. */
  adminPort?: number;
  /** Address of the second port; 127.0.0.1 by default. */
  adminHost?: string;
  /** Requests a second of a key that has no rate of its own; none by default. */
  ratePerKey?: number;
  /** Requests a second of an address, of those without a good key; 50 by default where there are keys, else none. */
  ratePerAddress?: number;
  /** Origins of pages that may ask from a browser; none by default. */
  corsOrigins?: string[];
  /** Addresses and networks of proxies whose X-Forwarded-For, -Host and -Proto are believed; none by default. */
  trustProxy?: string[];
  /** Certificate and key in PEM: HTTPS in place of HTTP. Read again when they change. */
  tls?: TlsFiles;
  log?: Partial<LogOptions>;
}

const RATE_PER_ADDRESS = 50;

/** What stands between the application and the network, and its second port. */
export interface OpenFront extends Front {
  /** Tells the application's log from now on what was loaded again. */
  attach(app: FastifyInstance): void;
  /** Opens the second port, where one is wanted; its number. */
  listenAdmin(app: FastifyInstance): Promise<number | null>;
  /** Stops the second port's accepting and the watching of files. */
  close(): Promise<void>;
}

/**
 * Reads keys and certificate and checks the options against each other.
 * @throws UsageError KEYS_NEEDED, OPTION_INVALID; ConfigError of the key file and of the certificate
 */
export async function openFront(options: FrontOptions, host: string, metrics: Metrics): Promise<OpenFront> {
  const {
    keys: keyFile,
    open = false,
    tls: tlsFiles,
    adminPort: wantedAdminPort,
    corsOrigins = [],
    trustProxy = [],
  } = options;
  const adminHost = options.adminHost ?? '127.0.0.1';
  if (keyFile !== undefined && open)
    throw new UsageError(
      'OPTION_INVALID',
      '--open lets everybody in and --keys asks for keys: only one of them can be',
    );
  for (const [option, address] of [
    ['--host', host],
    ...(wantedAdminPort === undefined ? [] : [['--admin-host', adminHost]]),
  ]) {
    if (keyFile === undefined && !open && !isLoopback(address!)) throw keysNeeded(option!, address!);
  }
  corsOrigins.forEach(checkOrigin);
  trustProxy.forEach(checkProxy);

  let log: FastifyBaseLogger | null = null;
  const reloaded = (what: string, error: Error | null, details: object = {}): void => {
    metrics.reloads.inc({ what, outcome: error === null ? 'ok' : 'failed' });
    if (error === null) log?.info({ what, ...details }, 'loaded again');
    else log?.error({ what, reason: error.message }, 'could not be loaded again; what was there before stays');
  };
  const watches: Watch[] = [];
  const tls = tlsFiles === undefined ? null : await readTls(tlsFiles);
  const listeners = new Listeners(tls);
  if (tlsFiles !== undefined) {
    watches.push(
      await watchFiles([tlsFiles.cert, tlsFiles.key], async () => {
        try {
          listeners.renew(await readTls(tlsFiles));
          reloaded('tls', null);
        } catch (error) {
          reloaded('tls', error as Error);
        }
      }),
    );
  }
  let keys: KeyRing | null;
  try {
    keys =
      keyFile === undefined
        ? null
        : await KeyRing.open(keyFile, (count, error) => reloaded('keys', error, { keys: count }));
  } catch (error) {
    for (const watch of watches) watch.close();
    throw error;
  }

  let adminServer: Server | null = null;
  // Until it is known where admin requests come in, they come in nowhere.
  let adminPort = wantedAdminPort === undefined ? null : -1;
  return {
    access: {
      keys,
      loopbackOnly: !open && keys === null,
      ratePerKey: options.ratePerKey ?? null,
      ratePerAddress: options.ratePerAddress ?? (keys === null ? null : RATE_PER_ADDRESS),
      corsOrigins,
      adminPort: () => adminPort,
    },
    log: { ...DEFAULT_LOG, ...options.log },
    listeners,
    trustProxy,
    attach(app) {
      log = app.log;
      if (keys !== null && tls === null && trustProxy.length === 0 && !isLoopback(host))
        log.warn(
          'keys travel as they are over this network: use --tls-cert and --tls-key, or a proxy that ends TLS (--trust-proxy)',
        );
      if (keys?.size === 0) log.warn({ file: keyFile }, 'the key file has no keys: nobody may ask anything');
    },
    async listenAdmin(app) {
      if (wantedAdminPort === undefined) return null;
      adminServer = listeners.create(app.routing);
      adminPort = await listen(adminServer, adminHost, wantedAdminPort);
      return adminPort;
    },
    async close() {
      keys?.close();
      for (const watch of watches) watch.close();
      if (adminServer?.listening) await stopListening(adminServer);
    },
  };
}

function keysNeeded(option: string, address: string): UsageError {
  return new UsageError(
    'KEYS_NEEDED',
    `${option} ${address}: others can reach this address, and nobody is asked for a key. Make keys (larr-server keys add --keys keys.json --name NAME ` +
      '--scopes rank) and start with --keys keys.json; or, where everybody on that network may do everything, with --open',
  );
}

function checkOrigin(origin: string): void {
  let parsed: string | null = null;
  try {
    parsed = new URL(origin).origin;
  } catch {
    // said below
  }
  if (parsed !== origin)
    throw new UsageError('OPTION_INVALID', `--cors-origin ${origin}: an origin is expected, as https://shop.example`);
}

const NAMED_NETWORKS = new Set(['loopback', 'linklocal', 'uniquelocal']);

function checkProxy(proxy: string): void {
  if (NAMED_NETWORKS.has(proxy)) return;
  const [address, bits, more] = proxy.split('/') as [string, string?, string?];
  const kind = isIP(address);
  const fits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (kind === 4 ? 32 : 128));
  if (kind === 0 || !fits || more !== undefined)
    throw new UsageError(
      'OPTION_INVALID',
      `--trust-proxy ${proxy}: an address or network is expected, as 10.0.0.7, 10.0.0.0/8, loopback, linklocal or uniquelocal`,
    );
}
