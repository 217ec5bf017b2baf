import { readFileSync } from 'node:fs';
import { wholeApi } from '@larr/server/whole-api';
import { expect, it } from 'vitest';
import { typesFromOpenApi } from '../scripts/types-from-openapi.mjs';

it('the types are those of the server as it is built: after a change, node packages/client/scripts/write-types.mjs', async () => {
  const written = readFileSync(new URL('./api.generated.ts', import.meta.url), 'utf8');
  expect(written).toBe(typesFromOpenApi(await wholeApi()));
});

it('a schema becomes the type that says the same', () => {
  const of = (schema: object): string =>
    /Thing = (.*?);\n\n/s.exec(typesFromOpenApi({ components: { schemas: { Thing: schema } }, paths: {} }))![1]!;
  expect(of({ type: 'array', items: { anyOf: [{ type: 'string' }, { type: 'null' }] } })).toBe('(string | null)[]');
  expect(of({ type: 'object', additionalProperties: { type: 'integer' } })).toBe('Record<string, number>');
  expect(of({ type: 'object', properties: { 'a-b': { const: 1 }, c: { enum: ['x', 'y'] } }, required: ['c'] })).toBe(
    "{\n  \"a-b\"?: 1;\n  c: 'x' | 'y';\n}",
  );
  expect(of({ $ref: '#/components/schemas/Other' })).toBe('Other');
  expect(() => typesFromOpenApi({ components: { schemas: { undefined: {} } }, paths: {} })).toThrow(/give it one/);
});
