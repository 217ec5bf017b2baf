import { randomUUID } from 'node:crypto';
import { localTime } from '@larr/core';
import Fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { EventLog } from '../events/event-log.js';
import type { Metrics } from '../observability/metrics.js';
import type { RankingModel } from '../ranking/ranking-model.js';
import {
  type ErrorReply,
  EventsReply,
  EventsRequest,
  fastifySchema,
  Health,
  RankReply,
  type RankRequest,
  Readiness,
  rankRequest,
} from './contracts.js';
import { ApiError, invalidBody, modelFailed, notReady } from './errors.js';
import { parseJsonBody } from './json-body.js';
import { openApiDocument } from './openapi.js';

export interface Limits {
  /** Largest request body, bytes. */
  bodyBytes: number;
  /** Deepest nesting of a JSON body. */
  bodyDepth: number;
  /** Most candidates in one request. */
  candidates: number;
}

export const DEFAULT_LIMITS: Limits = { bodyBytes: 1 << 20, bodyDepth: 8, candidates: 2000 };

/** What the routes look at: the model comes when it has loaded and goes when the server stops. */
export interface AppState {
  model: RankingModel | null;
  /** where events go; null where none are taken */
  readonly events: EventLog | null;
  stopping: boolean;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** Sent with every answer. The API has no pages, so nothing may be embedded, cached or guessed at. CORS is off: no Access-Control header. */
const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};

/** The HTTP application: routes, validation, errors, headers and metrics, over whatever model `state` holds. */
export function createApp(state: AppState, metrics: Metrics, limits: Limits): FastifyInstance {
  const app = Fastify({
    // Standard output belongs to the programs that start a server; the log goes to standard error.
    logger: { level: 'warn', stream: process.stderr },
    bodyLimit: limits.bodyBytes,
    forceCloseConnections: 'idle',
    // a client that never finishes its request does not hold a connection for ever
    requestTimeout: 30_000,
    genReqId: requestId,
    requestIdHeader: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: 256 },
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: true, allErrors: false } },
    schemaErrorFormatter: (problems) => invalidBody(problems),
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) =>
    parseJsonBody(body, limits.bodyDepth),
  );

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS).header('x-request-id', request.id);
  });
  // A connection that was busy when the server began to stop would otherwise be kept for its client's next request.
  app.addHook('onSend', async (_request, reply) => {
    if (state.stopping) reply.header('connection', 'close');
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown';
    metrics.requests.inc({ route, method: request.method, status: reply.statusCode });
    metrics.latency.observe({ route }, reply.elapsedTime / 1000);
  });

  app.setErrorHandler((error: FastifyError | ApiError, request, reply) => {
    const answer = asApiError(error);
    if (answer.code === 'INTERNAL') request.log.error(error);
    return sendError(answer, request, reply);
  });
  app.setNotFoundHandler((request, reply) => {
    const url = request.url.split('?', 1)[0]!;
    const allowed = METHODS.filter((method) => app.hasRoute({ url, method }));
    if (allowed.length === 0)
      return sendError(new ApiError(404, 'NOT_FOUND', 'no such address; /openapi.json lists them all'), request, reply);
    reply.header('allow', allowed.join(', '));
    const message = `${request.method} is not allowed here; ${allowed.join(', ')} is`;
    return sendError(new ApiError(405, 'METHOD_NOT_ALLOWED', message), request, reply);
  });

  app.get('/healthz', { schema: { response: { 200: fastifySchema(Health, 'output') } } }, async () => ({
    status: 'ok',
  }));

  const readiness = fastifySchema(Readiness, 'output');
  app.get('/readyz', { schema: { response: { 200: readiness, 503: readiness } } }, async (_request, reply) => {
    if (state.stopping) return reply.code(503).send({ status: 'stopping' });
    if (state.model === null) return reply.code(503).header('retry-after', '1').send({ status: 'loading' });
    if (state.model.broken) return reply.code(503).send({ status: 'failed', model: state.model.identity });
    return { status: 'ready', model: state.model.identity };
  });

  app.get('/metrics', async (_request, reply) => {
    metrics.ready.set(state.model === null || state.model.broken || state.stopping ? 0 : 1);
    metrics.queuedRows.set(state.model?.queuedRows ?? 0);
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  app.get('/openapi.json', async () => openApiDocument(limits, state.model, state.events !== null));

  app.post<{ Body: RankRequest }>(
    '/v1/rank',
    {
      // A request that would be refused anyway should not wait for its body to be read and checked.
      preParsing: async () => {
        if (state.model === null) throw notReady();
        if (state.model.broken) throw modelFailed();
      },
      schema: {
        body: fastifySchema(rankRequest(limits.candidates), 'input'),
        response: { 200: fastifySchema(RankReply, 'output') },
      },
    },
    async (request) => {
      const { model } = state;
      if (model === null) throw notReady();
      const { ranked, fallbacks } = await model.rank(request.body, (stage, seconds) =>
        metrics.stages.observe({ stage }, seconds),
      );
      if (ranked.some(({ score, pCtr }) => !Number.isFinite(score) || !Number.isFinite(pCtr)))
        throw notFinite(request.body.scene);
      metrics.candidates.inc(request.body.candidates.length);
      if (fallbacks.user) metrics.fallbacks.inc({ kind: 'user' });
      if (fallbacks.pois.length > 0) metrics.fallbacks.inc({ kind: 'poi' }, fallbacks.pois.length);
      if (fallbacks.scene.length > 0) metrics.fallbacks.inc({ kind: 'scene' }, fallbacks.scene.length);
      if (fallbacks.features.length > 0) metrics.fallbacks.inc({ kind: 'feature' }, fallbacks.features.length);
      if (ranked[0] !== undefined) metrics.score.observe(ranked[0].score);
      return { requestId: request.id, model: model.identity, ranked, fallbacks };
    },
  );

  const { events } = state;
  if (events !== null) {
    app.post<{ Body: EventsRequest }>(
      '/v1/events',
      {
        schema: {
          body: fastifySchema(EventsRequest, 'input'),
          response: { 200: fastifySchema(EventsReply, 'output') },
        },
      },
      async (request) => {
        request.body.events.forEach(({ time }, i) => {
          // Digits alone would be read as seconds or milliseconds, whichever they look like.
          if (localTime(time) !== null && !/^-?\d+(\.\d+)?$/.test(time)) return;
          const field = `events[${i}].time`;
          throw new ApiError(400, 'BODY_INVALID', `${field} is not a time; ISO 8601 is expected`, field);
        });
        const received = new Date().toISOString();
        const appended = await events.append(request.body.events.map((event) => ({ ...event, received })));
        metrics.events.inc({ outcome: 'accepted' }, appended.accepted);
        metrics.events.inc({ outcome: 'duplicate' }, appended.duplicates);
        return { requestId: request.id, ...appended };
      },
    );
  }

  return app;
}

/** The caller's own id where it is one that can stand in a log, else a new one. */
function requestId(request: { headers: Record<string, string | string[] | undefined> }): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/.test(given) ? given : randomUUID();
}

