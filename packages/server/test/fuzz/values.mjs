// Values from JSON schemas: those that fit, and those that just do not.

const TEXTS = [
  '',
  ' ',
  '0',
  'a',
  'Ω',
  '🍜',
  'ا‎ب',
  '\u0000',
  '\ud800',
  'true',
  'null',
  '../../etc/passwd',
  "'; --",
  '<b>',
  '#{x}',
  '%00',
  '\\',
  '\n',
  'x'.repeat(513),
  'x'.repeat(5000),
  '__proto__',
  'constructor',
  '1e400',
  '-0',
  '2026-02-30T25:61:00',
  '2026-01-10T12:10:00',
  '9999999999999',
];
const NUMBERS = [0, -0, 1, -1, 0.5, 2 ** 31, 2 ** 53, -(2 ** 53), 1e21, 1e308, -1e308, 5e-324, 2000, 2001, 100_000];

/**
 * A value that fits `schema`, as far as the keywords go that zod writes.
 * @param {object} at `{ random, document, known }`: known values by property name are taken half of the time
 */
export function fitting(schema, at, name = '') {
  const { random, document, known } = at;
  if (schema === true || schema === undefined) return random.one([null, true, 1, 'x']);
  if (schema.$ref !== undefined) return fitting(document.components.schemas[schema.$ref.split('/').at(-1)], at, name);
  if (known[name]?.length > 0 && random.chance(0.7) && schema.type === 'string') return random.one(known[name]);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return random.one(schema.enum);
  for (const kind of ['anyOf', 'oneOf'])
    if (schema[kind] !== undefined) return fitting(random.one(schema[kind]), at, name);
  if (schema.allOf !== undefined) return Object.assign({}, ...schema.allOf.map((part) => fitting(part, at, name)));
  switch (Array.isArray(schema.type) ? random.one(schema.type) : schema.type) {
    case 'null':
      return null;
    case 'boolean':
      return random.chance(0.5);
    case 'integer':
    case 'number': {
      const least = schema.minimum ?? schema.exclusiveMinimum ?? -1000;
      const most = Math.min(schema.maximum ?? schema.exclusiveMaximum ?? 1000, least + 1e6);
      const value = least + random.next() * (most - least);
      return schema.type === 'integer' ? Math.max(Math.ceil(least), Math.floor(value)) : value;
    }
    case 'string': {
      if (schema.format === 'date-time') return new Date(1.7e12 + random.below(1e10)).toISOString();
      if (schema.pattern !== undefined) return `${random.one(['a', 'b', 'exp', 'run'])}${random.below(9)}`;
      const least = schema.minLength ?? 0;
      const text = random.chance(0.3)
        ? random.one(TEXTS)
        : random.one(['u1', 'p2', 'rain', 'noodles', '7', '2026-01-10T12:00:00']);
      return text.padEnd(least, 'x').slice(0, schema.maxLength ?? 600);
    }
    case 'array': {
      const count = random.between(
        schema.minItems ?? 0,
        Math.min(schema.maxItems ?? 5, (schema.minItems ?? 0) + random.one([1, 3, 8, 60])),
      );
      const items = Array.from({ length: count }, () => fitting(schema.items ?? true, at, singular(name)));
      return schema.uniqueItems ? [...new Map(items.map((item) => [JSON.stringify(item), item])).values()] : items;
    }
    case 'object':
      return objectFitting(schema, at, name);
    default:
      return random.one([null, true, 1, 'x']);
  }
}

function objectFitting(schema, at, name) {
  const { random, known } = at;
  const value = {};
  for (const [key, of] of Object.entries(schema.properties ?? {}))
    if (schema.required?.includes(key) || random.chance(0.5)) value[key] = fitting(of, at, key);
  if (typeof schema.additionalProperties === 'object') {
    const keys = known[`${name} fields`] ?? [];
    for (let i = random.below(5); i > 0; i--) {
      const key = keys.length > 0 && random.chance(0.9) ? random.one(keys) : random.one(TEXTS.slice(0, 9));
      value[key] = fitting(schema.additionalProperties, at, `${name}.${key}`);
    }
  }
  return value;
}

const singular = (name) =>
  ({ candidates: 'poi', pois: 'poi', events: 'event', users: 'user', requests: 'request' })[name] ?? name;

/** The same value with one thing in it changed, somewhere: a type, a bound, a field too many or too few, a text that programs stumble over. */
export function spoiled(value, { random }) {
  const places = [];
  const walk = (at, key, parent) => {
    places.push({ key, parent });
    if (Array.isArray(at)) for (const [i, item] of at.slice(0, 20).entries()) walk(item, i, at);
    else if (typeof at === 'object' && at !== null) for (const [k, item] of Object.entries(at)) walk(item, k, at);
  };
  const root = { value: structuredClone(value) };
  walk(root.value, 'value', root);
  const { key, parent } = random.one(places);
  const old = parent[key];
  const kinds = ['other', 'text', 'number'];
  if (parent !== root) kinds.push('gone', 'twin');
  if (typeof old === 'object' && old !== null && !Array.isArray(old)) kinds.push('field', 'field');
  if (Array.isArray(old)) kinds.push('longer', 'empty');
  switch (random.one(kinds)) {
    case 'other':
      parent[key] = random.one([
        null,
        true,
        [],
        {},
        [[]],
        '',
        0,
        { a: { b: { c: [1] } } },
        deep(random.between(5, 60)),
      ]);
      break;
    case 'text':
      parent[key] = random.one(TEXTS);
      break;
    case 'number':
      parent[key] = random.one(NUMBERS);
      break;
    case 'gone':
      if (Array.isArray(parent)) parent.splice(key, 1);
      else delete parent[key];
      break;
    case 'twin':
      if (Array.isArray(parent)) parent.push(old);
      else parent[`${key}${random.one(['s', '_', ' ', '.'])}`] = old;
      break;
    case 'field':
      Object.defineProperty(old, random.one(['x', '__proto__', 'constructor', 'toString', '', 'user', '0']), {
        value: random.one([null, 1, 'x', {}]),
        enumerable: true,
        configurable: true,
        writable: true,
      });
      break;
    case 'longer':
      for (let i = random.one([10, 100, 3000]); i > 0; i--) old.push(old[0] ?? 'x');
      break;
    case 'empty':
      old.length = 0;
      break;
  }
  return root.value;
}

function deep(levels) {
  let value = 1;
  for (let i = 0; i < levels; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

export const ODD_TEXTS = TEXTS;
