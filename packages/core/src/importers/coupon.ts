import { join } from 'node:path';
import type { DatasetManifest } from '../dataset/manifest.js';
import type { DatasetSchema } from '../schema/schema.js';
import { defineSchema } from '../schema/validate.js';
import { firstLine, readDelimited } from './delimited.js';
import { checkOutput, type ImportedColumn, type ImportOptions, importTables } from './import-tables.js';

const fileName = 'in-vehicle-coupon-recommendation.csv';
const scene = ['destination', 'passanger', 'weather', 'temperature', 'time'];
const profile = ['gender', 'age', 'maritalStatus', 'has_children', 'education', 'occupation', 'income'];
const habits = ['Bar', 'CoffeeHouse', 'CarryAway', 'RestaurantLessThan20', 'Restaurant20To50'];
const route = ['toCoupon_GEQ5min', 'toCoupon_GEQ15min', 'toCoupon_GEQ25min', 'direction_same', 'direction_opp'];
/** Kinds of coupons in words. */
const kinds: Record<string, string> = {
  'Restaurant(<20)': 'a restaurant for less than 20 dollars a head',
  'Restaurant(20-50)': 'a restaurant for 20 to 50 dollars a head',
  'Coffee House': 'a coffee house',
  'Carry out & Take away': 'food to take away',
  Bar: 'a bar',
};

/** The first release has a column that is nearly always empty; later ones leave it out. */
const columnsOf = (car: boolean) => [
  ...scene,
  'coupon',
  'expiration',
  ...profile,
  ...(car ? ['car'] : []),
  ...habits,
  ...route,
  'Y',
];

/**
 * In-vehicle coupons (Wang et al., 2017): would a driver accept this coupon in this moment? From
 * `in-vehicle-coupon-recommendation.csv` as published, with or without the column `car`.
 *
 * There are no ids of users or items: a distinct profile stands for the user and a kind of coupon (with how long it is
 * good for) for the POI, in texts alone. No feature holds either id.
 * @throws DataError `FILE_MISSING`, `BAD_HEADER`, `SHORT_ROW`, `LONG_ROW`, `BAD_VALUE`, `BAD_ENCODING`, `TABLE_EMPTY`
 */
export async function importCoupon(options: ImportOptions): Promise<DatasetManifest> {
  await checkOutput(options);
  const file = join(options.input, fileName);
  const columns = columnsOf((await firstLine(file)).split(',').includes('car'));
  const table = await readDelimited(file, { columns, delimiter: ',' });
  const flag = (value: string) => value === '0' || value === '1';
  for (const column of [...route, 'has_children', 'Y']) table.check(column, flag, '0 or 1');
  table.check('temperature', (value) => /^-?\d+$/.test(value), 'a whole number of degrees Fahrenheit');
  table.check('time', (value) => /^\d{1,2}(AM|PM)$/.test(value), 'a time such as 2PM');
  table.check('expiration', (value) => value === '1d' || value === '2h', '1d or 2h');

  const at = new Map(columns.map((name, i) => [name, i]));
  const value = (row: readonly string[], name: string) => row[at.get(name)!]!;
  const text = (name: string, rows: readonly (readonly string[])[] = table.rows): ImportedColumn => ({
    type: 'VARCHAR',
    values: rows.map((row) => value(row, name)),
  });
  const userColumns = [...profile, ...habits];
  const users = distinct(table.rows, (row) => userColumns.map((name) => value(row, name)));
  const coupons = distinct(table.rows, (row) => [value(row, 'coupon'), value(row, 'expiration')]);
  const numbers = (values: number[]): ImportedColumn => ({ type: 'BIGINT', values });
  return importTables(
    options,
    {
      events: {
        person: numbers(users.of),
        offer: numbers(coupons.of),
        ...Object.fromEntries([...scene, ...route, 'Y'].map((name) => [name, text(name)])),
      },
      users: {
        person: numbers(users.first.map((_, i) => i)),
        ...Object.fromEntries(userColumns.map((name) => [name, text(name, users.first)])),
      },
      pois: {
        offer: numbers(coupons.first.map((_, i) => i)),
        coupon: text('coupon', coupons.first),
        expiration: text('expiration', coupons.first),
        kind: {
          type: 'VARCHAR',
          values: coupons.first.map((row) => kinds[value(row, 'coupon')] ?? value(row, 'coupon')),
        },
        good_for: {
          type: 'VARCHAR',
          values: coupons.first.map((row) => (value(row, 'expiration') === '1d' ? 'one day' : 'two hours')),
        },
      },
    },
    couponSchema(),
  );
}

