import { z } from 'zod';
import type { RankingModel } from '../ranking/ranking-model.js';
import type { Limits } from './app.js';
import { ErrorReply, EventsReply, EventsRequest, Health, RankReply, Readiness, rankRequest } from './contracts.js';

/** Statuses that any `/v1` route may answer with, beside its own success. */
const REFUSALS: Record<string, string> = {
  400: 'The body is not JSON, or does not match its schema; `error.field` says where.',
  413: 'The body is larger than this server accepts.',
  415: 'The body was not sent as application/json.',
  503: 'Not ready, or busy: try again after the seconds in Retry-After.',
};

/**
 * The OpenAPI 3.1 document, from the schemas that also validate. Its examples are requests that the loaded model answers, of a new
 * user and with no other fallbacks; before a model is loaded there are none.
 */
export function openApiDocument(limits: Limits, model: RankingModel | null, takesEvents: boolean): object {
  const schemas = componentSchemas([
    rankRequest(limits.candidates),
    RankReply,
    ErrorReply,
    Health,
    Readiness,
    ...(takesEvents ? [EventsRequest, EventsReply] : []),
  ]);
  const examples = Object.fromEntries((model?.examples ?? []).map((value, i) => [`request${i + 1}`, { value }]));
  const refusals = Object.fromEntries(
    Object.entries(REFUSALS).map(([status, text]) => [status, json(text, 'ErrorReply')]),
  );
  return {
    openapi: '3.1.0',
    info: {
      title: 'LARR',
      version: '1',
      description: 'Ranks points of interest for a user in a moment.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      '/v1/rank': {
        post: {
          operationId: 'rank',
          summary: 'Ranks candidates for a user in a scene, best first',
          requestBody: {
            required: true,
            content: {
              'application/json': { schema: ref('RankRequest'), ...(model === null ? {} : { examples }) },
            },
          },
          responses: {
            200: json('The ranked candidates.', 'RankReply'),
            ...refusals,
          },
        },
      },
      ...(takesEvents ? { '/v1/events': eventsPath(refusals) } : {}),
      '/healthz': {
        get: {
          operationId: 'health',
          summary: 'Whether the process answers',
          responses: { 200: json('It does.', 'Health') },
        },
      },
      '/readyz': {
        get: {
          operationId: 'readiness',
          summary: 'Whether rank requests will be answered',
          responses: { 200: json('They will.', 'Readiness'), 503: json('Loading, stopping, or failed.', 'Readiness') },
        },
      },
      '/metrics': {
        get: {
          operationId: 'metrics',
          summary: 'Metrics in the Prometheus text format',
          responses: {
            200: { description: 'The metrics.', content: { 'text/plain': { schema: { type: 'string' } } } },
          },
        },
      },
    },
    components: { schemas },
  };
}

function eventsPath(refusals: object): object {
  const example = {
    events: [{ id: 'e-1', type: 'click', user: 'u1', poi: 'p1', time: '2026-01-10T12:11:00', position: 1 }],
  };
  return {
    post: {
      operationId: 'events',
      summary: 'Takes impressions, clicks and orders; answers when they are on the disk',
      requestBody: { required: true, content: { 'application/json': { schema: ref('EventsRequest'), example } } },
      responses: { 200: json('They are on the disk.', 'EventsReply'), ...refusals },
    },
  };
}

const ref = (name: string): object => ({ $ref: `#/components/schemas/${name}` });

const json = (description: string, schema: string): object => ({
  description,
  content: { 'application/json': { schema: ref(schema) } },
});

/** Every named schema reachable from `roots`, under its name, referring to the others by OpenAPI's references. */
function componentSchemas(roots: readonly z.ZodType[]): Record<string, object> {
  const named: Record<string, object> = {};
  for (const root of roots) {
    const {
      $schema: _,
      $defs,
      ...schema
    } = z.toJSONSchema(root, {
      target: 'draft-2020-12',
      io: String(root.meta()?.id).endsWith('Request') ? 'input' : 'output',
    });
    const text = JSON.stringify({ [String(root.meta()?.id)]: schema, ...$defs }).replaceAll(
      '#/$defs/',
      '#/components/schemas/',
    );
    for (const [name, value] of Object.entries(JSON.parse(text) as Record<string, { id?: string }>)) {
      delete value.id;
      named[name] = value;
    }
  }
  return named;
}
