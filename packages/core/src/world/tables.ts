import { join } from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';
import { ATTRIBUTES } from './attributes.js';
import { FIRST_DAY, holiday } from './calendar.js';
import { CITIES, coordinates } from './cities.js';
import { ColumnWriter } from './columns.js';
import { CUISINES } from './dishes.js';
import { MEAL_FIT, SCENE_EFFECTS } from './effects.js';
import { AGE_GROUPS, GENDERS, type People, PURPOSES } from './people.js';
import { ATTRIBUTE_MEAN, ATTRIBUTE_STD, type Restaurants } from './restaurants.js';
import type { Session } from './sessions.js';
import type { Answers } from './simulate.js';
import { WEATHERS } from './weather.js';
import { englishName } from './words.js';

const A = ATTRIBUTES.length;

/** Writes a query's rows to one Parquet file, in their order. */
async function copy(connection: DuckDBConnection, query: string, directory: string, file: string): Promise<void> {
  const path = join(directory, file).replaceAll("'", "''");
  await connection.run(`COPY (${query}) TO '${path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)`);
}

const quoted = (value: string): string => `'${value.replaceAll("'", "''")}'`;
const listOf = (values: readonly string[]): string => `[${values.map(quoted).join(', ')}]`;
const ATTRIBUTE_COLUMNS = ATTRIBUTES.map((name) => name.replaceAll('-', '_'));

/** tables/pois.parquet and controls/poi_attributes.parquet. */
export async function writeRestaurants(
  connection: DuckDBConnection,
  directory: string,
  restaurants: Restaurants,
): Promise<void> {
  const writer = await ColumnWriter.create(connection, 'pois', {
    poi_id: 'INTEGER',
    name: 'VARCHAR',
    city: 'VARCHAR',
    district: 'VARCHAR',
    location: 'VARCHAR',
    latitude: 'DOUBLE',
    longitude: 'DOUBLE',
    cuisine: 'VARCHAR',
    food_group: 'VARCHAR',
    menu: 'VARCHAR',
    signature: 'VARCHAR',
    food_words: 'VARCHAR',
    introduction: 'VARCHAR',
    tags: 'VARCHAR',
    price: 'FLOAT',
    price_words: 'VARCHAR',
    rating: 'FLOAT',
    opens_hour: 'UTINYINT',
    closes_hour: 'UTINYINT',
    opened: 'VARCHAR',
  });
  const truth = await ColumnWriter.create(connection, 'poi_truth', {
    poi_id: 'INTEGER',
    quality: 'FLOAT',
    popularity: 'DOUBLE',
    ...Object.fromEntries(ATTRIBUTE_COLUMNS.map((name) => [name, 'FLOAT' as const])),
    ...Object.fromEntries(
      CITIES.slice(0, restaurants.localness.length / restaurants.count).map((city) => [
        `local_${city.id.replaceAll('-', '_')}`,
        'FLOAT' as const,
      ]),
    ),
  });
  const cities = restaurants.localness.length / restaurants.count;
  const dayText = (day: number): string => new Date(FIRST_DAY + day * 86_400_000).toISOString().slice(0, 10);
  for (let p = 0; p < restaurants.count; p++) {
    const city = CITIES[restaurants.city[p]!]!;
    const district = city.districts[restaurants.district[p]!]!;
    const point = coordinates(city, restaurants.x[p]!, restaurants.y[p]!);
    const menu = restaurants.menu[p]!;
    const signatures = menu.slice(0, restaurants.signatures[p]);
    const others = menu.slice(signatures.length).map((item) => item.name);
    const cuisine = CUISINES[restaurants.cuisine[p]!]!;
    const menuText = `signature dishes ${signatures.map((item) => item.name).join(', ')}${others.length > 0 ? `; also ${others.join(', ')}` : ''}`;
    const words = signatures.map((item) => englishName(item.name)).join(' ');
    writer.append([
      p,
      restaurants.name[p]!,
      city.id,
      district,
      `${district} district, ${city.name}, ${city.region}`,
      point.latitude,
      point.longitude,
      cuisine.id,
      cuisine.group,
      menuText,
      signatures.map((item) => englishName(item.name)).join(', '),
      restaurants.tags[p] === null ? words : `${words} ${restaurants.tags[p]}`,
      restaurants.introduction[p]!,
      restaurants.tags[p]!,
      restaurants.price[p]!,
      priceWords(restaurants.price[p]!),
      restaurants.rating[p]!,
      restaurants.opensHour[p]!,
      restaurants.closesHour[p]! % 24,
      restaurants.opensDay[p]! > 0 ? dayText(restaurants.opensDay[p]!) : null,
    ]);
    const row: number[] = [p, restaurants.quality[p]!, restaurants.popularity[p]!];
    for (let a = 0; a < A; a++) row.push(restaurants.attributes[p * A + a]!);
    for (let c = 0; c < cities; c++) row.push(restaurants.localness[p * cities + c]!);
    truth.append(row);
  }
  writer.close();
  truth.close();
  await copy(
    connection,
    'SELECT * EXCLUDE (opened), opened::DATE AS opened FROM pois',
    directory,
    'tables/pois.parquet',
  );
  await copy(connection, 'SELECT * FROM poi_truth', directory, 'controls/poi_attributes.parquet');
  await connection.run('DROP TABLE pois; DROP TABLE poi_truth');
}

