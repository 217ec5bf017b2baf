import type { DatasetSchema } from './schema.js';

/** What people read where POIs are listed: POI keywords of the schema. */
export interface PoiNames {
  /** the keyword with a POI's name; null where the schema has none, and its id stands for it */
  name: string | null;
  /** the keyword that says where a POI is, shown beside the name */
  place: string | null;
}

const EXACT = /^(name|title|名称|店名|名字|标题)$/i;
/** `shop_name`, `movieTitle`; a brand's, a city's or an owner's name is another thing's. */
const OWN =
  /^(poi|item|shop|store|restaurant|merchant|product|app|movie|film|venue|business|station|hotel|book|song|track|video|game|course|listing|property|article|display|full)[_-]?(name|title)$/i;
const PLACE = /^(location|address|district|area|neighbou?rhood|city|town|place|where)$/i;

/**
 * Which POI keyword is the POI's name: the schema's `poiName`; else the first that is called name or title, or whose column is; else the first
 * that names one (`shop_name`, `movie_title`); else the first of `texts.cptInput` that is no place, as names are put there. Nothing is taken for a
 * name that has none of these: a menu or a description under which nobody would look for it.
 */
export function poiNames(schema: Pick<DatasetSchema, 'poiName' | 'keywords' | 'texts' | 'place'>): PoiNames {
  const keywords = schema.keywords.poi;
  const called = (pattern: RegExp) =>
    keywords.find(({ name }) => pattern.test(name)) ??
    keywords.find(({ column }) => column !== undefined && pattern.test(column));
  const isPlace = (wanted: string): boolean => {
    const column = keywords.find(({ name }) => name === wanted)?.column;
    return PLACE.test(wanted) || (column !== undefined && (column === schema.place?.poi || PLACE.test(column)));
  };
  const input = schema.texts.cptInput;
  const name =
    schema.poiName ?? (called(EXACT) ?? called(OWN))?.name ?? input.find((keyword) => !isPlace(keyword)) ?? null;
  const others = keywords.map((keyword) => keyword.name).filter((keyword) => keyword !== name);
  const shown = input.filter((keyword) => keyword !== name);
  const place = shown.find(isPlace) ?? shown[0] ?? others.find(isPlace) ?? null;
  return { name, place };
}
