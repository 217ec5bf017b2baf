import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import {
  type CategoricalSpec,
  type DenseSpec,
  PARTS,
  type Part,
  type PartManifest,
  type SplitManifest,
} from '../dataset/manifest.js';
import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import { crossSeparator } from '../features/layout.js';
import type { DatasetSchema } from '../schema/schema.js';
import type { WideSamples } from './samples.js';

/** Options of every Parquet file that is written: the same rows give the same bytes. */
export const parquetOptions = '(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)';

/**
 * Writes one split: vocabularies (from the train part only), statistics of dense columns (train part only), the sample
 * shards of the three parts, and the user–POI pairs.
 * @throws DataError `SPLIT_EMPTY`, `LABEL_ONE_CLASS`
 */
export async function writeSplit(
  db: DuckdbSession,
  schema: DatasetSchema,
  wide: WideSamples,
  options: {
    directory: string;
    number: number;
    name: string;
    orders: boolean;
    rowsPerShard: number;
    absent: ReadonlyMap<string, number>;
    onPart: (part: Part) => void;
  },
): Promise<SplitManifest> {
  const { directory, number, name, orders } = options;
  const { layout } = wide;
  const folder = join('splits', name);
  await mkdir(join(directory, folder, 'vocabulary'), { recursive: true });
  const train = `part${number} = 0`;
  const joins: string[] = [];
  const columns: string[] = [];

  const parts = await countParts(db, schema, number, name, orders);

  const categorical: CategoricalSpec[] = [];
  const writeVocabulary = async (
    feature: { name: string; role: CategoricalSpec['role']; buckets: number | null },
    table: string,
  ) => {
    const file = `${folder}/vocabulary/${feature.name}.json`;
    const values = `SELECT value FROM ${table} ${feature.buckets === null ? 'ORDER BY idx' : 'WHERE false'}`;
    const entries = await writeJsonList(db, values, join(directory, file));
    categorical.push({
      name: feature.name,
      role: feature.role,
      size: feature.buckets === null ? entries : feature.buckets + 1,
      vocabulary: file,
      ...(feature.buckets !== null && {
        hashed: {
          buckets: feature.buckets,
          collisionRate: await collisionRate(db, `SELECT idx FROM ${table} WHERE seen`),
        },
      }),
    });
  };

  for (const [i, f] of [...layout.categorical, ...layout.cross].entries()) {
    const table = `voc${i}`;
    const { keys, columns: values, named } = valuesOf(wide, number, i);
    await makeVocabulary(db, table, keys.join(', '), named, f);
    joins.push(`LEFT JOIN ${table} ON ${keys.map((key, k) => `${table}.${key} = w.${values[k]}`).join(' AND ')}`);
    columns.push(`coalesce(${table}.idx, 0)::INTEGER AS ${ident(`cat_${f.name}`)}`);
    await writeVocabulary(f, table);
  }

  const denseFeatures = [...layout.dense, ...layout.statistics];
  const dense: DenseSpec[] = [];
  const { dense: denseColumns, sequences: sequenceColumns } = wide.history[number]!;
  if (denseFeatures.length > 0) {
    const moments = await db.row<Record<string, number | null>>(
      `SELECT ${denseColumns.map((d, i) => `avg(${d})::DOUBLE AS m${i}, stddev_pop(${d})::DOUBLE AS s${i}`).join(', ')} FROM wide WHERE ${train}`,
    );
    for (const [i, f] of denseFeatures.entries()) {
      // Threads add up in any order: nine digits are the same whatever the order was.
      const mean = Number((moments[`m${i}`] ?? 0).toPrecision(9));
      const std = Number((moments[`s${i}`] ?? 0).toPrecision(9));
      const absent = options.absent.get(f.name);
      dense.push({
        name: f.name,
        role: f.role,
        mean,
        std: std > 1e-12 ? std : 1,
        ...(absent === undefined ? {} : { absent }),
      });
      columns.push(`coalesce(w.${denseColumns[i]}, ${mean})::FLOAT AS ${ident(`dense_${f.name}`)}`);
    }
  }
  schema.features.sequences.forEach((f, i) => {
    columns.push(`w.${sequenceColumns[i]} AS ${ident(`seq_${f.name}`)}`);
  });

  const scene = [];
  for (const [i, k] of schema.keywords.scene.entries()) {
    // Codes follow the order in which threads met the texts; the manifest's order must not.
    await db.run(
      `CREATE OR REPLACE TABLE sc${i} AS SELECT code, text, (row_number() OVER (ORDER BY text))::INTEGER AS idx FROM st${i}`,
    );
    const texts = await db.rows<{ text: string }>(`SELECT text FROM sc${i} ORDER BY idx`);
    joins.push(`LEFT JOIN sc${i} ON sc${i}.code = w.s${i}`);
    columns.push(`coalesce(sc${i}.idx, 0)::INTEGER AS ${ident(`scene_${k.name}`)}`);
    scene.push({ field: k.name, token: k.token ?? `scene_${k.name}`, texts: ['', ...texts.map((r) => r.text)] });
  }

  columns.push('w.user_index', 'w.poi_index', 'w.click');
  if (orders) columns.push('w.ord AS "order"');
  columns.push('w.row_id');
  for (const [p, part] of PARTS.entries()) {
    options.onPart(part);
    const partFolder = `${folder}/${part}`;
    await mkdir(join(directory, partFolder), { recursive: true });
    const shards = Math.ceil(parts[part].rows / options.rowsPerShard);
    const bounds = await shardBounds(db, number, p, shards);
    for (let shard = 0; shard <= bounds.length; shard++) {
      const file = `${partFolder}/part-${String(shard).padStart(5, '0')}.parquet`;
      const range = [
        shard > 0 ? `AND row_id > ${bounds[shard - 1]}` : '',
        shard < bounds.length ? `AND row_id <= ${bounds[shard]}` : '',
      ].join(' ');
      await db.run(`COPY (SELECT ${columns.join(', ')} FROM (SELECT * FROM wide WHERE part${number} = ${p} ${range}) w
        ${joins.join('\n')} ORDER BY w.row_id) TO ${literal(join(directory, file))} ${parquetOptions}`);
      parts[part].files.push(file);
    }
  }
  const positive = orders ? 'ord' : 'click';
  await db.run(`COPY (SELECT user_index, poi_index, count(*)::INTEGER AS count FROM wide WHERE ${train} AND ${positive} = 1
    GROUP BY ALL ORDER BY ALL) TO ${literal(join(directory, folder, 'pairs.parquet'))} ${parquetOptions}`);

  return {
    kind: schema.splits[name]!.kind,
    parts,
    categorical,
    dense,
    sequences: schema.features.sequences.map((f) => ({ name: f.name, of: 'poi', length: f.length })),
    scene,
    ...(schema.negatives?.method === 'downsample' ? { negativesKept: schema.negatives.keep } : {}),
  };
}

