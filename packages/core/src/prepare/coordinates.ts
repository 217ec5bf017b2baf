// Coordinates that are no place on earth, or another one than is meant: a distance to them is missing, or wrong, without an error.
import { type DuckdbSession, ident } from '../duckdb/session.js';
import { coordinateInputs, degreesOf, valueInputs } from '../scene/inputs.js';
import type { DatasetSchema, Derivation } from '../schema/schema.js';
import { type ColumnSql, canonicalSql, holdsNumbers, numberSql, presentSql } from './sql-values.js';

/** Degrees, latitude and longitude together, by which swapped coordinates are told: a shop and its customer are not so far apart. */
const farDegrees = 10;
/** Rows that are looked at for swapped coordinates. */
const lookedAt = 20_000;

interface Use {
  derivation: Derivation;
  missing: ReadonlySet<string>;
}

/** The derivations of a schema that read coordinates, with what means "missing" to them. */
function uses(schema: DatasetSchema): Use[] {
  const { categorical, dense } = schema.features;
  return [...categorical, ...dense, ...schema.keywords.scene].flatMap(({ value, missing }) =>
    typeof value === 'string' || coordinateInputs(value).every((kind) => kind === null)
      ? []
      : [{ derivation: value, missing: new Set([...schema.missing, ...(missing ?? [])]) }],
  );
}

/**
 * Counts values of a raw table that a derivation takes for coordinates and that are none: beyond 90 or 360 degrees, or not a number.
 * They count as missing.
 * @returns a note for each column, with the row of the first
 */
export async function impossibleCoordinates(
  db: DuckdbSession,
  schema: DatasetSchema,
  table: string,
  where: string,
  types: ReadonlyMap<string, string>,
): Promise<string[]> {
  const notes: string[] = [];
  const seen = new Set<string>();
  for (const { derivation, missing } of uses(schema)) {
    const kinds = coordinateInputs(derivation);
    const refs = valueInputs(derivation);
    for (const [i, ref] of refs.entries()) {
      const kind = kinds[i];
      if (kind == null || !ref.startsWith(`${table}.`) || seen.has(ref)) continue;
      seen.add(ref);
      const of = (reference: string): ColumnSql => {
        const column = reference.slice(table.length + 1);
        return { sql: ident(`c:${column}`), type: types.get(column)! };
      };
      const column = of(ref);
      const x = numberSql(column, missing);
      const isNone = holdsNumbers(column.type) ? `coalesce(isnan((${column.sql})::DOUBLE), false)` : 'false';
      // Swapped with its partner: a longitude stands where the latitude ought to, and the other way round.
      const partner = refs[kind === 'latitude' ? i + 1 : i - 1];
      const other =
        partner?.startsWith(`${table}.`) === true && kinds[kind === 'latitude' ? i + 1 : i - 1] != null
          ? `abs(${numberSql(of(partner), missing)}) <= 90 AND abs(${x}) <= 360`
          : 'false';
      const { n, nan, swapped, first, value } = await db.row<{
        n: bigint;
        nan: bigint;
        swapped: bigint;
        first: bigint | null;
        value: string | null;
      }>(
        `SELECT count(*) AS n, count(*) FILTER (none) AS nan, count(*) FILTER (swapped) AS swapped, min(file_row) AS first, min_by(value, file_row) AS value
         FROM (SELECT file_row, ${isNone} AS none, coalesce(${other}, false) AS swapped,
           coalesce(${presentSql(column, missing)}, ${canonicalSql(column)}, 'NaN') AS value FROM raw_${table}
           WHERE coalesce(abs(${x}) > ${degreesOf[kind]}, false) OR ${isNone})`,
      );
      if (n === 0n) continue;
      const limit = degreesOf[kind];
      notes.push(
        `${where}, column "${ref.slice(table.length + 1)}": ${n} ${n === 1n ? 'value is' : 'values are'} no ${kind} (-${limit} to ${limit}), ${n === 1n ? 'in' : 'the first in'} row ${first}: ${value}. ${n === 1n ? 'It counts' : 'They count'} as missing${
          nan === n ? ', as NaN does' : ''
        }.${swapped * 2n > n ? ` Are latitude and longitude swapped? Name them the other way round under "${derivation.derive}".` : nan === n ? '' : ' Correct them, or list what stands for nothing under "missing".'}`,
      );
    }
  }
  return notes;
}

/**
 * Compares events with their POIs where the schema measures distances between them: far apart as they are, and near when one of the two is read
 * the other way round.
 * @param column SQL of a reference over `ev`, `us`, `po`
 */
export async function swappedCoordinates(
  db: DuckdbSession,
  schema: DatasetSchema,
  column: (ref: string) => ColumnSql,
): Promise<string[]> {
  const notes: string[] = [];
  const seen = new Set<string>();
  for (const { derivation, missing } of uses(schema)) {
    if (derivation.derive !== 'distanceKm' && derivation.derive !== 'distanceBand') continue;
    const refs = valueInputs(derivation);
    if (seen.has(refs.join())) continue;
    seen.add(refs.join());
    const [a, b, c, d] = refs.map((ref) => numberSql(column(ref), missing));
    const near = (lat: string, lon: string) =>
      `median(CASE WHEN abs(${lat}) <= 90 THEN abs(${lat} - c) + abs(${lon} - d) END)`;
    const { given, turned } = await db.row<{ given: number | null; turned: number | null }>(
      `SELECT ${near('a', 'b')} AS given, ${near('b', 'a')} AS turned FROM
       (SELECT ${a} AS a, ${b} AS b, ${c} AS c, ${d} AS d FROM (FROM ev LIMIT ${lookedAt}) ev JOIN us USING (user_index) JOIN po USING (poi_index))`,
    );
    if (given === null || turned === null || given < farDegrees || turned * 10 > given) continue;
    notes.push(
      `${derivation.derive}: ${refs.slice(0, 2).join(' and ')} lie ${Math.round(given)} degrees away from ${refs.slice(2).join(' and ')} in the middle row, and ${turned.toFixed(1)} when they are read the other way round. Are latitude and longitude swapped in one of the two?`,
    );
  }
  return notes;
}
