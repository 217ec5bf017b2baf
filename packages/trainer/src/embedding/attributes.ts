import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Dataset, DuckdbSession, ident, literal } from '@larr/core';

/** What is known about POIs beside their texts, for judging vectors: the place each is in, and (world only) its true attributes. */
export interface PoiFacts {
  /** Place number per POI (equal where the schema's `place.poi` is), −1 where unknown; null where the schema names no place. */
  city: Int32Array | null;
  /** True attributes [pois, width] of the world's controls; null elsewhere. */
  attributes: { values: Float32Array; width: number } | null;
}

/** Reads the POIs' places, and the attributes in controls/, where they exist. Of a POI without attributes they are 0. */
export async function readPoiFacts(dataset: Dataset): Promise<PoiFacts> {
  const places = await dataset.poiPlaces();
  const numbers = new Map<string, number>();
  const city =
    places &&
    Int32Array.from(places, (place) => {
      if (place === null) return -1;
      if (!numbers.has(place)) numbers.set(place, numbers.size);
      return numbers.get(place)!;
    });
  return { city, attributes: await readAttributes(dataset) };
}

async function readAttributes({ directory, manifest }: Dataset): Promise<PoiFacts['attributes']> {
  const path = join(directory, 'controls', 'poi_attributes.parquet');
  if (!existsSync(path)) return null;
  using db = await DuckdbSession.open({ threads: 2 });
  const file = (name: string) => `read_parquet(${literal(name)})`;
  // Quality, popularity and how local a POI is are not what a dish is like.
  const own = [...(await db.columns(`SELECT * FROM ${file(path)}`)).keys()].filter(
    (column) => !['poi_id', 'quality', 'popularity'].includes(column) && !column.startsWith('local_'),
  );
  if (own.length === 0) return null;
  const values = new Float32Array(manifest.pois * own.length);
  const rows = await db.rows<{ poi_index: number; attributes: { items: number[] } }>(
    `SELECT t.poi_index, [${own.map((column) => `f.${ident(column)}::DOUBLE`).join(', ')}] AS attributes
     FROM ${file(join(directory, 'texts', 'pois.parquet'))} t JOIN ${file(path)} f ON t.poi = f.poi_id::VARCHAR`,
  );
  for (const { poi_index, attributes } of rows) values.set(attributes.items, poi_index * own.length);
  return { values, width: own.length };
}