/**
 * The values of an ID feature or cross (crosses come after the features) and how often the train part of a split has each.
 * @returns a query of the keys, `value` (text) and `n`; the columns of `wide` that the keys are
 */
export function valuesOf(
  wide: WideSamples,
  split: number,
  feature: number,
): { keys: string[]; columns: string[]; named: string } {
  const { categorical, cross } = wide.layout;
  const parts = feature < categorical.length ? [feature] : cross[feature - categorical.length]!.parts;
  const keys = parts.map((_, k) => `k${k}`);
  const columns = parts.map((i) => `v${i}`);
  const texts = parts.map((i, k) =>
    wide.categorical[i]!.kind === 'code' ? `(SELECT text FROM ct${i} WHERE code = k${k})` : `k${k}`,
  );
  const named = `SELECT ${keys.join(', ')}, ${texts.join(` || ${literal(crossSeparator)} || `)} AS value, n FROM (
    SELECT ${columns.map((c, k) => `${c} AS k${k}`).join(', ')}, count(*) FILTER (part${split} = 0) AS n FROM wide
    WHERE ${columns.map((c) => `${c} IS NOT NULL`).join(' AND ')} GROUP BY ALL)`;
  return { keys, columns, named };
}

/** The bucket of a hashed value, from 1 on (`hashBucket` of features/serving.ts in SQL). */
export function bucketSql(value: string, buckets: number): string {
  return `(1 + md5_number_lower(${value}) % ${buckets})::INTEGER`;
}

/** Share of the distinct values, whose buckets a query gives as `idx`, that share one with another. */
export async function collisionRate(db: DuckdbSession, query: string): Promise<number> {
  const { shared, total } = await db.row<{ shared: bigint | null; total: bigint | null }>(
    `SELECT sum(n) FILTER (n > 1)::BIGINT AS shared, sum(n)::BIGINT AS total FROM (SELECT count(*) AS n FROM (${query}) GROUP BY idx)`,
  );
  return Number(shared ?? 0n) / Math.max(1, Number(total ?? 0n));
}

/** Rows and positives of a split's parts. @throws DataError `SPLIT_EMPTY`, `LABEL_ONE_CLASS` */
export async function countParts(
  db: DuckdbSession,
  schema: DatasetSchema,
  number: number,
  name: string,
  orders: boolean,
): Promise<Record<Part, PartManifest>> {
  const counts = await db.rows<{ part: number; n: bigint; clicks: bigint; orders: bigint | null }>(
    `SELECT part${number} AS part, count(*) AS n, sum(click)::BIGINT AS clicks, sum(ord)::BIGINT AS orders FROM wide GROUP BY 1`,
  );
  const parts = {} as Record<Part, PartManifest>;
  for (const [p, part] of PARTS.entries()) {
    const found = counts.find((c) => c.part === p);
    if (found === undefined) {
      const split = schema.splits[name]!;
      const advice =
        split.kind === 'time'
          ? ((await lateEvents(db)) ?? (await fewDays(db, schema)))
          : 'Give more data or other ratios.';
      throw new DataError('SPLIT_EMPTY', `splits.${name}: the ${part} part has no rows. ${advice}`, {
        field: `splits.${name}`,
      });
    }
    parts[part] = {
      rows: Number(found.n),
      files: [],
      clicks: Number(found.clicks),
      orders: orders ? Number(found.orders) : null,
    };
  }
  const train = parts.train;
  for (const [label, ones] of [
    ['click', train.clicks],
    ['order', train.orders],
  ] as const) {
    if (ones === null || (ones > 0 && ones < train.rows)) continue;
    throw new DataError(
      'LABEL_ONE_CLASS',
      `splits.${name}: the ${label} label is ${ones === 0 ? 0 : 1} in all ${train.rows} rows of the train part.`,
      {
        field: `labels.${label}`,
      },
    );
  }
  return parts;
}

