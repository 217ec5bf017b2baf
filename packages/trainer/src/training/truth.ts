import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Dataset, DuckdbSession, UsageError } from '@larr/core';
import { noGrad, tensor, tidy } from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import type { ModelInputs } from '../models/inputs.js';

/** What a simulated world says of its POIs and users, in the order of the dataset's indices; columns are standardised. */
export interface WorldTruth {
  /** how many attributes a POI has, and a user's taste weighs */
  attributes: number;
  /** [POIs, attributes] */
  pois: Float32Array;
  /** [users, attributes] */
  users: Float32Array;
}

/** Whether the data come from a simulator that left its truth beside them. */
export function hasTruth(directory: string): boolean {
  return ['attribute_scale', 'poi_attributes', 'user_tastes'].every((name) =>
    existsSync(join(directory, 'controls', `${name}.parquet`)),
  );
}

/**
 * Reads the controls of a simulated world.
 * @throws UsageError `NEEDS_CONTROLS` where the data have none
 */
export async function readTruth({
  directory,
  manifest,
  splitName,
}: Pick<Dataset, 'directory' | 'manifest' | 'splitName'>): Promise<WorldTruth> {
  if (!hasTruth(directory)) {
    throw new UsageError(
      'NEEDS_CONTROLS',
      `${directory} has no controls/: only a world that "larr world" made knows its POIs' true attributes and its users' true tastes. Leave the models ple-true-attributes and ple-true-taste out`,
    );
  }
  const control = (name: string) => join(directory, 'controls', `${name}.parquet`);
  const db = await DuckdbSession.open();
  try {
    const column = async (sql: string, ...paths: string[]) =>
      (await db.connection.runAndReadAll(sql, paths)).getColumns();
    const [names] = (await column('SELECT attribute FROM read_parquet($1)', control('attribute_scale'))) as [string[]];
    const list = names.map((name) => `c."${name.replaceAll('"', '""')}"::DOUBLE`).join(', ');
    const ordered = async (texts: string, index: string, key: string, name: string, id: string, rows: number) =>
      standardised(
        (await column(
          `SELECT ${list} FROM read_parquet($1) t LEFT JOIN read_parquet($2) c ON t.${key} = c.${id}::VARCHAR ORDER BY t.${index}`,
          join(directory, texts),
          control(name),
        )) as (number | null)[][],
        rows,
      );
    return {
      attributes: names.length,
      pois: await ordered('texts/pois.parquet', 'poi_index', 'poi', 'poi_attributes', 'poi_id', manifest.pois),
      users: await ordered(
        `splits/${splitName}/texts/users.parquet`,
        'user_index',
        '"user"',
        'user_tastes',
        'user_id',
        manifest.users,
      ),
    };
  } finally {
    db[Symbol.dispose]();
  }
}

/** Columns → rows [rows, columns], each column to mean 0 and variance 1; what is missing is 0. */
function standardised(columns: (number | null)[][], rows: number): Float32Array {
  const out = new Float32Array(rows * columns.length);
  columns.forEach((values, c) => {
    const known = values.filter((x): x is number => x !== null);
    const mean = known.reduce((sum, x) => sum + x, 0) / Math.max(1, known.length);
    const std = Math.sqrt(known.reduce((sum, x) => sum + (x - mean) ** 2, 0) / Math.max(1, known.length)) || 1;
    for (let r = 0; r < rows; r++) {
      const value = values[r];
      if (value !== null && value !== undefined) out[r * columns.length + c] = (value - mean) / std;
    }
  });
  return out;
}

/** Fills the buffers of a control that is told the truth; models without them are left alone. */
export function installTruth(parameters: Parameters, inputs: ModelInputs, truth: WorldTruth): void {
  noGrad(() =>
    tidy(() => {
      const { attributes, pois, users } = truth;
      parameters.buffers.get('truth.pois')?.copy_(tensor(pois, [inputs.pois, attributes]));
      parameters.buffers.get('truth.users')?.copy_(tensor(users, [users.length / attributes, attributes]));
    }),
  );
}
