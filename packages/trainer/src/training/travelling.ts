import type { Dataset } from '@larr/core';
import type { EvaluationSamples } from './part.js';

/**
 * Which rows are of users away from home: the POI lies elsewhere than the user lives. Read from the schema's `place` and from the
 * categorical feature that holds the user's place; rows of which either is unknown count as at home.
 * @returns [rows] of 0 and 1; null where the schema names no places, or no feature holds the user's
 */
export async function travellingRows(
  { schema, split, poiPlaces, vocabulary }: Pick<Dataset, 'schema' | 'split' | 'poiPlaces' | 'vocabulary'>,
  samples: EvaluationSamples,
): Promise<Uint8Array | null> {
  const column = schema.place?.user;
  const home = schema.features.categorical.find(({ value }) => value === `users.${column}`);
  const f = split.categorical.findIndex(({ name }) => name === home?.name);
  if (column === undefined || f < 0 || split.categorical[f]!.hashed !== undefined) return null;
  const places = await poiPlaces();
  if (places === null) return null;
  const homes = await vocabulary(home!.name);
  const away = new Uint8Array(samples.rows);
  for (let row = 0; row < samples.rows; row++) {
    const lives = homes[samples.categorical[f * samples.rows + row]!]; // "" where unseen or missing
    const there = places[samples.poi[row]!];
    if (lives && there && lives !== there) away[row] = 1;
  }
  return away;
}