/** Numbers rows by what they have in common, in order of first appearance. */
function distinct(
  rows: readonly string[][],
  key: (row: readonly string[]) => string[],
): { of: number[]; first: string[][] } {
  const known = new Map<string, number>();
  const first: string[][] = [];
  const of = rows.map((row) => {
    const text = JSON.stringify(key(row));
    let number = known.get(text);
    if (number === undefined) {
      number = first.length;
      known.set(text, number);
      first.push(row);
    }
    return number;
  });
  return { of, first };
}

/** The schema of the imported tables. */
export function couponSchema(): DatasetSchema {
  const often = {
    never: 'never',
    less1: 'less than once a month',
    '1~3': 'one to three times a month',
    '4~8': 'four to eight times a month',
    gt8: 'more than eight times a month',
  };
  const hours = {
    '7AM': 'at 7 in the morning',
    '10AM': 'at 10 in the morning',
    '2PM': 'at 2 in the afternoon',
    '6PM': 'at 6 in the evening',
    '10PM': 'at 10 at night',
  };
  return defineSchema({
    name: 'coupon',
    description: 'In-vehicle coupon recommendation; no ids of users or items.',
    tables: {
      events: 'tables/events.parquet',
      users: 'tables/users.parquet',
      pois: 'tables/pois.parquet',
    },
    keys: { user: 'person', poi: 'offer' },
    labels: { click: 'Y' },
    features: {
      categorical: [
        { name: 'coupon', value: 'pois.coupon' },
        { name: 'expiration', value: 'pois.expiration' },
        ...scene.map((c) => ({ name: c === 'passanger' ? 'passenger' : c, value: `events.${c}` })),
        ...[...profile, ...habits].map((c) => ({ name: c, value: `users.${c}` })),
        ...route
          .filter((c) => c !== 'toCoupon_GEQ5min' && c !== 'direction_opp')
          .map((c) => ({ name: c, value: `events.${c}` })),
      ],
      cross: [
        { name: 'coupon_expiration', of: ['coupon', 'expiration'] },
        { name: 'coupon_time', of: ['coupon', 'time'] },
      ],
    },
    keywords: {
      poi: [
        { name: 'coupon', column: 'kind' },
        { name: 'expiration', template: 'good for {good_for}' },
      ],
      user: [
        { name: 'gender', column: 'gender' },
        { name: 'age', template: 'aged {age}' },
        { name: 'marital_status', column: 'maritalStatus' },
        { name: 'education', column: 'education' },
        { name: 'occupation', column: 'occupation' },
        { name: 'income', column: 'income' },
        { name: 'accepted', behaviour: { top: 3, of: 'pois.kind' } },
        { name: 'moments', behaviour: { top: 2, of: 'scene.time' } },
      ],
      scene: [
        {
          name: 'destination',
          value: {
            derive: 'text',
            of: 'events.destination',
            values: { Home: 'on the way home', Work: 'on the way to work', 'No Urgent Place': 'nowhere urgent to go' },
          },
        },
        {
          name: 'passenger',
          value: {
            derive: 'text',
            of: 'events.passanger',
            values: {
              Alone: 'alone',
              'Friend(s)': 'with friends',
              Partner: 'with a partner',
              'Kid(s)': 'with children',
            },
          },
        },
        { name: 'weather', value: 'events.weather' },
        { name: 'temperature', value: { derive: 'temperatureWords', of: 'events.temperature', unit: 'fahrenheit' } },
        { name: 'time', value: { derive: 'text', of: 'events.time', values: hours } },
        {
          name: 'distance',
          value: {
            derive: 'text',
            of: 'events.toCoupon_GEQ15min',
            values: { '0': 'less than 15 minutes away', '1': 'at least 15 minutes away' },
          },
        },
        {
          name: 'direction',
          value: {
            derive: 'text',
            of: 'events.direction_same',
            values: { '0': 'in the opposite direction', '1': 'in the same direction' },
          },
        },
        ...(['Bar', 'CoffeeHouse', 'CarryAway', 'RestaurantLessThan20', 'Restaurant20To50'] as const).map((c) => ({
          name: `goes_to_${c}`,
          value: { derive: 'text' as const, of: `users.${c}`, values: often },
        })),
      ],
    },
    texts: {
      cptInput: ['coupon'],
      cptTarget: ['expiration'],
      poiBusiness: ['coupon'],
      poiBasic: ['expiration'],
      userProfile: ['gender', 'age', 'marital_status', 'education', 'occupation', 'income'],
      userBehaviour: ['accepted', 'moments'],
    },
    splits: {
      random: { kind: 'random', ratios: [7, 1, 2] },
      'cold-user': { kind: 'cold-user', ratios: [7, 1, 2] },
    },
    training: { batchSize: 256, epochs: 30, patience: 4 },
  });
}
