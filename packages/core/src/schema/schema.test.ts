import { readFile } from 'node:fs/promises';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import {
  ConfigError,
  type DatasetSchemaInput,
  datasetJsonSchema,
  datasetJsonSchemaFile,
  defineSchema,
  parseSchema,
  schemaDigest,
} from '../index.js';

const minimal: DatasetSchemaInput = { name: 'shop', tables: { events: 'events.csv' }, labels: { click: 'click' } };

function problems(value: unknown): string {
  try {
    parseSchema(value, 'schema.json');
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).code).toBe('SCHEMA_INVALID');
    return (error as Error).message;
  }
  throw new Error('the schema was accepted');
}

test('a minimal schema is random-split and keyed by user and poi', () => {
  const schema = defineSchema(minimal);
  expect(schema.keys).toEqual({ user: 'user', poi: 'poi' });
  expect(schema.splits).toEqual({ random: { kind: 'random', ratios: [8, 1, 1] } });
  expect(schema.defaultSplit).toBe('random');
  expect(defineSchema({ ...minimal, time: 'time' }).defaultSplit).toBe('time');
});

test('an unknown setting is named with its path and the nearest valid one', () => {
  expect(problems({ ...minimal, tabels: {} })).toContain('there is no setting "tabels" here. Did you mean "tables"?');
  expect(problems({ ...minimal, keys: { usr: 'u' } })).toContain(
    'keys: there is no setting "usr" here. Did you mean "user"?',
  );
  expect(problems({ ...minimal, keys: { user: 'who', poi: 'who' } })).toContain(
    'keys: the column "who" is both "user" and "poi"',
  );
});

test('an unknown derivation or measure is answered with the nearest one', () => {
  const bad = { ...minimal, time: 't', features: { categorical: [{ name: 'w', value: { derive: 'wekday' } }] } };
  expect(problems(bad)).toContain(
    'features.categorical[0].value.derive: "wekday" is not known. Did you mean "weekday"?',
  );
  const measure = { ...minimal, time: 't', features: { statistics: [{ of: 'user', measures: ['click'] }] } };
  expect(problems(measure)).toContain(
    'features.statistics[0].measures[0]: "click" is not valid. Did you mean "clicks"?',
  );
});

test('names that do not exist are found across the schema', () => {
  const message = problems({
    ...minimal,
    features: { categorical: [{ name: 'a', value: 'pois.x' }], cross: [{ name: 'x', of: ['a', 'aa'] }] },
    keywords: { scene: [{ name: 'slot', value: { derive: 'timeSlot' } }] },
    texts: { userBehaviour: ['tastes'] },
    defaultSplit: 'randm',
  });
  expect(message).toContain('refers to "pois.x", but tables.pois is not declared');
  expect(message).toContain('"aa" is not a categorical feature. Did you mean "a"?');
  expect(message).toContain('timeSlot needs a time');
  expect(message).toContain('texts.userBehaviour: "tastes" is not a user keyword');
  expect(message).toContain('there is no split "randm". Did you mean "random"?');
});

test('names are of any script, and may not differ in nothing but case', () => {
  const named = (...names: string[]) =>
    defineSchema({
      ...minimal,
      features: { categorical: names.map((name) => ({ name, value: `events.${name}` })) },
    }).features.categorical.map((f) => f.name);
  expect(named('天气', 'Погода', 'déjà_vu', 'x2')).toEqual(['天气', 'Погода', 'déjà_vu', 'x2']);
  expect(() => named('Weather', 'weather')).toThrow('the names "Weather" and "weather" differ in nothing but case');
  for (const bad of ['2x', 'a b', '<x>', '', '_a', 'a/b'])
    expect(() => named(bad)).toThrow('not a valid dataset schema');
});

test('the digest depends on content, not on the order of settings', () => {
  const a = defineSchema({ ...minimal, time: 'time' });
  const b = defineSchema({ time: 'time', labels: { click: 'click' }, tables: { events: 'events.csv' }, name: 'shop' });
  expect(schemaDigest(a)).toBe(schemaDigest(b));
  expect(schemaDigest(defineSchema({ ...minimal, time: 'when' }))).not.toBe(schemaDigest(a));
});

test('a validated schema survives JSON and validates again to the same thing', () => {
  const schema = defineSchema({
    ...minimal,
    time: 'time',
    keywords: { scene: [{ name: 'slot', value: { derive: 'timeSlot' } }] },
  });
  expect(parseSchema(JSON.parse(JSON.stringify(schema)), 'again')).toEqual(schema);
});

test('editors get a JSON Schema that accepts what the program does and refuses what it refuses', async () => {
  // The file that "larr init" names; written anew by: npx vitest run packages/core/src/schema -u
  await expect(`${JSON.stringify(datasetJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(datasetJsonSchemaFile);
  const validate = new Ajv2020({ strict: false }).compile(datasetJsonSchema());
  const guide = await readFile(new URL('../../../../docs/data.md', import.meta.url), 'utf8');
  const example = JSON.parse(guide.split('```json\n')[1]!.split('```')[0]!);
  expect(parseSchema(example, 'docs/data.md').name).toBe('shop');
  expect(validate(example), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ ...example, $schema: datasetJsonSchemaFile })).toBe(true);
  for (const change of [
    { keys: { usr: 'user' } },
    { labels: { click: { column: 'rating', atLeast: 'four' } } },
    { splits: { time: { kind: 'weekly' } } },
    { features: { dense: [{ name: 'x', value: { derive: 'wekday' } }] } },
    { name: undefined },
  ]) {
    const wrong = JSON.parse(JSON.stringify({ ...example, ...change }));
    expect(validate(wrong), JSON.stringify(change)).toBe(false);
    expect(() => parseSchema(wrong, 'it')).toThrow('not a valid dataset schema');
  }
});

test('a label is refused as a feature, a scene keyword or a key, by whatever way it is read', () => {
  const refused = (change: Partial<DatasetSchemaInput>) => {
    try {
      defineSchema({ ...leaky, ...change });
    } catch (error) {
      return (error as Error).message;
    }
    return 'accepted';
  };
  const leaky: DatasetSchemaInput = {
    name: 'cinema',
    tables: { events: 'shown.csv' },
    labels: { click: { column: 'stars', atLeast: 4 }, order: 'ticket' },
  };
  expect(refused({})).toBe('accepted');
  expect(refused({ features: { categorical: [{ name: 'bought', value: 'events.ticket' }] } })).toMatch(
    /features\.categorical\[0\]\.value: the feature "bought" reads events\.ticket, which is labels\.order/,
  );
  expect(refused({ features: { dense: [{ name: 'liking', value: 'events.stars' }] } })).toMatch(
    /"liking" reads events\.stars, which is labels\.click/,
  );
  expect(
    refused({ keywords: { scene: [{ name: 'mood', value: { derive: 'bucket', of: 'events.stars', edges: [3] } }] } }),
  ).toMatch(/scene keyword "mood" reads events\.stars/);
  expect(refused({ keys: { user: 'user', poi: 'poi', row: 'ticket' } })).toMatch(/keys\.row: .*labels\.order already/);
});