/**
 * What to say where the ranker gave no numbers: a scene value that is far beyond all training values overflows inside it, and the largest is
 * named; without one it is the model's own trouble.
 */
function notFinite(scene: RankRequest['scene']): Error {
  const sizes = Object.entries(scene ?? {}).map(([name, value]) => ({ name, size: sizeOf(value) }));
  const largest = sizes.sort((a, b) => b.size - a.size)[0];
  if (largest === undefined || largest.size < SUSPICIOUS)
    return new Error('the ranker gave scores that are not numbers for ordinary values');
  const field = `scene.${largest.name}`;
  return new ApiError(
    400,
    'SCENE_VALUE_INVALID',
    `${field}: the number is so far from those that the model was trained on that it gives no score`,
    field,
  );
}

/** Nothing that is measured or counted is as large; times in microseconds are 2e15. */
const SUSPICIOUS = 1e16;

/** How far a value is from 0, as a number; 0 where it is none. */
function sizeOf(value: unknown): number {
  const size = typeof value === 'number' || typeof value === 'string' ? Math.abs(Number(value)) : 0;
  return Number.isNaN(size) ? 0 : size;
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

function sendError(error: ApiError, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error.retryAfter !== undefined) reply.header('retry-after', String(error.retryAfter));
  const { code, message, field } = error;
  const body: ErrorReply = {
    error: { code, message, ...(field === undefined ? {} : { field }) },
    requestId: request.id,
  };
  return reply.code(error.status).type('application/json').send(body);
}
