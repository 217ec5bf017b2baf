import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';

/** What is known about POIs beside their texts, for judging vectors: which city each stands in, and (world only) its true attributes. */
export interface PoiFacts {
  /** City number per POI, −1 where unknown; null where the dataset does not say. */
  city: Int32Array | null;
  /** True attributes [pois, width] of the world's controls; null elsewhere. */
  attributes: { values: Float32Array; width: number } | null;
}

/**
 * Reads the city column of the dataset's table of POIs and the attributes in controls/, where they exist.
 * Rows are matched by POI id; a POI without a row has city −1 and attributes 0.
 */
export async function readPoiFacts(dataset: string, pois: number, cityColumn: string): Promise<PoiFacts> {
  const texts = join(dataset, 'texts', 'pois.parquet');
  const table = join(dataset, 'tables', 'pois.parquet');
  const controls = join(dataset, 'controls', 'poi_attributes.parquet');
  const key = await poiKey(dataset);
  const instance = await DuckDBInstance.create(':memory:', { threads: '2' });
  const connection = await instance.connect();
  try {
    const columnsOf = async (path: string): Promise<string[]> => {
      if (!existsSync(path)) return [];
      const result = await connection.runAndReadAll(`DESCRIBE SELECT * FROM ${file(path)}`);
      return result.getRows().map((row) => String(row[0]));
    };
    const joined = async (path: string, by: string, columns: string[]) => {
      const list = columns.map((column) => `f.${name(column)}`).join(', ');
      const result = await connection.runAndReadAll(
        `SELECT t.poi_index, ${list} FROM ${file(texts)} t JOIN ${file(path)} f ON t.poi = f.${name(by)}::VARCHAR`,
      );
      return result.getRows();
    };
    let city: Int32Array | null = null;
    const tableColumns = await columnsOf(table);
    if (key !== null && tableColumns.includes(key) && tableColumns.includes(cityColumn)) {
      city = new Int32Array(pois).fill(-1);
      const numbers = new Map<string, number>();
      for (const [poi, value] of await joined(table, key, [cityColumn])) {
        if (value === null || value === undefined) continue;
        const text = String(value);
        if (!numbers.has(text)) numbers.set(text, numbers.size);
        city[Number(poi)] = numbers.get(text)!;
      }
    }
    let attributes: PoiFacts['attributes'] = null;
    // Quality, popularity and how local a POI is are not what a dish is like.
    const own = (await columnsOf(controls)).filter(
      (column) => !['poi_id', 'quality', 'popularity'].includes(column) && !column.startsWith('local_'),
    );
    if (own.length > 0) {
      const values = new Float32Array(pois * own.length);
      for (const [poi, ...row] of await joined(controls, 'poi_id', own))
        values.set(row.map(Number), Number(poi) * own.length);
      attributes = { values, width: own.length };
    }
    return { city, attributes };
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

const file = (path: string) => `read_parquet('${path.replaceAll("'", "''")}')`;
const name = (column: string) => `"${column.replaceAll('"', '""')}"`;

/** The column of tables/pois.parquet that identifies a POI, as the schema names it. */
async function poiKey(dataset: string): Promise<string | null> {
  try {
    const schema = JSON.parse(await readFile(join(dataset, 'schema.json'), 'utf8')) as {
      keys?: { poi?: string };
      tables?: { pois?: { key?: string } };
    };
    return schema.tables?.pois?.key ?? schema.keys?.poi ?? null;
  } catch {
    return null;
  }
}
