import { LarrError, type Row } from '@larr/core';

/** What is wrong with a value, and where inside it; null where nothing is. */
export type ValueProblem = { at: string; reason: string } | null;

const WHOLE = /^U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)$/;
const REAL = /^(FLOAT|DOUBLE|DECIMAL\b.*)$/;
const DATED = /^(DATE|TIMESTAMP\b.*)$/;

/** Beyond it a value, standardised and multiplied, leaves the range of the ranker's 32-bit numbers. */
const LARGEST = 1e30;

/**
 * Whether a value may stand in a column of users or POIs as the features read it (parquet-rows.ts). null, for "unknown", may everywhere.
 * @param type DuckDB's, of the export's column
 * @param pois how many POIs the data have: entries of a sequence are 0 (none) to this
 */
export function valueProblem(name: string, type: string, value: unknown, pois: number): ValueProblem {
  if (value === null) return null;
  if (name.startsWith('seq_') && type.endsWith('[]')) return sequenceProblem(value, pois);
  const wrong = (reason: string): ValueProblem => ({ at: '', reason });
  if (WHOLE.test(type)) {
    // Numbers that JSON would round come as text.
    if (Number.isSafeInteger(value) || (typeof value === 'string' && /^-?\d{1,39}$/.test(value))) return null;
    return wrong(`a whole number is expected (${type}), as text where it is beyond 2^53`);
  }
  if (REAL.test(type)) {
    const text = typeof value === 'string' && type.startsWith('DECIMAL') && /^-?\d+(\.\d+)?$/.test(value);
    const x = typeof value === 'number' || text ? Number(value) : Number.NaN;
    return Math.abs(x) <= LARGEST ? null : wrong(`a number from -1e30 to 1e30 is expected (${type})`);
  }
  if (type === 'BOOLEAN')
    return typeof value === 'boolean' || value === 'true' || value === 'false'
      ? null
      : wrong('true or false is expected');
  if (typeof value !== 'string') return wrong(`a text is expected (${type})`);
  if (DATED.test(type) && !(/^\d{4}-\d{2}-\d{2}\b/.test(value) && !Number.isNaN(Date.parse(value))))
    return wrong(`a date is expected (${type}), as 2027-01-31 or 2027-01-31 12:00:00`);
  return null;
}

function sequenceProblem(value: unknown, pois: number): ValueProblem {
  if (!Array.isArray(value)) return { at: '', reason: 'a list of POIs is expected, by their ids or numbers' };
  const bad = value.findIndex((entry) => !Number.isInteger(entry) || entry < 0 || entry > pois);
  return bad < 0
    ? null
    : { at: `[${bad}]`, reason: `${value[bad]} is no POI of the data: numbers go from 1 to ${pois}, 0 is none` };
}

/**
 * Rows of users with the numbers of POIs in place of the ids that sequences may name them by. A text is an id, whatever it looks like.
 * @param numberOf a POI's number from 1; null for an id that the data do not have
 * @throws LarrError VALUE_INVALID for an unknown id
 */
export function withPoiNumbers(
  rows: ReadonlyMap<string, Row>,
  numberOf: (id: string) => number | null,
): Map<string, Row> {
  const numbered = (user: string, column: string, value: unknown): unknown => {
    if (!column.startsWith('seq_') || !Array.isArray(value)) return value;
    return value.map((entry, i) => {
      if (typeof entry !== 'string') return entry;
      const number = numberOf(entry);
      if (number !== null) return number;
      const field = `rows.${user}.${column}[${i}]`;
      const reason = `${JSON.stringify(entry)} is no POI of the data that the bundle was exported with; a text here is the id of a POI, a number its number`;
      throw new LarrError('VALUE_INVALID', `${field}: ${reason}`, { field });
    });
  };
  return new Map(
    [...rows].map(([user, row]) => [
      user,
      Object.fromEntries(Object.entries(row).map(([column, value]) => [column, numbered(user, column, value)])),
    ]),
  );
}