function priceWords(price: number): string {
  if (price < 15) return 'cheap, under 15 yuan';
  if (price < 25) return 'low price, 15 to 25 yuan';
  if (price < 40) return 'middle price, 25 to 40 yuan';
  if (price < 60) return 'high price, 40 to 60 yuan';
  return 'expensive, over 60 yuan';
}

/** tables/users.parquet and controls/user_tastes.parquet. */
export async function writePeople(connection: DuckDBConnection, directory: string, people: People): Promise<void> {
  const writer = await ColumnWriter.create(connection, 'users', {
    user_id: 'INTEGER',
    nickname: 'VARCHAR',
    gender: 'VARCHAR',
    age_group: 'VARCHAR',
    home_city: 'VARCHAR',
    home_text: 'VARCHAR',
  });
  const truth = await ColumnWriter.create(connection, 'user_truth', {
    user_id: 'INTEGER',
    log_budget: 'FLOAT',
    novelty: 'FLOAT',
    weather_sensitivity: 'FLOAT',
    click_bias: 'FLOAT',
    order_bias: 'FLOAT',
    ...Object.fromEntries(ATTRIBUTE_COLUMNS.map((name) => [name, 'FLOAT' as const])),
  });
  for (let u = 0; u < people.count; u++) {
    const home = CITIES[people.homeCity[u]!]!;
    writer.append([
      u,
      people.nickname[u]!,
      GENDERS[people.gender[u]!]!,
      AGE_GROUPS[people.ageGroup[u]!]!,
      home.id,
      `${home.name} in ${home.region}`,
    ]);
    const row: number[] = [
      u,
      people.logBudget[u]!,
      people.novelty[u]!,
      people.weatherSensitivity[u]!,
      people.clickBias[u]!,
      people.orderBias[u]!,
    ];
    for (let a = 0; a < A; a++) row.push(people.tastes[u * A + a]!);
    truth.append(row);
  }
  writer.close();
  truth.close();
  await copy(connection, 'SELECT * FROM users', directory, 'tables/users.parquet');
  await copy(connection, 'SELECT * FROM user_truth', directory, 'controls/user_tastes.parquet');
  await connection.run('DROP TABLE users; DROP TABLE user_truth');
}

/** controls/scene_effects.parquet: what each scene condition adds per standardised attribute, and the attributes' scale. */
export async function writeSceneEffects(
  connection: DuckDBConnection,
  directory: string,
  sceneEffects: boolean,
): Promise<void> {
  const writer = await ColumnWriter.create(connection, 'effects', {
    scene: 'VARCHAR',
    attribute: 'VARCHAR',
    effect: 'DOUBLE',
  });
  if (sceneEffects) {
    for (const row of SCENE_EFFECTS) writer.append([row.scene, row.attribute.replaceAll('-', '_'), row.effect]);
    for (const name of ATTRIBUTE_COLUMNS.slice(-5)) {
      writer.append(['present mealtime', name, MEAL_FIT.present]);
      writer.append(['another mealtime', name, MEAL_FIT.other]);
    }
  }
  writer.close();
  await copy(connection, 'SELECT * FROM effects', directory, 'controls/scene_effects.parquet');
  const scale = await ColumnWriter.create(connection, 'scale', { attribute: 'VARCHAR', mean: 'DOUBLE', std: 'DOUBLE' });
  for (const [a, name] of ATTRIBUTE_COLUMNS.entries()) scale.append([name, ATTRIBUTE_MEAN[a]!, ATTRIBUTE_STD[a]!]);
  scale.close();
  await copy(connection, 'SELECT * FROM scale', directory, 'controls/attribute_scale.parquet');
  await connection.run('DROP TABLE effects; DROP TABLE scale');
}

