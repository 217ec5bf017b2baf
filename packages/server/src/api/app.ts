import { randomUUID } from 'node:crypto';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { DEFAULT_LOG, type LogOptions, logger, logRequests } from '../observability/request-log.js';
import { type Access, guardAccess, LOCAL_ACCESS } from '../security/access.js';
import type { ErrorReply } from './contracts/index.js';
import { ApiError, invalidBody, stopping } from './errors.js';
import { parseJsonBody } from './json-body.js';
import { Listeners } from './listeners.js';
import type { PublishedOperation } from './openapi.js';
import { adminRoutes } from './routes/admin.js';
import { catalogueRoutes } from './routes/catalogue.js';
import { consoleRoutes } from './routes/console.js';
import { eventRoutes } from './routes/events.js';
import { experimentRoutes } from './routes/experiments.js';
import { healthRoutes } from './routes/health.js';
import { openApiRoutes } from './routes/openapi.js';
import { probeRoutes } from './routes/probes.js';
import { rankRoutes } from './routes/rank.js';
import { recallRoutes } from './routes/recall.js';
import { runRoutes } from './routes/runs.js';
import { scoreRoutes } from './routes/score.js';
import type { RouteContext } from './state.js';
import { discardBody } from './unread-body.js';

/** Sent with every answer. The API has no pages, so nothing may be embedded, cached or guessed at. CORS is off: no Access-Control header. */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

/** What stands between the routes and the network. */
export interface Front {
  access: Access;
  log: LogOptions;
  listeners: Listeners;
  /** addresses and networks of proxies whose X-Forwarded-* headers are believed */
  trustProxy: string[];
}

/** Asked while the server stops too: they say so. */
const PROBES: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics']);

/** The HTTP application: validation, errors, headers and metrics, over the routes of `routes/` and whatever models `state` holds. */
export function createApp(context: RouteContext, front: Partial<Front> = {}): FastifyInstance {
  const { state, metrics, limits } = context;
  const { access = LOCAL_ACCESS, log = DEFAULT_LOG, listeners = new Listeners(null), trustProxy = [] } = front;
  const headers =
    listeners.protocol === 'https'
      ? { ...SECURITY_HEADERS, 'strict-transport-security': 'max-age=31536000' }
      : SECURITY_HEADERS;
  const app = Fastify({
    logger: logger(log),
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    serverFactory: (handler) => listeners.create(handler),
    // the listeners answer these
    clientErrorHandler: () => {},
    frameworkErrors: (_error, request, reply) => {
      reply.headers({ ...headers, 'x-request-id': request.id });
      void refuse(new ApiError(400, 'REQUEST_INVALID', 'the address cannot be read'), request, reply);
    },
    trustProxy: trustProxy.length === 0 ? false : trustProxy,
    bodyLimit: limits.bodyBytes,
    forceCloseConnections: 'idle',
    // What comes on an open connection after a stop was asked for is answered below, as every refusal is.
    return503OnClosing: false,
    genReqId: requestId,
    requestIdHeader: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 256 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false } },
    schemaErrorFormatter: (problems) => invalidBody(problems),
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    // Many clients name the media type with every request: where no body is taken, none need come.
    if (body.length === 0 && request.routeOptions.schema?.body === undefined) return undefined;
    // A small body that unpacks into a large one would pass the limit.
    if ((request.headers['content-encoding'] ?? 'identity').toLowerCase() !== 'identity')
      throw new ApiError(415, 'MEDIA_TYPE_UNSUPPORTED', 'the body must be sent as it is, without a content-encoding');
    return parseJsonBody(body, limits.bodyDepth);
  });

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(headers).header('x-request-id', request.id);
    if (state.stopping && !PROBES.has(request.routeOptions.url ?? '')) throw stopping();
  });
  guardAccess(app, access, metrics);
  // A connection that was busy when the server began to stop would otherwise be kept for its client's next request.
  app.addHook('onSend', async (_request, reply) => {
    if (state.stopping) reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown';
    metrics.requests.inc({ route, method: request.method, status: reply.statusCode });
    metrics.latency.observe({ route }, reply.elapsedTime / 1000);
  });
  logRequests(app, log);

  const operations: PublishedOperation[] = [];
  const addresses: { method: string; pattern: RegExp }[] = [];
  app.addHook('onRoute', ({ method, url, config }) => {
    for (const one of [method].flat()) {
      addresses.push({ method: one, pattern: addressPattern(url) });
      if (config?.operation !== undefined && one !== 'HEAD')
        operations.push({ method: one, url, operation: config.operation });
    }
  });

  app.setErrorHandler((error: FastifyError | ApiError, request, reply) => {
    const answer = asApiError(error);
    if (answer.code === 'INTERNAL') request.log.error(error);
    return refuse(answer, request, reply);
  });
  app.setNotFoundHandler((request, reply) => {
    const url = request.url.split('?', 1)[0]!;
    const allowed = [...new Set(addresses.filter(({ pattern }) => pattern.test(url)).map(({ method }) => method))];
    if (allowed.length === 0)
      return refuse(new ApiError(404, 'NOT_FOUND', 'no such address; /openapi.json lists them all'), request, reply);
    reply.header('allow', allowed.join(', '));
    const message = `${request.method} is not allowed here, only ${allowed.join(', ')}`;
    return refuse(new ApiError(405, 'METHOD_NOT_ALLOWED', message), request, reply);
  });

  for (const routes of [probeRoutes, rankRoutes, scoreRoutes, recallRoutes, eventRoutes, adminRoutes, healthRoutes])
    app.register(routes, context);
  for (const routes of [catalogueRoutes, experimentRoutes, runRoutes, consoleRoutes]) app.register(routes, context);
  app.register(async (scope) => openApiRoutes(scope, operations));
  return app;
}

/** Matches the addresses of a route: `:name` is one part, `*` the rest. */
function addressPattern(url: string): RegExp {
  const literal = url.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${literal.replaceAll('*', '.*').replaceAll(/:\w+/g, '[^/]+')}/?$`);
}

/** The caller's own id where it is one that can stand in a log, else a new one. */
function requestId(request: { headers: Record<string, string | string[] | undefined> }): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
}

/** Keeps what a client may know; everything else becomes INTERNAL without its message. */
function asApiError(error: FastifyError | ApiError): ApiError {
  if (error instanceof ApiError) return error;
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new ApiError(415, 'MEDIA_TYPE_UNSUPPORTED', 'the body must be sent as application/json');
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new ApiError(413, 'BODY_TOO_LARGE', 'the body is larger than this server accepts');
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new ApiError(400, 'BODY_INVALID', 'the body is not as long as its content-length says');
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
      return new ApiError(400, 'BODY_NOT_JSON', 'the body is empty; a JSON object is expected');
  }
  const status = error.statusCode ?? 500;
  if (status >= 400 && status < 500) return new ApiError(status, 'REQUEST_INVALID', 'the request cannot be read');
  return new ApiError(
    500,
    'INTERNAL',
    'the server failed to answer this request; its log has the reason under the request id',
  );
}

/** Answers when the request's body has come to its end, after which the connection can be used again, or is not going to. */
async function refuse(error: ApiError, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  // Fastify closes the connection after every body that it could not read.
  if (await discardBody(request.raw)) reply.removeHeader('connection');
  else reply.header('connection', 'close');
  if (error.retryAfter !== undefined) reply.header('retry-after', String(error.retryAfter));
  const { code, message, field } = error;
  const body: ErrorReply = {
    error: { code, message, ...(field === undefined ? {} : { field }) },
    requestId: request.id,
  };
  return reply.code(error.status).type('application/json').send(body);
}
