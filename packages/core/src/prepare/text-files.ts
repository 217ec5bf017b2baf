import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeywordSpec } from '../dataset/manifest.js';
import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import type { BehaviourSpec, DatasetSchema, UserKeyword } from '../schema/schema.js';
import { parquetOptions } from './split-files.js';
import { canonicalSql, cutSql, keywordSql, templateSlots, templateSql } from './sql-values.js';
import type { LoadedTables } from './tables.js';

type TopBehaviour = Extract<BehaviourSpec, { top: number }>;
type RecentBehaviour = Extract<BehaviourSpec, { recent: number }>;

/** Words that say nothing about taste. */
const stopWords =
  'a about all also an and are as at be but by can for from has have her his how if in into is it its more most no not of on one or our out over she so than that the their them then there these they this to up was we were what when which who will with you your'.split(
    ' ',
  );

/** Keyword columns of the text files, as the manifest lists them. */
export function keywordSpecs(schema: DatasetSchema): { poi: KeywordSpec[]; user: KeywordSpec[]; scene: KeywordSpec[] } {
  const specs = (kind: 'poi' | 'user', keywords: readonly UserKeyword[]) =>
    keywords.map((k) => ({
      name: k.name,
      token: k.token ?? `${kind}_${k.name}`,
      column: `text_${k.name}`,
      ...(readsPlace(k, schema.place?.[kind]) ? { place: true as const } : {}),
    }));
  return {
    poi: specs('poi', schema.keywords.poi),
    user: specs('user', schema.keywords.user),
    scene: schema.keywords.scene.map((k) => ({
      name: k.name,
      token: k.token ?? `scene_${k.name}`,
      column: `scene_${k.name}`,
    })),
  };
}

/** Whether a keyword's text has the place in it. */
function readsPlace(keyword: UserKeyword, column: string | undefined): boolean {
  if (column === undefined) return false;
  return keyword.column === column || templateSlots(keyword.template ?? '').includes(column);
}

/** Writes texts/pois.parquet: one row per POI, one column per keyword, and the POI's place where the schema names one. */
export async function writePoiTexts(
  db: DuckdbSession,
  schema: DatasetSchema,
  tables: LoadedTables,
  directory: string,
): Promise<void> {
  await mkdir(join(directory, 'texts'), { recursive: true });
  await db.run(
    `COPY (${poiTextsQuery(schema, tables)}) TO ${literal(join(directory, 'texts', 'pois.parquet'))} ${parquetOptions}`,
  );
}

/** One row per POI, one column per keyword, and `place` where the schema names its column. */
export function poiTextsQuery(schema: DatasetSchema, tables: LoadedTables): string {
  const columns = schema.keywords.poi.map(
    (k) => `, ${staticText(schema, tables, 'pois', k)} AS ${ident(`text_${k.name}`)}`,
  );
  const { place } = schema;
  if (place?.poi !== undefined)
    columns.push(`, ${keywordSql(tables.column(`pois.${place.poi}`), new Set(schema.missing))} AS place`);
  return `SELECT po.poi_index, po.poi${columns.join('')} FROM po ORDER BY po.poi_index`;
}

/**
 * Writes a split's texts/users.parquet. Behaviour is summed up from the train part alone, in words: the most frequent
 * values with how often they occur (method.md, section 7: counts in words beat raw lists).
 */
export async function writeUserTexts(
  db: DuckdbSession,
  schema: DatasetSchema,
  tables: LoadedTables,
  options: { directory: string; number: number; name: string },
): Promise<void> {
  const query = await userTextsQuery(db, schema, tables, options.number);
  const folder = join(options.directory, 'splits', options.name, 'texts');
  await mkdir(folder, { recursive: true });
  await db.run(`COPY (${query}) TO ${literal(join(folder, 'users.parquet'))} ${parquetOptions}`);
}

/** One row per user, one column per keyword; behaviour is that of the train part of the `number`-th split. */
export async function userTextsQuery(
  db: DuckdbSession,
  schema: DatasetSchema,
  tables: LoadedTables,
  number: number,
): Promise<string> {
  const columns: string[] = [];
  const joins: string[] = [];
  for (const [i, k] of schema.keywords.user.entries()) {
    if (k.behaviour === undefined) {
      columns.push(`, ${staticText(schema, tables, 'users', k)} AS ${ident(`text_${k.name}`)}`);
      continue;
    }
    const table = `behaviour${i}`;
    const missing = new Set([...schema.missing, ...(k.missing ?? [])]);
    const train = `part${number} = 0 AND ${(k.behaviour.on ?? (tables.orders ? 'order' : 'click')) === 'order' ? 'ord' : 'click'} = 1`;
    const query =
      'top' in k.behaviour
        ? topQuery(schema, tables, k.behaviour, missing, train)
        : recentQuery(schema, tables, k.behaviour, missing, train);
    await db.run(`CREATE OR REPLACE TABLE ${table} AS ${query}`);
    joins.push(`LEFT JOIN ${table} ON ${table}.user_index = us.user_index`);
    columns.push(`, ${cutSql(`${table}.text`, k.maxCharacters)} AS ${ident(`text_${k.name}`)}`);
  }
  return `SELECT us.user_index, us.user${columns.join('')} FROM us ${joins.join(' ')} ORDER BY us.user_index`;
}

