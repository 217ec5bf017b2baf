// TypeScript types of an OpenAPI document: one exported type a component, and a table of its operations.

/** @param {any} document OpenAPI 3.1 */
export function typesFromOpenApi(document) {
  const parts = [
    '// Written by scripts/write-types.mjs from the OpenAPI document of @larr/server. Do not edit: change the contracts and run it again.',
    '',
  ];
  for (const [name, schema] of Object.entries(document.components.schemas)) {
    if (!/^[A-Z]\w*$/.test(name))
      throw new Error(`a schema of the API has the name "${name}": give it one with .meta({ id })`);
    parts.push(`${comment(schema, '')}export type ${name} = ${typeOf(schema, '')};`, '');
  }
  const operations = operationsOf(document);
  parts.push('/** What each operation takes and gives. */', 'export interface Operations {');
  for (const { id, summary, parameters, body, reply, mediaType } of operations) {
    const fields = (where) => {
      const of = parameters.filter((one) => one.in === where);
      if (of.length === 0) return 'undefined';
      const object = {
        type: 'object',
        properties: Object.fromEntries(of.map(({ name, schema, description }) => [name, { description, ...schema }])),
        required: of.filter(({ required }) => required).map(({ name }) => name),
        additionalProperties: false,
      };
      return typeOf(object, '    ');
    };
    parts.push(
      `  /** ${summary} */`,
      `  ${id}: {`,
      `    params: ${fields('path')};`,
      `    query: ${fields('query')};`,
      `    body: ${body === undefined ? 'undefined' : typeOf(body, '    ')};`,
      `    reply: ${reply === undefined ? (mediaType === undefined ? 'undefined' : 'string') : typeOf(reply, '    ')};`,
      '  };',
    );
  }
  parts.push('}', '', '/** Where each operation stands. */', 'export const OPERATIONS = {');
  for (const { id, method, path } of operations) parts.push(`  ${id}: { method: '${method}', path: '${path}' },`);
  parts.push('} as const satisfies { readonly [name in keyof Operations]: { method: string; path: string } };', '');
  return parts.join('\n');
}

function operationsOf(document) {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => {
      const content = operation.responses['200']?.content ?? {};
      const [mediaType] = Object.keys(content);
      return {
        id: operation.operationId,
        summary: operation.summary,
        method: method.toUpperCase(),
        path,
        parameters: operation.parameters ?? [],
        body: operation.requestBody?.content['application/json'].schema,
        reply: content['application/json']?.schema,
        mediaType,
      };
    }),
  );
}

/** The TypeScript type of a JSON schema, as zod writes them; what has no counterpart in types (lengths, patterns) is left out. */
function typeOf(schema, indent) {
  if (schema === true || Object.keys(schema).length === 0) return 'unknown';
  if (schema.$ref !== undefined) return schema.$ref.replace('#/components/schemas/', '');
  if (schema.const !== undefined) return literal(schema.const);
  if (schema.enum !== undefined) return schema.enum.map(literal).join(' | ');
  for (const kind of ['anyOf', 'oneOf'])
    if (schema[kind] !== undefined) return [...new Set(schema[kind].map((one) => typeOf(one, indent)))].join(' | ');
  if (schema.allOf !== undefined) return schema.allOf.map((one) => bracketed(typeOf(one, indent))).join(' & ');
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeOf({ ...schema, type }, indent)).join(' | ');
  switch (schema.type) {
    case 'string':
    case 'boolean':
    case 'null':
      return schema.type;
    case 'number':
    case 'integer':
      return 'number';
    case 'array':
      if (schema.prefixItems !== undefined)
        return `[${schema.prefixItems.map((one) => typeOf(one, indent)).join(', ')}]`;
      return `${bracketed(typeOf(schema.items ?? true, indent))}[]`;
    case 'object':
      return objectType(schema, indent);
    case undefined:
      return 'unknown';
    default:
      throw new Error(`a schema of type "${schema.type}" has no counterpart here yet`);
  }
}

function objectType({ properties = {}, required = [], additionalProperties }, indent) {
  const open = typeof additionalProperties === 'object' && additionalProperties !== null;
  const names = Object.keys(properties);
  if (names.length === 0) {
    if (open) return `Record<string, ${typeOf(additionalProperties, indent)}>`;
    return additionalProperties === false ? 'Record<string, never>' : 'Record<string, unknown>';
  }
  const deeper = `${indent}  `;
  const lines = names.map((name) => {
    const key = /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
    return `${comment(properties[name], deeper)}${deeper}${key}${required.includes(name) ? '' : '?'}: ${typeOf(properties[name], deeper)};`;
  });
  return `{\n${lines.join('\n')}\n${indent}}`;
}

const bracketed = (type) => (/[|&]/.test(type.replaceAll(/\{.*\}/gs, '')) ? `(${type})` : type);

const literal = (value) => (typeof value === 'string' ? `'${value.replaceAll("'", "\\'")}'` : String(value));

function comment({ description }, indent) {
  return description === undefined ? '' : `${indent}/** ${description.replaceAll('*/', '* /')} */\n`;
}
