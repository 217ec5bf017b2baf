import { z } from 'zod';
import { didYouMean } from '../errors.js';

/**
 * Every problem of a value that a zod schema refused, one a line: its path, what was wrong, and the nearest name of a setting that
 * exists there.
 * @param value what was parsed
 */
export function problemsOf(schema: z.ZodType, error: z.ZodError, value: unknown): string[] {
  const shape = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchemaNode;
  return error.issues.flatMap((issue) => describeIssue(issue, value, shape));
}

type Issue = z.core.$ZodIssue;

function describeIssue(issue: Issue, root: unknown, shape: JsonSchemaNode): string[] {
  const at = pathText(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(shape, issue.path);
    return issue.keys.map((key) => `${at}: there is no setting "${key}" here.${didYouMean(key, known)}`);
  }
  if (issue.code === 'invalid_union') {
    const found = valueAt(root, issue.path);
    if (issue.discriminator !== undefined) {
      const last = issue.path.at(-1) === issue.discriminator;
      const parent = last ? valueAt(root, issue.path.slice(0, -1)) : found;
      const given = (parent as Record<string, unknown> | undefined)?.[issue.discriminator];
      const options = discriminators(shape, issue.discriminator);
      const field = last ? at : `${at}.${issue.discriminator}`;
      if (given === undefined) return [`${field}: missing; one of ${options.join(', ')}.`];
      return [`${field}: ${JSON.stringify(given)} is not known.${didYouMean(String(given), options)}`];
    }
    // Report the branch that understood the value best: the one that failed deepest inside it.
    let best: Issue[] | undefined;
    let bestDepth = -1;
    for (const branch of issue.errors) {
      const depth = Math.max(...branch.map((i) => i.path.length + (i.code === 'invalid_type' ? 0 : 0.5)));
      if (depth > bestDepth) {
        bestDepth = depth;
        best = branch;
      }
    }
    return (best ?? []).flatMap((inner) =>
      describeIssue({ ...inner, path: [...issue.path, ...inner.path] } as Issue, root, shape),
    );
  }
  if (issue.code === 'invalid_value') {
    const given = valueAt(root, issue.path);
    const values = issue.values.map(String);
    if (given === undefined) return [`${at}: missing; one of ${values.join(', ')}.`];
    return [`${at}: ${JSON.stringify(given)} is not valid.${didYouMean(String(given), values)}`];
  }
  const given = valueAt(root, issue.path);
  if (issue.code === 'invalid_type') {
    const wanted = issue.expected === 'int' ? 'whole number' : issue.expected;
    const one = `${/^[aeiou]/.test(wanted) ? 'an' : 'a'} ${wanted}`;
    return [
      given === undefined ? `${at}: missing (${one} is needed).` : `${at}: ${JSON.stringify(given)} is not ${one}.`,
    ];
  }
  if (issue.code === 'too_small' || issue.code === 'too_big')
    return [`${at}: ${issue.message}, not ${JSON.stringify(given)}`];
  return [`${at}: ${issue.message}`];
}

function pathText(path: readonly PropertyKey[]): string {
  let text = '';
  for (const part of path)
    text += typeof part === 'number' ? `[${part}]` : text === '' ? String(part) : `.${String(part)}`;
  return text === '' ? '(top level)' : text;
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const part of path) value = (value as Record<PropertyKey, unknown> | null | undefined)?.[part];
  return value;
}

interface JsonSchemaNode {
  properties?: Record<string, JsonSchemaNode>;
  items?: JsonSchemaNode;
  prefixItems?: JsonSchemaNode[];
  additionalProperties?: JsonSchemaNode | boolean;
  anyOf?: JsonSchemaNode[];
  oneOf?: JsonSchemaNode[];
  const?: unknown;
}

/** Names of the settings that exist at a path, over all the alternatives there. */
function knownKeys(shape: JsonSchemaNode, path: readonly PropertyKey[]): string[] {
  let nodes: JsonSchemaNode[] = alternatives(shape);
  for (const part of path) {
    nodes = nodes.flatMap((node) => {
      const next =
        typeof part === 'number'
          ? (node.prefixItems?.[part] ?? node.items)
          : (node.properties?.[String(part)] ??
            (typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined));
      return next === undefined ? [] : alternatives(next);
    });
  }
  return [...new Set(nodes.flatMap((node) => Object.keys(node.properties ?? {})))];
}

function alternatives(node: JsonSchemaNode): JsonSchemaNode[] {
  const inner = node.anyOf ?? node.oneOf;
  return inner === undefined ? [node] : inner.flatMap(alternatives);
}

function discriminators(shape: JsonSchemaNode, key: string): string[] {
  const found = new Set<string>();
  const visit = (node: unknown): void => {
    if (node === null || typeof node !== 'object') return;
    const constant = (node as JsonSchemaNode).properties?.[key]?.const;
    if (typeof constant === 'string') found.add(constant);
    for (const inner of Object.values(node)) visit(inner);
  };
  visit(shape);
  return [...found];
}