function staticText(schema: DatasetSchema, tables: LoadedTables, table: 'users' | 'pois', k: UserKeyword): string {
  const missing = new Set([...schema.missing, ...(k.missing ?? [])]);
  const slot = (column: string) => keywordSql(tables.column(`${table}.${column}`), missing);
  return cutSql(k.column !== undefined ? slot(k.column) : templateSql(k.template!, slot), k.maxCharacters);
}

/** user_index → "mostly Sichuan, often noodles, sometimes Cantonese" of the users' positives. */
function topQuery(
  schema: DatasetSchema,
  tables: LoadedTables,
  spec: TopBehaviour,
  missing: ReadonlySet<string>,
  train: string,
): string {
  const words = spec.words === true;
  const howOften = spec.howOften ?? !words;
  let counted: string;
  if (spec.of.startsWith('scene.')) {
    const i = schema.keywords.scene.findIndex((k) => k.name === spec.of.slice('scene.'.length));
    counted = `SELECT w.user_index, s.text AS value, count(*)::DOUBLE AS n FROM wide w JOIN st${i} s ON s.code = w.s${i} WHERE ${train} GROUP BY ALL`;
  } else {
    const column = tables.column(spec.of);
    const text = canonicalSql(column);
    let list: string;
    if (words) list = `regexp_extract_all(lower(${text}), '[\\p{L}][\\p{L}''’-]{2,}')`;
    else if (column.type.endsWith('[]')) list = `list_transform(${column.sql}, x -> x::VARCHAR)`;
    else if (spec.separator !== undefined) list = `string_split(${text}, ${literal(spec.separator)})`;
    else list = `[${text}]`;
    const none = ['', ...missing, ...(words ? stopWords : [])].map(literal).join(', ');
    const values = `SELECT DISTINCT poi_index, value FROM (SELECT po.poi_index, trim(unnest(${list})) AS value FROM po) WHERE value IS NOT NULL AND value NOT IN (${none})`;
    // Of single words the rare ones tell most: counts are weighted by the inverse frequency among POIs.
    const weight = words
      ? `SELECT poi_index, value, ln((SELECT count(*) FROM po) / count(*) OVER (PARTITION BY value)) AS weight FROM (${values})`
      : `SELECT poi_index, value, 1.0 AS weight FROM (${values})`;
    counted = `SELECT user_index, value, sum(times * weight) AS n FROM
      (SELECT user_index, poi_index, count(*) AS times FROM wide WHERE ${train} GROUP BY ALL) JOIN (${weight}) USING (poi_index) GROUP BY ALL HAVING n > 0`;
  }
  const said = howOften
    ? `CASE WHEN n / total >= 0.5 THEN 'mostly ' WHEN n / total >= 0.2 THEN 'often ' ELSE 'sometimes ' END || value`
    : 'value';
  return `SELECT user_index, string_agg(${said}, ', ' ORDER BY r) AS text FROM (
      SELECT user_index, value, n, row_number() OVER (PARTITION BY user_index ORDER BY round(n, 6) DESC, value) AS r FROM (${counted})) ranked
    JOIN (SELECT user_index, count(*) AS total FROM wide WHERE ${train} GROUP BY ALL) USING (user_index)
    WHERE r <= ${spec.top} GROUP BY user_index`;
}

/** user_index → the latest positives, newest first, each through the template; those with a missing slot are passed over. */
function recentQuery(
  schema: DatasetSchema,
  tables: LoadedTables,
  spec: RecentBehaviour,
  missing: ReadonlySet<string>,
  train: string,
): string {
  const joins: string[] = [];
  const text = templateSql(spec.template, (slot) => {
    if (slot.startsWith('pois.')) return keywordSql(tables.column(slot), missing);
    const i = schema.keywords.scene.findIndex((k) => k.name === slot.slice('scene.'.length));
    const join = `LEFT JOIN st${i} ON st${i}.code = w.s${i}`;
    if (!joins.includes(join)) joins.push(join);
    return `st${i}.text`;
  });
  return `SELECT user_index, string_agg(said, '; ' ORDER BY r) AS text FROM (
      SELECT user_index, said, row_number() OVER (PARTITION BY user_index ORDER BY t DESC, row_id DESC) AS r FROM (
        SELECT w.user_index, w.t, w.row_id, ${text} AS said FROM wide w JOIN po ON po.poi_index = w.poi_index ${joins.join(' ')} WHERE ${train})
      WHERE said IS NOT NULL)
    WHERE r <= ${spec.recent} GROUP BY user_index`;
}
