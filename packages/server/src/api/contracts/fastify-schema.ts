import { z } from 'zod';

/** JSON schema of a contract in the dialect that Fastify validates and serialises with. */
export function fastifySchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const {
    $schema: _,
    id: __,
    ...json
  } = z.toJSONSchema(schema, { target: 'draft-7', io, reused: 'inline', override: dropId });
  return json;
}

/** Fastify resolves `$ref`s itself and takes an `id` for one: inline schemas carry none. */
function dropId({ jsonSchema }: { jsonSchema: { id?: string } }): void {
  delete jsonSchema.id;
}
