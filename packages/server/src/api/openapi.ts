import { z } from 'zod';
import { ErrorReply } from './contracts/index.js';
import type { Operation } from './operation.js';

/** Statuses that any `/v1` route may answer with, beside its own. */
const REFUSALS: Record<string, string> = {
  400: 'The request is not JSON, or does not match its schema; `error.field` says where.',
  401: 'No key, or none that is known and still good.',
  403: 'The key lacks the scope, or the request comes from a place that may not ask.',
  404: 'There is nothing of that name.',
  409: 'What is there now does not allow it; the message says what stands against it.',
  413: 'The body is larger than this server accepts.',
  415: 'The body was not sent as application/json.',
  429: 'More requests than this key or address may send: try again after the seconds in Retry-After.',
  503: 'Not ready, or busy: try again after the seconds in Retry-After.',
};

/** An operation and where it stands. */
export interface PublishedOperation {
  method: string;
  /** with `:name` for the parts that vary */
  url: string;
  operation: Operation;
}

/**
 * The OpenAPI 3.1 document, from the schemas that also validate. Its examples are requests that the server answers as it is now: before
 * a model is loaded, rank has none.
 */
export function openApiDocument(operations: readonly PublishedOperation[]): object {
  const schemas = componentSchemas([
    ErrorReply,
    ...operations.flatMap(({ operation: { body, replies } }) => [
      ...(body === undefined ? [] : [body]),
      ...Object.values(replies).flatMap(({ schema }) => (schema === undefined ? [] : [schema])),
    ]),
  ]);
  const paths: Record<string, Record<string, object>> = {};
  for (const { method, url, operation } of operations) {
    const path = url.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = { ...paths[path], [method.toLowerCase()]: described(method, url, operation) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'LARR',
      version: '1',
      description: 'Ranks points of interest for a user in a moment.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      schemas,
      securitySchemes: {
        key: {
          type: 'http',
          scheme: 'bearer',
          description: 'A key of `larr-server keys add`, where the server asks for keys.',
        },
      },
    },
  };
}

function described(
  method: string,
  url: string,
  { id, summary, scope, body, query, params, replies, examples }: Operation,
): object {
  const refusals = url.startsWith('/v1/')
    ? Object.fromEntries(
        Object.entries(REFUSALS)
          .filter(
            ([status]) =>
              (method !== 'GET' || !['413', '415'].includes(status)) &&
              (params !== undefined || body !== undefined || status !== '404') &&
              (params !== undefined || scope === 'admin' || status !== '409'),
          )
          .map(([status, text]) => [status, json(text, 'ErrorReply')]),
      )
    : {};
  const bodies = Object.fromEntries((examples?.() ?? []).map((value, i) => [`request${i + 1}`, { value }]));
  const parameters = [...parametersOf(params, 'path'), ...parametersOf(query, 'query')];
  return {
    operationId: id,
    summary,
    // "{}": a server without keys asks for none
    ...(scope === undefined ? {} : { security: [{ key: [scope] }, {}] }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: {
              'application/json': {
                schema: ref(nameOf(body)),
                ...(Object.keys(bodies).length === 0 ? {} : { examples: bodies }),
              },
            },
          },
        }),
    responses: {
      ...refusals,
      ...Object.fromEntries(
        Object.entries(replies).map(([status, { description, schema, mediaType }]) => [
          status,
          schema !== undefined
            ? json(description, nameOf(schema))
            : mediaType === undefined
              ? { description }
              : { description, content: { [mediaType]: { schema: { type: 'string' } } } },
        ]),
      ),
    },
  };
}

function parametersOf(schema: z.ZodObject | undefined, where: 'path' | 'query'): object[] {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(schema, { target: 'draft-2020-12', io: 'input' });
  return Object.entries(properties).map(([name, value]) => ({
    name,
    in: where,
    required: where === 'path' || required.includes(name),
    schema: value,
  }));
}

/** A schema's name in the document; one without would take the place of another. */
function nameOf(schema: z.ZodType): string {
  const id = schema.meta()?.id;
  if (id === undefined) throw new Error("a body or reply of an operation has no name: .meta({ id: '…' })");
  return id;
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
      io: nameOf(root).endsWith('Request') ? 'input' : 'output',
    });
    const text = JSON.stringify({ [nameOf(root)]: schema, ...$defs }).replaceAll('#/$defs/', '#/components/schemas/');
    for (const [name, value] of Object.entries(JSON.parse(text) as Record<string, { id?: string }>)) {
      delete value.id;
      named[name] = value;
    }
  }
  return named;
}
