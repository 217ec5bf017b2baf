import { type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api';
import { ident } from '@larr/core';

/** One user or POI as people look at it. */
export interface Entity {
  id: string;
  /** texts by keyword, those that it has */
  texts: Record<string, string>;
  /** raw columns of the store, those that it has */
  columns: Record<string, string | number | boolean>;
}

/** A column that divides the entities into a few groups, with the groups, largest first. */
export interface Facet {
  column: string;
  groups: { value: string; count: number; latitude?: number; longitude?: number }[];
}

export interface EntityIndexOptions {
  /** Parquet file with one row an entity */
  store: string;
  /** its column of ids */
  key: string;
  /** Parquet file with the entities' keyword texts; null where the bundle has none */
  texts: string | null;
  /** keyword with what an entity is called; what begins with the query comes first */
  name: string | null;
  /** keywords that search looks at, beside the id: what an entity is called and where it is. Without texts, the store's text columns */
  searched: readonly string[];
  /** keywords that search looks at as well where their texts are short: a name, a kind, a street, and no descriptions or reviews */
  alsoShort?: readonly string[];
  /** columns with an entity's position, for the middle of each group */
  position: { latitude: string; longitude: string } | null;
}

/** A column with more values than this is no way to choose among entities. */
const MOST_GROUPS = 500;

/** A keyword is short where all but one in twenty of its texts have at most this many characters: a name or a place, in any script. */
const SHORT_TEXT = 64;

/** Longest query that is looked at; and its words. */
const QUERY_LENGTH = 128;
const QUERY_WORDS = 8;

/** Scripts without spaces between words are searched by single characters. */
const WORDS = `CREATE MACRO words_of(t) AS list_distinct(regexp_extract_all(
  regexp_replace(lower(strip_accents(t)), '([\\p{Han}\\p{Hiragana}\\p{Katakana}\\p{Thai}])', ' \\1 ', 'g'), '[\\p{L}\\p{N}]+'))`;

/**
 * Users or POIs of a bundle to look through: by id, by the beginnings of words, by group. Kept in DuckDB, outside the JavaScript heap, so
 * that a search among a million costs milliseconds and blocks nobody; the word index is made when something is first searched for.
 */
export class EntityIndex {
  readonly #instance: DuckDBInstance;
  readonly #connection: DuckDBConnection;
  readonly #options: EntityIndexOptions;
  readonly #texts: readonly string[];
  readonly #columns: readonly { name: string; type: string }[];
  /** entities in all */
  readonly count: number;
  #words: Promise<void> | null = null;
  #facets: Promise<Facet[]> | null = null;

  private constructor(
    instance: DuckDBInstance,
    connection: DuckDBConnection,
    options: EntityIndexOptions,
    texts: readonly string[],
    columns: readonly { name: string; type: string }[],
    count: number,
  ) {
    this.#instance = instance;
    this.#connection = connection;
    this.#options = options;
    this.#texts = texts;
    this.#columns = columns;
    this.count = count;
  }

  /** Reads the files. @throws what DuckDB says where one cannot be read */
  static async open(options: EntityIndexOptions): Promise<EntityIndex> {
    const { store, key, texts } = options;
    const instance = await DuckDBInstance.create(':memory:', { threads: '2' });
    try {
      const connection = await instance.connect();
      await connection.run("ATTACH ':memory:' AS entities_of_bundle (COMPRESS)");
      await connection.run('USE entities_of_bundle');
      await connection.run(WORDS);
      const described = async (file: string): Promise<{ name: string; type: string }[]> => {
        const reader = await connection.runAndReadAll('DESCRIBE SELECT * FROM read_parquet($1)', [file]);
        return reader
          .getRowObjectsJS()
          .map(({ column_name, column_type }) => ({ name: String(column_name), type: String(column_type) }));
      };
      // Statistics and sequences are numbers for the model, not for people.
      const columns = (await described(store)).filter(
        ({ name, type }) => name !== key && !/^(dense|seq)_|_index$/.test(name) && !/[[({]/.test(type),
      );
      const textColumns =
        texts === null ? [] : (await described(texts)).filter(({ name }) => name !== key && !/_index$/.test(name));
      const given = [
        ...columns.map(({ name, type }) => ({ sql: `s.${ident(name)}${plain(type)}`, as: `column_${name}` })),
        ...textColumns.map(({ name }) => ({
          sql: `t.${ident(name)}::VARCHAR`,
          as: `text_${name.replace(/^text_/, '')}`,
        })),
      ];
      const values = given.map(({ sql, as }) => `, ${sql} AS ${ident(as)}`).join('');
      const id = ident(key);
      await connection.run(
        `CREATE TABLE entities AS SELECT (row_number() OVER () - 1)::INTEGER AS n, s.${id}::VARCHAR AS id${values} FROM read_parquet($1) s ${
          texts === null ? '' : `LEFT JOIN read_parquet($2) t ON t.${id}::VARCHAR = s.${id}::VARCHAR`
        } ORDER BY n`,
        texts === null ? [store] : [store, texts],
      );
      // Packs the blocks, which takes the texts to a fraction.
      await connection.run('CHECKPOINT entities_of_bundle');
      const counted = await connection.runAndReadAll('SELECT count(*)::INTEGER AS count FROM entities');
      return new EntityIndex(
        instance,
        connection,
        options,
        textColumns.map(({ name }) => name.replace(/^text_/, '')),
        columns,
        Number(counted.getRowObjectsJS()[0]!.count),
      );
    } catch (error) {
      instance.closeSync();
      throw error;
    }
  }

  /** Entities by id, in the order of the ids; unknown ones are left out. */
  async get(ids: readonly string[]): Promise<Entity[]> {
    if (ids.length === 0) return [];
    const marks = ids.map((_, i) => `$${i + 1}`).join(', ');
    const found = await this.#entities(`SELECT n FROM entities WHERE id IN (${marks})`, [...ids]);
    const byId = new Map(found.map((entity) => [entity.id, entity]));
    return ids.flatMap((id) => byId.get(id) ?? []);
  }

  /**
   * Entities that have every word of `query` as the beginning of one of theirs, and the given column values. The one whose id is the query
   * comes first, then those whose name begins with it, then by their order in the store.
   */
  async search(query: string, within: Readonly<Record<string, string>>, limit: number): Promise<Entity[]> {
    const asked = query.trim().slice(0, QUERY_LENGTH);
    const values: string[] = [];
    const value = (text: string): string => `$${values.push(text)}`;
    const conditions = Object.entries(within).map(
      ([column, text]) => `${ident(this.#facetColumn(column))}::VARCHAR = ${value(text)}`,
    );
    if (asked === '') {
      const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
      return this.#entities(`SELECT n FROM entities ${where} ORDER BY n LIMIT ${limit}`, values);
    }
    this.#words ??= this.#index();
    await this.#words;
    const ranges = await this.#ranges(asked);
    const hits = ranges === null ? '' : `UNION (${ranges.map(inRange).join(' INTERSECT ')})`;
    const exact = value(asked);
    const { name } = this.#options;
    const byName =
      name === null || !this.#texts.includes(name)
        ? ''
        : `starts_with(lower(coalesce(${ident(`text_${name}`)}, '')), lower(${exact})) DESC, `;
    const where = ['true', ...conditions].join(' AND ');
    return this.#entities(
      `SELECT n FROM (SELECT n FROM entities WHERE id = ${exact} ${hits}) JOIN entities USING (n) WHERE ${where}
       ORDER BY id = ${exact} DESC, ${byName}n LIMIT ${limit}`,
      values,
    );
  }

  /** Whether entities can be chosen by this column's values. */
  async hasFacet(column: string): Promise<boolean> {
    return (await this.facets()).some((facet) => facet.column === column);
  }

  /** The columns that divide the entities into a few groups. */
  facets(): Promise<Facet[]> {
    this.#facets ??= this.#groups();
    return this.#facets;
  }

  close(): void {
    this.#connection.closeSync();
    this.#instance.closeSync();
  }

  /** Columns of texts that search looks at. */
  #searched(): string[] {
    const texts = this.#options.searched
      .filter((keyword) => this.#texts.includes(keyword))
      .map((keyword) => `text_${keyword}`);
    return texts.length > 0
      ? texts
      : this.#columns.filter(({ type }) => type === 'VARCHAR').map(({ name }) => `column_${name}`);
  }

  /** Columns of the other keywords whose texts are short. */
  async #alsoSearched(): Promise<string[]> {
    const searched = new Set(this.#searched());
    const others = (this.#options.alsoShort ?? [])
      .filter((keyword) => this.#texts.includes(keyword))
      .map((keyword) => `text_${keyword}`)
      .filter((column) => !searched.has(column));
    if (others.length === 0) return [];
    const lengths = others.map((column, i) => `quantile_disc(length(${ident(column)}), 0.95)::INTEGER AS l${i}`);
    const reader = await this.#connection.runAndReadAll(`SELECT ${lengths.join(', ')} FROM entities`);
    const row = reader.getRowObjectsJS()[0]!;
    return others.filter((_, i) => row[`l${i}`] !== null && Number(row[`l${i}`]) <= SHORT_TEXT);
  }

  #facetColumn(column: string): string {
    return this.#columns.some(({ name }) => name === column) ? `column_${column}` : `text_${column}`;
  }

  /** The words of all entities in order, numbered, and which entities have each: a prefix is then one range of numbers. */
  async #index(): Promise<void> {
    const texts = ['id', ...this.#searched().map(ident), ...(await this.#alsoSearched()).map(ident)].join(', ');
    await this.#connection.run(
      `CREATE TEMP TABLE hits AS SELECT n, unnest(words_of(concat_ws(' ', ${texts}))) AS word FROM entities`,
    );
    await this.#connection.run(
      'CREATE TABLE words AS SELECT word, (row_number() OVER (ORDER BY word))::INTEGER AS w FROM (SELECT DISTINCT word FROM hits) ORDER BY word',
    );
    await this.#connection.run('CREATE TABLE postings AS SELECT w, n FROM hits JOIN words USING (word) ORDER BY w, n');
    await this.#connection.run('DROP TABLE hits');
    await this.#connection.run('CHECKPOINT entities_of_bundle');
  }

  /** Numbers of the words that begin with each word of the query; null where one begins no word, or the query has none. */
  async #ranges(query: string): Promise<{ from: number; to: number }[] | null> {
    const reader = await this.#connection.runAndReadAll(
      `SELECT min(w) AS "from", max(w) AS "to" FROM (SELECT unnest(words_of($1)[1:${QUERY_WORDS}]) AS q) LEFT JOIN words ON starts_with(word, q) GROUP BY q`,
      [query],
    );
    const ranges = reader.getRowObjectsJS() as { from: number | null; to: number | null }[];
    if (ranges.length === 0 || ranges.some(({ from }) => from === null)) return null;
    return ranges as { from: number; to: number }[];
  }

  async #groups(): Promise<Facet[]> {
    const names = [
      ...this.#columns.filter(({ type }) => type === 'VARCHAR' || type === 'BOOLEAN').map(({ name }) => name),
      // what a POI's place is called is no keyword of its own, but stands beside them
      ...this.#texts.filter((text) => text === 'place'),
    ];
    const wanted = this.#options.position;
    const has = (column: string): boolean => this.#columns.some(({ name }) => name === column);
    const position = wanted !== null && has(wanted.latitude) && has(wanted.longitude) ? wanted : null;
    const facets: Facet[] = [];
    for (const column of names) {
      const sql = ident(this.#facetColumn(column));
      const middle =
        position === null
          ? ''
          : `, avg(${ident(`column_${position.latitude}`)}::DOUBLE) AS latitude, avg(${ident(`column_${position.longitude}`)}::DOUBLE) AS longitude`;
      const reader = await this.#connection.runAndReadAll(
        `SELECT ${sql}::VARCHAR AS value, count(*)::INTEGER AS count${middle} FROM entities WHERE ${sql} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ${MOST_GROUPS + 1}`,
      );
      const groups = (reader.getRowObjectsJS() as Record<string, unknown>[]).map(
        ({ value, count, latitude, longitude }) => ({
          value: String(value),
          count: Number(count),
          ...(typeof latitude === 'number' && typeof longitude === 'number' ? { latitude, longitude } : {}),
        }),
      );
      if (groups.length > 1 && groups.length <= MOST_GROUPS && groups.length <= this.count / 2)
        facets.push({ column, groups });
    }
    return facets;
  }

  /** The entities whose numbers a query gives, in its order. Their texts are read for these alone, from the blocks that hold them. */
  async #entities(sql: string, values: DuckDBValue[]): Promise<Entity[]> {
    const numbers = (await this.#connection.runAndReadAll(sql, values)).getRowsJS().map(([n]) => Number(n));
    if (numbers.length === 0) return [];
    const reader = await this.#connection.runAndReadAll(`SELECT * FROM entities WHERE n IN (${numbers.join(', ')})`);
    const place = new Map(numbers.map((n, i) => [n, i]));
    const rows = reader.getRowObjectsJS().sort((a, b) => place.get(Number(a.n))! - place.get(Number(b.n))!);
    return rows.map((row) => {
      const entity: Entity = { id: String(row.id), texts: {}, columns: {} };
      for (const keyword of this.#texts) {
        const text = row[`text_${keyword}`];
        if (typeof text === 'string' && text !== '') entity.texts[keyword] = text;
      }
      for (const { name } of this.#columns) {
        const value = row[`column_${name}`];
        if (typeof value === 'string' || typeof value === 'boolean') entity.columns[name] = value;
        else if (typeof value === 'number' && Number.isFinite(value))
          entity.columns[name] = Number(value.toPrecision(7));
      }
      return entity;
    });
  }
}

const inRange = ({ from, to }: { from: number; to: number }): string =>
  `SELECT n FROM postings WHERE w BETWEEN ${Number(from)} AND ${Number(to)}`;

/** How a column's values become ones that JSON has. */
function plain(type: string): string {
  if (/^(VARCHAR|BOOLEAN|DOUBLE|FLOAT|U?(TINYINT|SMALLINT)|INTEGER)$/.test(type)) return '';
  return /INT$|^DECIMAL/.test(type) ? '::DOUBLE' : '::VARCHAR';
}