/** Streams impressions into a DuckDB table that may spill to disk, then writes tables/events.parquet and controls/oracle.parquet. */
export class EventLog {
  private readonly row: number[] = new Array<number>(16);
  rows = 0;

  private constructor(
    private readonly connection: DuckDBConnection,
    private readonly writer: ColumnWriter,
  ) {}

  static async create(connection: DuckDBConnection): Promise<EventLog> {
    const writer = await ColumnWriter.create(connection, 'log', {
      row_id: 'INTEGER',
      session_id: 'INTEGER',
      user_id: 'INTEGER',
      poi_id: 'INTEGER',
      seconds: 'INTEGER',
      city: 'UTINYINT',
      district: 'UTINYINT',
      weather: 'UTINYINT',
      temperature: 'FLOAT',
      travel: 'UTINYINT',
      latitude: 'DOUBLE',
      longitude: 'DOUBLE',
      position: 'UTINYINT',
      answer: 'UTINYINT',
      ctr: 'FLOAT',
      ctcvr: 'FLOAT',
    });
    return new EventLog(connection, writer);
  }

  append(session: Session, answers: Answers, index: number): void {
    const { row } = this;
    const point = coordinates(CITIES[session.city]!, session.x, session.y);
    for (let i = 0; i < session.length; i++) {
      row[0] = this.rows++;
      row[1] = index;
      row[2] = session.user;
      row[3] = session.poi[i]!;
      row[4] = FIRST_DAY / 1000 + session.day * 86_400 + session.secondOfDay;
      row[5] = session.city;
      row[6] = session.district;
      row[7] = session.weather;
      row[8] = session.temperature;
      row[9] = session.purpose;
      row[10] = point.latitude;
      row[11] = point.longitude;
      row[12] = i + 1;
      row[13] = answers.click[i]! + 2 * answers.order[i]!;
      row[14] = answers.ctr[i]!;
      row[15] = answers.ctcvr[i]!;
      this.writer.append(row);
    }
  }

  async finish(directory: string, cities: number, days: number): Promise<void> {
    this.writer.close();
    const present = CITIES.slice(0, cities);
    const holidays = present.flatMap((city, c) =>
      Array.from({ length: days }, (_, day) => ({ c, day, name: holiday(city, day) })).filter(
        ({ name }) => name !== null,
      ),
    );
    const holidayCase = holidays.map(({ c, day, name }) => `WHEN ${c * 1000 + day} THEN ${quoted(name!)}`).join(' ');
    const key = `city::INTEGER * 1000 + (seconds - ${FIRST_DAY / 1000}) // 86400`;
    const districts = present.map((city) => listOf(city.districts)).join(', ');
    await copy(
      this.connection,
      `SELECT row_id::BIGINT AS row_id, session_id, user_id, poi_id, make_timestamp(seconds::BIGINT * 1000000) AS time,
         ${listOf(present.map((city) => city.id))}[city + 1] AS city,
         [${districts}][city + 1][district + 1] AS district,
         ${listOf(WEATHERS)}[weather + 1] AS weather, temperature,
         ${listOf(PURPOSES)}[travel + 1] AS travel,
         ${holidayCase === '' ? 'NULL::VARCHAR' : `CASE ${key} ${holidayCase} END`} AS holiday,
         latitude, longitude, position, (answer % 2)::UTINYINT AS click, (answer // 2)::UTINYINT AS ordered
       FROM log`,
      directory,
      'tables/events.parquet',
    );
    await copy(
      this.connection,
      'SELECT row_id::BIGINT AS row_id, ctr, ctcvr FROM log',
      directory,
      'controls/oracle.parquet',
    );
    await this.connection.run('DROP TABLE log');
  }
}
