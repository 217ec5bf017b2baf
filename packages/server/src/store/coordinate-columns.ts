import { compileValue, coordinateInputs, type DatasetSchema, degreesOf, featureLayout, numberOf } from '@larr/core';

/** What a column is read as where a derivation takes it for a coordinate. */
export interface Coordinate {
  kind: keyof typeof degreesOf;
  /** texts that stand for "missing" there */
  missing: ReadonlySet<string>;
}

/** What the columns of one table are read as, by name: those alone that a feature or scene keyword takes for coordinates. */
export function coordinateColumns(schema: DatasetSchema, table: 'users' | 'pois'): Map<string, Coordinate[]> {
  const layout = featureLayout(schema);
  const keywords = schema.keywords.scene.map(({ value, missing }) => ({
    value,
    missing: new Set([...schema.missing, ...(missing ?? [])]),
  }));
  const found = new Map<string, Coordinate[]>();
  for (const { value, missing } of [...layout.categorical, ...layout.dense, ...keywords]) {
    if (typeof value === 'string') continue;
    const kinds = coordinateInputs(value);
    compileValue(schema, value).inputs.forEach((reference, i) => {
      const kind = kinds[i];
      if (kind == null || !reference.startsWith(`${table}.`)) return;
      const column = reference.slice(table.length + 1);
      found.set(column, [...(found.get(column) ?? []), { kind, missing }]);
    });
  }
  return found;
}

/** Why a value is no such coordinate, in degrees; null where it is one, or missing. */
export function coordinateProblem(value: unknown, uses: readonly Coordinate[]): string | null {
  if (value === null || value === '') return null;
  for (const { kind, missing } of uses) {
    const limit = degreesOf[kind];
    // Not a number compares as false.
    if (missing.has(String(value)) || Math.abs(numberOf(value)) <= limit) continue;
    return `a ${kind} between ${-limit} and ${limit} degrees is expected; null where it is missing`;
  }
  return null;
}
