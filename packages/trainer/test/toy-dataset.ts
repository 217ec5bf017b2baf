import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DatasetSchemaInput, defineSchema, prepareInto } from '@larr/core';
import { draws } from '../src/language-model/draws.js';

/** Dishes and what people say of them: two vocabularies without a common word, so that only learning connects them. */
export const DISHES = [
  'noodles',
  'dumplings',
  'curry',
  'sushi',
  'pizza',
  'congee',
  'kebab',
  'tacos',
  'salad',
  'pancakes',
  'hotpot',
  'ramen',
];
const SAYINGS = [
  'long',
  'wrapped',
  'golden',
  'raw',
  'round',
  'mild',
  'smoky',
  'folded',
  'green',
  'sweet',
  'bubbling',
  'salty',
];
export const CITIES = ['Northport', 'Southfield'];

export interface ToyOptions {
  pois?: number;
  users?: number;
  eventsPerUser?: number;
  /** Rows of each Parquet file of a part. */
  rowsPerShard?: number;
  /** No orders, no profiles, no dish corpus, no general text: as a usage log has it. */
  bare?: boolean;
  /** The schema says where POIs are and users live. */
  placed?: boolean;
  /** A second split, "cold", of users that training does not know. */
  cold?: boolean;
}

/**
 * A dataset that takes a moment to make and can be learnt: POIs with three of twelve dishes each and an introduction that
 * names none of them; users who take POIs of their city with their favourite dish.
 */
export async function makeToyDataset(
  directory: string,
  {
    pois = 90,
    users = 60,
    eventsPerUser = 20,
    rowsPerShard,
    bare = false,
    placed = false,
    cold = false,
  }: ToyOptions = {},
): Promise<void> {
  const next = draws(17, 'toy');
  const below = (n: number) => Math.floor(next() * n);
  mkdirSync(join(directory, 'tables'), { recursive: true });
  const jsonl = (name: string, rows: unknown[]) =>
    writeFileSync(join(directory, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const places = Array.from({ length: pois }, (_, poi) => {
    const dishes = new Set<number>();
    while (dishes.size < 3) dishes.add(below(DISHES.length));
    return { poi, city: below(2), dishes: [...dishes] };
  });
  jsonl(
    'tables/pois.jsonl',
    places.map(({ poi, city, dishes }) => ({
      poi: `p${poi}`,
      name: `House ${poi}`,
      city: CITIES[city],
      location: `${CITIES[city]} street ${poi % 7}`,
      menu: dishes.map((d) => DISHES[d]).join(', '),
      introduction: `things that are ${[...dishes]
        .sort((a, b) => b - a)
        .map((d) => SAYINGS[d])
        .join(' and ')}`,
    })),
  );
  const people = Array.from({ length: users }, (_, user) => ({
    user,
    city: below(2),
    favourite: below(DISHES.length),
  }));
  jsonl(
    'tables/users.jsonl',
    people.map(({ user, city }) => ({ user: `u${user}`, home: CITIES[city], age: `${20 + (user % 5) * 10}` })),
  );
  const events: Record<string, unknown>[] = [];
  for (let i = 0; i < users * eventsPerUser; i++) {
    const { user, city, favourite } = people[i % users]!;
    const near = places.filter((place) => place.city === city);
    const place = near[below(near.length)]!;
    const liked = place.dishes.includes(favourite);
    const click = next() < (liked ? 0.9 : 0.1) ? 1 : 0;
    events.push({
      user: `u${user}`,
      poi: `p${place.poi}`,
      weather: ['rain', 'sun'][below(2)],
      click,
      ...(bare ? {} : { order: click && next() < 0.8 ? 1 : 0 }),
    });
  }
  jsonl('tables/events.jsonl', events);
  if (!bare) {
    mkdirSync(join(directory, 'corpus'), { recursive: true });
    jsonl(
      'corpus/general.jsonl',
      Array.from({ length: 120 }, (_, i) => ({
        text: `Everybody knows that ${DISHES[i % 12]} are ${SAYINGS[i % 12]}, in ${CITIES[i % 2]} too.`,
      })),
    );
    jsonl(
      'corpus/dishes.jsonl',
      DISHES.map((dish, i) => ({ dish, description: `It is ${SAYINGS[i]}.` })),
    );
  }
  const schema: DatasetSchemaInput = {
    name: 'toy',
    tables: {
      events: 'tables/events.jsonl',
      ...(bare ? {} : { users: 'tables/users.jsonl' }),
      pois: 'tables/pois.jsonl',
    },
    ...(placed ? { place: { poi: 'city', user: 'home' } } : {}),
    labels: bare ? { click: 'click' } : { click: 'click', order: 'order' },
    features: {
      categorical: [
        { name: 'user', value: 'events.user', role: 'user' },
        { name: 'poi', value: 'events.poi', role: 'poi' },
      ],
    },
    keywords: {
      poi: ['name', 'location', 'menu', 'introduction'].map((name) => ({ name, column: name })),
      user: [
        ...(bare
          ? []
          : [
              { name: 'home', column: 'home' },
              { name: 'age', column: 'age' },
            ]),
        { name: 'menus', behaviour: { top: 4, of: 'pois.menu', separator: ', ' } },
      ],
      scene: [{ name: 'weather', value: 'events.weather' }],
    },
    texts: {
      cptInput: ['name', 'location'],
      poiBusiness: ['name', 'location', 'menu'],
      poiBasic: ['introduction'],
      userProfile: bare ? [] : ['home', 'age'],
      userBehaviour: ['menus'],
    },
    splits: {
      random: { kind: 'random', ratios: [8, 1, 1] },
      ...(cold ? { cold: { kind: 'cold-user' as const, ratios: [8, 1, 1] as [number, number, number] } } : {}),
    },
    ...(cold ? { defaultSplit: 'random' } : {}),
  };
  const parsed = defineSchema(schema);
  writeFileSync(join(directory, 'schema.json'), `${JSON.stringify(parsed, null, 2)}\n`);
  await prepareInto(directory, {
    schema: parsed,
    baseDirectory: directory,
    seed: 1,
    threads: 1,
    ...(rowsPerShard && { rowsPerShard }),
  });
}
