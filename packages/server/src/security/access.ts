import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from '../api/errors.js';
import type { Scope } from '../api/operation.js';
import type { Metrics } from '../observability/metrics.js';
import type { Grant, KeyRing } from './key-ring.js';
import { RateLimit, senderOf } from './rate-limit.js';

/** Who may ask what, how often, and from which pages. */
export interface Access {
  /** null: no keys are asked for */
  keys: KeyRing | null;
  /** without keys: whether a request must call this server by a name of the loopback. Against pages that rebind their name */
  loopbackOnly: boolean;
  /** requests a second of a key that has no rate of its own; null for no limit */
  ratePerKey: number | null;
  /** requests a second of an address, of those that come without a good key; null for no limit */
  ratePerAddress: number | null;
  /** origins of pages that may read the answers, as https://shop.example; none by default */
  corsOrigins: readonly string[];
  /** the port that answers everything, where there is one: then the others answer `rank`, `events` and the open addresses alone */
  adminPort: () => number | null;
}

/** A server of its own machine's alone: no keys, no limits, asked under a name of the loopback. */
export const LOCAL_ACCESS: Access = {
  keys: null,
  loopbackOnly: true,
  ratePerKey: null,
  ratePerAddress: null,
  corsOrigins: [],
  adminPort: () => null,
};

/** Why a request was refused before it reached its route; the label of `larr_refused_total`. */
export type Refusal =
  | 'key-missing'
  | 'key-unknown'
  | 'key-expired'
  | 'scope'
  | 'rate-key'
  | 'rate-address'
  | 'origin'
  | 'host';

declare module 'fastify' {
  interface FastifyRequest {
    /** what the request's key allows; null where none is asked for, or none was given */
    grant: Grant | null;
  }
}

/** Never limited: whoever restarts a server that does not answer would restart a busy one. */
const PROBES: ReadonlySet<string | undefined> = new Set(['/healthz', '/readyz']);
/** Answered on every port; the console's files are not. */
const PUBLIC_SCOPES: ReadonlySet<Scope | undefined> = new Set<Scope | undefined>(['rank', 'events']);
const PUBLIC_ROUTES: ReadonlySet<string | undefined> = new Set([...PROBES, '/openapi.json', undefined]);
const READING = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Adds the checks that come before any route: rates, keys and their scopes, origins, and which port answers what. A route says its scope in its
 * `config`; one under /v1/ without any would be open to everybody by mistake, and is refused when it is registered.
 */
export function guardAccess(app: FastifyInstance, access: Access, metrics: Metrics): void {
  const limit = new RateLimit();
  const refuse = (why: Refusal, error: ApiError): never => {
    metrics.refused.inc({ reason: why });
    throw error;
  };
  app.decorateRequest('grant', null);
  const methods = new Set<string>();
  app.addHook('onRoute', ({ method, url, config }) => {
    for (const one of [method].flat()) methods.add(one);
    if (url.startsWith('/v1/') && config?.scope === undefined)
      throw new Error(`${url} says no scope: who may ask it? (config.scope)`);
  });

  app.addHook('onRequest', async (request, reply) => {
    const { url: route } = request.routeOptions;
    const scope = request.routeOptions.config?.scope;
    if (access.keys === null && access.loopbackOnly && !namesLoopback(request)) {
      refuse(
        'host',
        new ApiError(
          403,
          'HOST_REFUSED',
          'this server has no keys and answers only to a name of its own machine, as localhost; start it with --keys, or with --open',
        ),
      );
    }

    const { origin } = request.headers;
    const trusted = origin !== undefined && access.corsOrigins.includes(origin);
    if (access.corsOrigins.length > 0) reply.header('vary', 'origin');
    if (trusted) {
      reply.header('access-control-allow-origin', origin);
      reply.header('access-control-expose-headers', 'x-request-id, retry-after');
    }
    if (trusted && request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined) {
      // A browser's question before the request: it carries no key.
      return reply
        .code(204)
        .header('access-control-allow-methods', [...methods].sort().join(', '))
        .header('access-control-allow-headers', 'authorization, content-type, x-request-id')
        .header('access-control-max-age', '600')
        .send();
    }

    const checked = access.keys === null ? null : keyOf(request, access.keys);
    const grant = checked !== null && typeof checked === 'object' ? checked : null;
    request.grant = grant;
    if (!PROBES.has(route)) {
      const rate = grant === null ? access.ratePerAddress : (grant.rate ?? access.ratePerKey);
      const wait = rate === null ? 0 : limit.take(grant === null ? senderOf(request.ip) : `key ${grant.id}`, rate);
      if (wait > 0) {
        refuse(
          grant === null ? 'rate-address' : 'rate-key',
          new ApiError(
            429,
            'TOO_MANY_REQUESTS',
            `${grant === null ? 'this address' : 'this key'} may send ${rate} requests a second; try again after the seconds in Retry-After`,
            undefined,
            wait,
          ),
        );
      }
    }

    const admin = access.adminPort();
    // As if it were not there: the public port tells nobody what the other one has.
    if (
      admin !== null &&
      request.raw.socket.localPort !== admin &&
      !PUBLIC_SCOPES.has(scope) &&
      !PUBLIC_ROUTES.has(route)
    )
      throw new ApiError(404, 'NOT_FOUND', 'no such address; /openapi.json lists them all');

    if (access.keys !== null && scope !== undefined) {
      if (grant === null) {
        const why = checked as Exclude<typeof checked, Grant | null>;
        reply.header('www-authenticate', why === 'missing' ? 'Bearer realm="larr"' : 'Bearer error="invalid_token"');
        refuse(`key-${why}`, new ApiError(401, `KEY_${why.toUpperCase()}`, NO_KEY[why]));
      } else if (!grant.scopes.has(scope)) {
        reply.header('www-authenticate', `Bearer error="insufficient_scope", scope="${scope}"`);
        refuse('scope', new ApiError(403, 'SCOPE_MISSING', `this key may not do that: it lacks the scope ${scope}`));
      }
    }

    // Pages of other sites can send simple requests here though they cannot read the answers.
    if (origin !== undefined && !trusted && !READING.has(request.method) && !sameSite(origin, request.host)) {
      refuse(
        'origin',
        new ApiError(
          403,
          'ORIGIN_REFUSED',
          'pages of this origin may not change anything here; --cors-origin lets them',
        ),
      );
    }
  });
}

const NO_KEY = {
  missing: 'a key is needed: Authorization: Bearer larr_…',
  unknown: 'no such key: it was mistyped, or revoked',
  expired: 'this key has expired; ask for a new one',
};

function keyOf(request: FastifyRequest, keys: KeyRing): Grant | 'missing' | 'unknown' | 'expired' {
  const { authorization } = request.headers;
  if (authorization === undefined) return 'missing';
  const key = /^Bearer +(\S{1,200}) *$/i.exec(authorization)?.[1];
  if (key === undefined) return 'unknown';
  const checked = keys.check(key);
  return 'grant' in checked ? checked.grant : checked.refused;
}

/** Whether the request calls this server by a name that only its own machine can mean, or by none. */
function namesLoopback(request: FastifyRequest): boolean {
  const name = request.hostname.toLowerCase().replace(/^\[(.*)\]$/, '$1');
  return name === '' || isLoopback(name);
}

/** Whether a host is this machine's own, reached by nobody else. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase();
  return name === 'localhost' || name.endsWith('.localhost') || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name);
}

function sameSite(origin: string, host: string): boolean {
  try {
    return new URL(origin).host === host.toLowerCase();
  } catch {
    return false; // "null": a page without an origin of its own
  }
}
