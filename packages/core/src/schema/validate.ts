import { createHash } from 'node:crypto';
import { ConfigError, didYouMean } from '../errors.js';
import { derivationInputs } from '../scene/inputs.js';
import { problemsOf } from './problems.js';
import { DatasetSchema, type DatasetSchemaInput, type ValueSpec } from './schema.js';

/**
 * Checks a schema written in TypeScript and fills in the defaults.
 * @throws ConfigError `SCHEMA_INVALID`: the message lists every problem with its path and the nearest valid name.
 */
export function defineSchema(input: DatasetSchemaInput): DatasetSchema {
  return parseSchema(input, 'the schema');
}

/**
 * Validates any value as a dataset schema.
 * @param where what the message calls it, e.g. the file
 * @throws ConfigError `SCHEMA_INVALID`
 */
export function parseSchema(value: unknown, where: string): DatasetSchema {
  const parsed = DatasetSchema.safeParse(value);
  if (!parsed.success) {
    const problems = problemsOf(DatasetSchema, parsed.error, value);
    throw new ConfigError(
      'SCHEMA_INVALID',
      `${where} is not a valid dataset schema:\n${problems.map((p) => `  ${p}`).join('\n')}`,
    );
  }
  const schema = fillDefaults(parsed.data);
  const problems = crossChecks(schema);
  if (problems.length > 0) {
    throw new ConfigError(
      'SCHEMA_INVALID',
      `${where} is not a valid dataset schema:\n${problems.map((p) => `  ${p}`).join('\n')}`,
    );
  }
  return schema;
}