/** What to do about events far after all others, which take a split by time to their days; null where there are none. */
async function lateEvents(db: DuckdbSession): Promise<string | null> {
  const [last, before] = await db.rows<{ day: string; number: number; n: bigint; rows: bigint }>(
    `SELECT t::DATE::VARCHAR AS day, date_diff('day', DATE '1970-01-01', t::DATE)::INTEGER AS number, count(*) AS n, sum(count(*)) OVER ()::BIGINT AS rows
     FROM wide GROUP BY t::DATE ORDER BY t::DATE DESC LIMIT 2`,
  );
  if (last === undefined || before === undefined || last.number - before.number < 2) return null;
  return `${last.n} of the ${last.rows} events ${last.n === 1n ? 'is' : 'are'} of ${last.day}, the last day, and none is of the ${
    last.number - before.number - 1
  } days between ${before.day} and it. If that date is a mistake, correct it or leave its events out; if not, raise testDays or validationDays, or use a random split.`;
}

async function fewDays(db: DuckdbSession, schema: DatasetSchema): Promise<string> {
  const unit = typeof schema.time === 'object' ? schema.time.unit : undefined;
  const { early, last } = await db.row<{ early: boolean; last: string }>(
    `SELECT max(t) < TIMESTAMP '1970-03-01' AS early, max(t)::DATE::VARCHAR AS last FROM wide`,
  );
  const ofUnit =
    early && (unit === 'ms' || unit === 'us') ? ` In "unit": "${unit}" the last is of ${last}: is that right?` : '';
  return `The events span too few days: lower testDays or validationDays, or use a random split.${ofUnit}`;
}

/** `table(key…, value, idx)`; hashed features hold every value (with `seen` = occurs in train), others the train part's alone. */
async function makeVocabulary(
  db: DuckdbSession,
  table: string,
  keys: string,
  named: string,
  f: { minCount: number; maxSize: number | null; buckets: number | null },
): Promise<void> {
  if (f.buckets !== null) {
    await db.run(
      `CREATE OR REPLACE TABLE ${table} AS SELECT ${keys}, value, n > 0 AS seen, ${bucketSql('value', f.buckets)} AS idx FROM (${named})`,
    );
    return;
  }
  await db.run(`CREATE OR REPLACE TABLE ${table} AS SELECT ${keys}, value, (row_number() OVER (ORDER BY n DESC, value))::INTEGER AS idx
    FROM (${named}) WHERE n >= ${f.minCount} ${f.maxSize === null ? '' : `ORDER BY n DESC, value LIMIT ${f.maxSize}`}`);
}

/** Steps of row_id that shards are cut at. */
const shardSteps = 65_536n;

/** Last row_id of every shard but the last: shards have about as many rows each, as far as steps of row_id tell. */
async function shardBounds(db: DuckdbSession, number: number, part: number, shards: number): Promise<bigint[]> {
  if (shards <= 1) return [];
  const where = `FROM wide WHERE part${number} = ${part}`;
  const { low, high } = await db.row<{ low: bigint; high: bigint }>(
    `SELECT min(row_id) AS low, max(row_id) AS high ${where}`,
  );
  const width = (high - low) / shardSteps + 1n;
  const steps = await db.rows<{ step: bigint; n: bigint }>(
    `SELECT (row_id - ${low}) // ${width} AS step, count(*) AS n ${where} GROUP BY 1 ORDER BY 1`,
  );
  const rows = steps.reduce((sum, { n }) => sum + Number(n), 0);
  const bounds: bigint[] = [];
  let before = 0;
  for (const { step, n } of steps) {
    before += Number(n);
    if (bounds.length < shards - 1 && before >= ((bounds.length + 1) * rows) / shards)
      bounds.push(low + (step + 1n) * width - 1n);
  }
  return bounds;
}

/** Streams a column of texts into a JSON list that begins with "". @returns the list's length */
async function writeJsonList(db: DuckdbSession, query: string, path: string): Promise<number> {
  const out = createWriteStream(path);
  out.write('[""');
  let size = 1;
  const result = await db.connection.stream(query);
  for (;;) {
    db.throwIfInterrupted();
    const chunk = await result.fetchChunk();
    if (chunk === null || chunk.rowCount === 0) break;
    const values = chunk.getColumnValues(0) as string[];
    size += values.length;
    if (!out.write(values.map((value) => `,\n${JSON.stringify(value)}`).join(''))) await once(out, 'drain');
  }
  out.end(']\n');
  await finished(out);
  return size;
}
