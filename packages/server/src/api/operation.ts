import type { FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { fastifySchema } from './contracts/fastify-schema.js';
import { ApiError } from './errors.js';

/** What a key must be allowed to do before a route answers; routes without one are open (probes, the console's files). */
export type Scope = 'rank' | 'events' | 'read' | 'admin';

/** What a route takes and gives: from it come its validation, its serialisation and its part of the OpenAPI document. */
export interface Operation {
  /** operationId of the OpenAPI document */
  id: string;
  summary: string;
  scope?: Scope;
  /** JSON body; a schema with an id ending in "Request" */
  body?: z.ZodType;
  /** fields of the address after "?"; texts as they come: use `z.coerce` for numbers */
  query?: z.ZodObject;
  /** parts of the path, by the names in `/:name` */
  params?: z.ZodObject;
  /** answers of a success and of states that are no errors (503 of a probe), by status */
  replies: Record<number, { description: string; schema?: z.ZodType; mediaType?: string }>;
  /** bodies that the server answers with a success as it is now */
  examples?: () => readonly unknown[];
}

declare module 'fastify' {
  interface FastifyContextConfig {
    scope?: Scope;
    operation?: Operation;
  }
}

/** Options of a Fastify route that does what `operation` says; spread them into the route's own. */
export function route(operation: Operation) {
  const { scope, body, query, params, replies } = operation;
  const response = Object.entries(replies).flatMap(([status, { schema }]) =>
    schema === undefined ? [] : [[status, fastifySchema(schema, 'output')] as const],
  );
  return {
    config: { operation, ...(scope === undefined ? {} : { scope }) },
    schema: {
      ...(body === undefined ? {} : { body: fastifySchema(body, 'input') }),
      ...(response.length === 0 ? {} : { response: Object.fromEntries(response) }),
    },
    preValidation: async (request: FastifyRequest): Promise<void> => {
      // Addresses hold only text, so these are parsed, where bodies are checked as they are.
      if (params !== undefined) request.params = parsed(params, request.params);
      if (query !== undefined) request.query = parsed(query, request.query);
    },
  };
}

/** @throws ApiError QUERY_INVALID (400), naming the field */
function parsed(schema: z.ZodObject, value: unknown): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const field = unknown ?? issue.path.join('.');
  throw new ApiError(
    400,
    'QUERY_INVALID',
    unknown === undefined ? `${field}: ${issue.message}` : `${field} is not a field of this address`,
    field,
  );
}