/** sha256 of the schema in canonical JSON (keys sorted), so that a bundle and a dataset can be compared. */
export function schemaDigest(schema: DatasetSchema): string {
  return createHash('sha256').update(canonicalJson(schema)).digest('hex');
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

function fillDefaults({ $schema: _, ...schema }: DatasetSchema): DatasetSchema {
  const texts = { ...schema.texts };
  if (texts.cptTarget.length === 0 && texts.cptInput.length > 0) {
    texts.cptTarget = schema.keywords.poi.map((k) => k.name).filter((k) => !texts.cptInput.includes(k));
  }
  const splits =
    Object.keys(schema.splits).length > 0
      ? schema.splits
      : schema.time !== undefined
        ? { time: { kind: 'time' as const, testDays: 1, validationDays: 1 } }
        : { random: { kind: 'random' as const, ratios: [8, 1, 1] as [number, number, number] } };
  return { ...schema, texts, splits, defaultSplit: schema.defaultSplit ?? Object.keys(splits)[0]! };
}

/** What the shapes alone cannot say: names that must be unique, names that must exist, settings that need each other. */
function crossChecks(schema: DatasetSchema): string[] {
  const problems: string[] = [];
  const { features, keywords, texts } = schema;

  const checkReference = (at: string, ref: string) => {
    const table = ref.slice(0, ref.indexOf('.')) as 'events' | 'users' | 'pois';
    if (schema.tables[table] === undefined)
      problems.push(`${at}: refers to "${ref}", but tables.${table} is not declared.`);
  };
  const checkValue = (at: string, value: ValueSpec) => {
    if (typeof value === 'string') return checkReference(at, value);
    for (const input of derivationInputs(value)) {
      if (input === 'time') {
        if (schema.time === undefined)
          problems.push(`${at}: ${value.derive} needs a time; set "time" to a column of the events.`);
      } else checkReference(at, input);
    }
    if (value.derive === 'bucket' && value.names !== undefined && value.names.length !== value.edges.length + 1) {
      problems.push(
        `${at}.names: ${value.edges.length} edges make ${value.edges.length + 1} buckets, but ${value.names.length} names are given.`,
      );
    }
    if ((value.derive === 'bucket' || value.derive === 'distanceBand') && !rising(value.edges))
      problems.push(`${at}.edges: must rise.`);
  };
  const unique = (at: string, names: string[]) => {
    // Columns of a table are told apart without regard to case.
    const seen = new Map<string, string>();
    for (const n of names) {
      const other = seen.get(n.toLowerCase());
      if (other === n) problems.push(`${at}: the name "${n}" is used twice.`);
      else if (other !== undefined) problems.push(`${at}: the names "${other}" and "${n}" differ in nothing but case.`);
      seen.set(n.toLowerCase(), n);
    }
  };

  const labels = new Map<string, string>();
  for (const name of ['click', 'order'] as const) {
    const label = schema.labels[name];
    if (label !== undefined) labels.set(`events.${typeof label === 'string' ? label : label.column}`, `labels.${name}`);
  }
  const noOutcome = (at: string, what: string, value: ValueSpec) => {
    for (const input of typeof value === 'string' ? [value] : derivationInputs(value)) {
      const label = labels.get(input);
      if (label !== undefined)
        problems.push(
          `${at}: the ${what} reads ${input}, which is ${label}. An outcome is not known when POIs are ranked; as a feature it gives the label away. Remove it.`,
        );
    }
  };
  if (schema.keys.user === schema.keys.poi)
    problems.push(`keys: the column "${schema.keys.user}" is both "user" and "poi"; name the column of each.`);
  for (const key of ['user', 'poi', 'row'] as const) {
    const label = labels.get(`events.${schema.keys[key]}`);
    if (schema.keys[key] !== undefined && label !== undefined)
      problems.push(`keys.${key}: the column "${schema.keys[key]}" is ${label} already.`);
  }
  if (schema.place?.poi !== undefined && schema.tables.pois === undefined)
    problems.push('place.poi: tables.pois is not declared.');
  if (schema.place?.user !== undefined && schema.tables.users === undefined)
    problems.push('place.user: tables.users is not declared.');

  if (schema.labels.click === undefined && schema.labels.order === undefined && schema.negatives?.method !== 'unused') {
    problems.push('labels: name a click or an order column (only negatives.method "unused" may do without).');
  }
  const categoricalNames = features.categorical.map((f) => f.name);
  unique('features', [...categoricalNames, ...features.cross.map((f) => f.name)]);
  unique(
    'features.dense',
    features.dense.map((f) => f.name),
  );
  unique(
    'features.sequences',
    features.sequences.map((f) => f.name),
  );
  features.categorical.forEach((f, i) => {
    checkValue(`features.categorical[${i}].value`, f.value);
    noOutcome(`features.categorical[${i}].value`, `feature "${f.name}"`, f.value);
  });
  features.dense.forEach((f, i) => {
    checkValue(`features.dense[${i}].value`, f.value);
    noOutcome(`features.dense[${i}].value`, `feature "${f.name}"`, f.value);
    if (typeof f.value !== 'string' && !['distanceKm', 'hour', 'month'].includes(f.value.derive)) {
      problems.push(
        `features.dense[${i}].value: ${f.value.derive} yields words, not a number; put it under features.categorical.`,
      );
    }
  });
  features.cross.forEach((f, i) => {
    for (const part of f.of) {
      if (!categoricalNames.includes(part)) {
        problems.push(
          `features.cross[${i}].of: "${part}" is not a categorical feature.${didYouMean(part, categoricalNames)}`,
        );
      }
    }
  });
  if (schema.time === undefined && features.statistics.length > 0)
    problems.push('features.statistics: need a time column; set "time".');
  if (schema.time === undefined && features.sequences.length > 0)
    problems.push('features.sequences: need a time column; set "time".');
  const hasOrders = schema.labels.order !== undefined && schema.labels.click !== undefined;
  features.statistics.forEach((f, i) => {
    for (const m of f.measures) {
      if (!hasOrders && ['orders', 'cvr', 'daysSinceOrder'].includes(m)) {
        problems.push(`features.statistics[${i}].measures: "${m}" needs both labels.click and labels.order.`);
      }
    }
  });

  unique(
    'keywords.poi',
    keywords.poi.map((k) => k.name),
  );
  unique(
    'keywords.user',
    keywords.user.map((k) => k.name),
  );
  unique(
    'keywords.scene',
    keywords.scene.map((k) => k.name),
  );
  unique('keywords (tokens)', [
    ...keywords.poi.map((k) => k.token ?? `poi_${k.name}`),
    ...keywords.user.map((k) => k.token ?? `user_${k.name}`),
    ...keywords.scene.map((k) => k.token ?? `scene_${k.name}`),
  ]);
  keywords.poi.forEach((k, i) => {
    if (schema.tables.pois === undefined) problems.push(`keywords.poi[${i}]: tables.pois is not declared.`);
    if ((k.column === undefined) === (k.template === undefined))
      problems.push(`keywords.poi[${i}]: give either "column" or "template".`);
  });
  const sceneNames = keywords.scene.map((k) => k.name);
  keywords.user.forEach((k, i) => {
    const at = `keywords.user[${i}]`;
    const given = [k.column, k.template, k.behaviour].filter((x) => x !== undefined).length;
    if (given !== 1) problems.push(`${at}: give exactly one of "column", "template" and "behaviour".`);
    if (k.behaviour === undefined) {
      if (schema.tables.users === undefined) problems.push(`${at}: tables.users is not declared.`);
      return;
    }
    const slots =
      'top' in k.behaviour
        ? [k.behaviour.of]
        : [...k.behaviour.template.matchAll(/\{([^}]+)\}/g)].map((match) => match[1]!);
    if ('recent' in k.behaviour && schema.time === undefined)
      problems.push(`${at}.behaviour: "recent" needs a time column; set "time".`);
    for (const slot of slots) {
      if (slot.startsWith('scene.')) {
        const field = slot.slice('scene.'.length);
        if (!sceneNames.includes(field))
          problems.push(`${at}.behaviour: "${slot}" is not a scene keyword.${didYouMean(field, sceneNames)}`);
      } else if (slot.startsWith('pois.')) checkReference(`${at}.behaviour`, slot);
      else problems.push(`${at}.behaviour: "${slot}" must be "pois.<column>" or "scene.<field>".`);
    }
    if (k.behaviour.on === 'order' && !hasOrders)
      problems.push(`${at}.behaviour.on: "order" needs both labels.click and labels.order.`);
  });
  keywords.scene.forEach((k, i) => {
    checkValue(`keywords.scene[${i}].value`, k.value);
    noOutcome(`keywords.scene[${i}].value`, `scene keyword "${k.name}"`, k.value);
  });

  const poiNames = keywords.poi.map((k) => k.name);
  const userNames = keywords.user.map((k) => k.name);
  for (const key of ['cptInput', 'cptTarget', 'poiBusiness', 'poiBasic', 'userProfile', 'userBehaviour'] as const) {
    const valid = key.startsWith('user') ? userNames : poiNames;
    for (const n of texts[key]) {
      if (!valid.includes(n))
        problems.push(
          `texts.${key}: "${n}" is not a ${key.startsWith('user') ? 'user' : 'POI'} keyword.${didYouMean(n, valid)}`,
        );
    }
  }
  if (schema.poiName !== undefined && !poiNames.includes(schema.poiName))
    problems.push(`poiName: "${schema.poiName}" is not a POI keyword.${didYouMean(schema.poiName, poiNames)}`);
  for (const [splitName, split] of Object.entries(schema.splits)) {
    if (split.kind === 'time' && schema.time === undefined)
      problems.push(`splits.${splitName}: a split by time needs a time column; set "time".`);
  }
  if (schema.defaultSplit !== undefined && schema.splits[schema.defaultSplit] === undefined) {
    problems.push(
      `defaultSplit: there is no split "${schema.defaultSplit}".${didYouMean(schema.defaultSplit, Object.keys(schema.splits))}`,
    );
  }
  return problems;
}

function rising(edges: readonly number[]): boolean {
  return edges.every((edge, i) => i === 0 || edge > edges[i - 1]!);
}
