import { describe, expect, it } from 'vitest';
import { poiNames } from './poi-names.js';
import type { DatasetSchemaInput } from './schema.js';
import { defineSchema } from './validate.js';

const named = (poi: (string | { name: string; column?: string; template?: string })[], more: object = {}) =>
  poiNames(
    defineSchema({
      name: 'shop',
      tables: { events: 'e.csv', pois: 'p.csv' },
      labels: { click: 'click' },
      keywords: { poi: poi.map((one) => (typeof one === 'string' ? { name: one, column: one } : one)) },
      splits: { all: { kind: 'random' } },
      ...more,
    } as DatasetSchemaInput),
  );

describe("a POI's name", () => {
  it('is what the schema says, whatever else is called name', () => {
    expect(named(['name', 'brand', 'city'], { poiName: 'brand' })).toEqual({ name: 'brand', place: 'city' });
  });

  it('is the keyword called name or title, or whose column is, wherever it stands in what the language model is shown', () => {
    const texts = { cptInput: ['city', 'title'] };
    expect(named(['city', 'menu', 'title'], { texts })).toEqual({ name: 'title', place: 'city' });
    expect(named(['city', { name: 'called', column: 'Name' }], { texts: { cptInput: ['city'] } })).toEqual({
      name: 'called',
      place: 'city',
    });
    expect(named(['menu', 'movie_title']).name).toBe('movie_title');
    expect(named(['shopName', 'title']).name).toBe('title');
  });

  it('is not that of a brand, a city or an owner', () => {
    expect(named(['brand_name', 'city_name', 'owner_name'])).toEqual({ name: null, place: null });
  });

  it('is else the first of cptInput that is no place, also where the place is a column of its own', () => {
    expect(named(['city', 'coupon'], { texts: { cptInput: ['city', 'coupon'] } }).name).toBe('coupon');
    const texts = { cptInput: ['stadt', 'laden'] };
    expect(named(['stadt', 'laden'], { texts, place: { poi: 'stadt' } })).toEqual({ name: 'laden', place: 'stadt' });
  });

  it('is nothing where nothing says so: a description is no name', () => {
    expect(named(['description', 'menu'])).toEqual({ name: null, place: null });
  });
});

it('a schema whose poiName is no POI keyword is refused with the nearest one', () => {
  expect(() => named(['title', 'menu'], { poiName: 'titel' })).toThrow(
    /poiName: "titel" is not a POI keyword\. Did you mean "title"\?/,
  );
});
