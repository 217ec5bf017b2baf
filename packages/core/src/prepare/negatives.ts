import { type DuckdbSession, ident } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import type { DatasetSchema } from '../schema/schema.js';
import { uniformSql } from './sql-values.js';

/** Draws after which a user who has used nearly every POI is given up on. */
const attempts = 64;

/** Draws the negatives that a schema asks for; what could not be drawn goes to `notes`. @throws DataError `NEGATIVES_IMPOSSIBLE` */
export async function drawNegatives(
  db: DuckdbSession,
  schema: DatasetSchema,
  seed: number,
  notes: string[],
): Promise<void> {
  if (schema.negatives?.method !== 'unused') return;
  const missing = await drawUnusedNegatives(db, schema.keys.poi, schema.negatives.perPositive, seed);
  if (missing > 0) notes.push(`${missing} negatives could not be drawn: those users have used nearly every POI.`);
}

/**
 * Adds `perPositive` negatives to every row of `ev`, which must be a log of positives: the same user and context with a POI
 * that the user never used, drawn uniformly among the POIs of the log (the public protocol for Frappe as a CTR benchmark).
 * Row r becomes row r·(perPositive + 1), its negatives follow. A pair may be drawn for several rows, never twice for one.
 * @returns negatives that could not be drawn because the user has used too many POIs
 * @throws DataError `NEGATIVES_IMPOSSIBLE` where there is nothing to draw from
 */
async function drawUnusedNegatives(
  db: DuckdbSession,
  poiColumn: string,
  perPositive: number,
  seed: number,
): Promise<number> {
  await db.run(`CREATE TABLE used AS SELECT DISTINCT user_index, poi_index FROM ev`);
  await db.run(`CREATE TABLE candidate AS SELECT row_number() OVER (ORDER BY poi_index) - 1 AS number, poi_index
    FROM (SELECT DISTINCT poi_index FROM ev)`);
  const { n } = await db.row<{ n: bigint }>('SELECT count(*) AS n FROM candidate');
  if (n < 2n)
    throw new DataError(
      'NEGATIVES_IMPOSSIBLE',
      'negatives: the events name a single POI, so there is nothing to draw negatives from.',
    );
  await db.run(
    `CREATE TABLE wanted AS SELECT row_id, user_index, k::INTEGER AS k FROM ev, range(1, ${perPositive + 1}) AS numbers(k)`,
  );
  await db.run('CREATE TABLE drawn (row_id BIGINT, k INTEGER, poi_index INTEGER)');
  for (let attempt = 0; attempt < attempts; attempt++) {
    const draw = `w.row_id || ':' || w.k || ':${attempt}'`;
    await db.run(`CREATE OR REPLACE TABLE attempt AS
      SELECT w.row_id, w.k, c.poi_index FROM wanted w
      JOIN candidate c ON c.number = (${uniformSql(seed, 'negative', draw)} % ${n})::BIGINT
      ANTI JOIN used u ON u.user_index = w.user_index AND u.poi_index = c.poi_index`);
    // Of two equal draws for one row the later k draws again.
    await db.run(`INSERT INTO drawn SELECT row_id, min(k), poi_index FROM attempt a
      ANTI JOIN drawn d ON d.row_id = a.row_id AND d.poi_index = a.poi_index GROUP BY row_id, poi_index`);
    await db.run(
      'CREATE OR REPLACE TABLE wanted AS SELECT w.* FROM wanted w ANTI JOIN drawn d ON d.row_id = w.row_id AND d.k = w.k',
    );
    const { left } = await db.row<{ left: bigint }>('SELECT count(*) AS "left" FROM wanted');
    if (left === 0n) break;
  }
  const { missing } = await db.row<{ missing: bigint }>('SELECT count(*) AS missing FROM wanted');
  const step = perPositive + 1;
  // A negative names its own POI in the events' key column too: features may read either.
  const key = ident(`c:${poiColumn}`);
  const keyType = (await db.columns('SELECT * FROM ev')).get(`c:${poiColumn}`)!;
  await db.run(`CREATE TABLE ev2 AS
    SELECT * REPLACE (row_id * ${step} AS row_id, 1::UTINYINT AS click) FROM ev
    UNION ALL
    SELECT ev.* REPLACE (ev.row_id * ${step} + d.k AS row_id, d.poi_index AS poi_index, po.poi::${keyType} AS ${key}, 0::UTINYINT AS click,
      CASE WHEN ev.ord IS NULL THEN NULL ELSE 0::UTINYINT END AS ord)
    FROM drawn d JOIN ev ON ev.row_id = d.row_id JOIN po ON po.poi_index = d.poi_index`);
  await db.run(
    'DROP TABLE ev; ALTER TABLE ev2 RENAME TO ev; DROP TABLE used; DROP TABLE candidate; DROP TABLE wanted; DROP TABLE drawn; DROP TABLE attempt',
  );
  return Number(missing);
}
