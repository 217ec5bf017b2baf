import { type DuckdbSession, ident, literal } from '../duckdb/session.js';
import { ConfigError, DataError, didYouMean } from '../errors.js';
import { featureLayout } from '../features/layout.js';
import { compileDerivation } from '../scene/derive.js';
import { valueInputs } from '../scene/inputs.js';
import { poiKey, userKey } from '../scene/moment.js';
import type { DatasetSchema, LabelSpec, TableSource, ValueSpec } from '../schema/schema.js';
import { impossibleCoordinates, swappedCoordinates } from './coordinates.js';
import { refuseOutcomes } from './outcomes.js';
import type { LoadingStage } from './progress.js';
import { likelyDelimiter, mustBeText, numberedRows, openSource, reading, sourceName } from './sources.js';
import {
  type ColumnSql,
  canonicalSql,
  holdsNumbers,
  isNested,
  isUnwritable,
  labelWords,
  numberSql,
  presentSql,
  templateSlots,
  timeSql,
} from './sql-values.js';

type TableName = 'events' | 'users' | 'pois';
const aliases = { events: 'ev', users: 'us', pois: 'po' } as const;

/** So many ids of a table that lists none of the events' are shown, of either side. */
const STRANGERS_NAMED = 3;

/** The loaded tables: `ev`, `us` and `po` in DuckDB, and what their columns are. */
export interface LoadedTables {
  /** SQL and type of "events.x", "users.x", "pois.x" in a query over `ev`, `us`, `po`. */
  column(ref: string): ColumnSql;
  orders: boolean;
  users: number;
  pois: number;
  /** Raw columns of users and POIs that features or scenes read at serving time. */
  stored: { users: string[]; pois: string[] };
  notes: string[];
  /** Of each source table: the columns that the schema reads, and the others. */
  columns: { table: TableName; used: string[]; unused: string[] }[];
}

/**
 * Loads the source tables into DuckDB with every check that needs no feature:
 * `us(user_index, user, …)`, `po(poi_index, poi, …)`, `ev(row_id, user_index, poi_index, t, day, click, ord, …)`.
 * Users and POIs that only the events know are added with all columns missing, and counted in `notes`.
 * @param firstEvents reads so many events only
 * @throws ConfigError `BAD_TYPE`, `KEYS_DISJOINT`; DataError `FILE_MISSING`, `UNREADABLE`, `COLUMN_MISSING`, `BAD_VALUE`, `TABLE_EMPTY`, `DUPLICATE_KEY`, `LABEL_ONE_CLASS`
 */
export async function loadTables(
  db: DuckdbSession,
  schema: DatasetSchema,
  baseDirectory: string,
  onStage: (stage: LoadingStage) => void = () => {},
  firstEvents?: number,
): Promise<LoadedTables> {
  onStage('reading users and POIs');
  const wanted = wantedColumns(schema);
  const notes: string[] = [];
  const tableColumns: LoadedTables['columns'] = [];
  const types: Record<TableName, Map<string, string>> = { events: new Map(), users: new Map(), pois: new Map() };

  for (const table of ['users', 'pois', 'events'] as const) {
    const source = schema.tables[table];
    if (source === undefined) continue;
    const opened = await openSource(db, source, table, baseDirectory);
    const { where, columns: available } = opened;
    for (const [column, at] of wanted[table]) {
      const type = available.get(column);
      if (type === undefined) {
        // A file that is none of what it is taken for has no such column either.
        if (opened.textFile !== null) await mustBeText(where, opened.textFile);
        const delimiter = likelyDelimiter(opened);
        throw new DataError(
          delimiter === null ? 'COLUMN_MISSING' : 'BAD_DELIMITER',
          delimiter === null
            ? `${where} has no column "${column}", which the schema's ${at} names.${didYouMean(column, available.keys())}`
            : `${where}: its columns are not separated by ${JSON.stringify(opened.delimiter)} but, it seems, by ${JSON.stringify(delimiter)}. Say so: "${table}": { "path": ${JSON.stringify(where)}, "delimiter": ${JSON.stringify(delimiter)} }.`,
          { file: where, field: column },
        );
      }
      mustBeWritable(where, column, type, at);
      types[table].set(column, type);
    }
    const columns = [...wanted[table].keys()];
    const unused = [...available.keys()].filter((column) => !wanted[table].has(column));
    tableColumns.push({ table, used: columns, unused });
    if (table === 'events') onStage('reading events');
    const rows = `${numberedRows(opened, columns)}${table === 'events' && firstEvents !== undefined ? ` LIMIT ${firstEvents}` : ''}`;
    await reading(db, opened, () => db.run(`CREATE TABLE raw_${table} AS ${rows}`));
    const { n } = await db.row<{ n: bigint }>(`SELECT count(*) AS n FROM raw_${table}`);
    if (n === 0n)
      throw new DataError('TABLE_EMPTY', `${where} has no rows (tables.${table}). Give it data.`, { file: where });
    if (table === 'events') onStage('checking values');
    await checkValues(db, schema, table, where, types[table]);
    notes.push(...(await impossibleCoordinates(db, schema, table, where, types[table])));
    if (table === 'events') notes.push(...(await oddities(db, schema, where, types.events)));
  }

  onStage('joining users and POIs');
  const raw = (table: TableName, column: string): ColumnSql => ({
    sql: ident(`c:${column}`),
    type: types[table].get(column)!,
  });
  for (const [table, key, id, index] of [
    ['users', userKey(schema), 'user', 'user_index'],
    ['pois', poiKey(schema), 'poi', 'poi_index'],
  ] as const) {
    const alias = aliases[table];
    const eventKey = canonicalSql(raw('events', id === 'user' ? schema.keys.user : schema.keys.poi));
    if (schema.tables[table] === undefined) {
      await db.run(
        `CREATE TABLE ${alias} AS SELECT (row_number() OVER (ORDER BY first_row) - 1)::INTEGER AS ${index}, ${id} FROM
         (SELECT ${eventKey} AS ${id}, min(file_row) AS first_row FROM raw_events GROUP BY 1)`,
      );
      continue;
    }
    const where = sourceName(schema.tables[table], table);
    const keyText = canonicalSql(raw(table, key));
    const duplicate = await db.rows<{ id: string; first: bigint; second: bigint }>(
      `SELECT ${keyText} AS id, min(file_row) AS first, max(file_row) AS second FROM raw_${table} GROUP BY 1 HAVING count(*) > 1 ORDER BY first LIMIT 1`,
    );
    if (duplicate[0] !== undefined) {
      const { id: value, first, second } = duplicate[0];
      throw new DataError(
        'DUPLICATE_KEY',
        `${where}: "${key}" = ${JSON.stringify(value)} stands in rows ${first} and ${second}; a key may occur once. Remove one, or point "key" at the unique column.`,
        { file: where, row: second, field: key },
      );
    }
    const columns = [...types[table].keys()].map((c) => `, ${ident(`c:${c}`)}`).join('');
    await db.run(
      `CREATE TABLE ${alias} AS SELECT (file_row - 1)::INTEGER AS ${index}, ${keyText} AS ${id}${columns} FROM raw_${table}`,
    );
    const { n, first, events } = await db.row<{ n: bigint; first: string | null; events: bigint }>(
      `SELECT count(*) AS n, min_by(key, file_row) AS first, (SELECT count(*) FROM raw_events) AS events
       FROM (SELECT ${eventKey} AS key, file_row FROM raw_events) WHERE key NOT IN (SELECT ${id} FROM ${alias})`,
    );
    // Before the events' ids are added: what the table says is what stands in its file.
    if (n === events) throw await strangers(db, schema.tables[table], { table, where, key, keyText, eventKey });
    if (n > 0n) {
      await db.run(
        `INSERT INTO ${alias} (${index}, ${id}) SELECT (SELECT count(*) FROM ${alias}) + row_number() OVER (ORDER BY first_row) - 1, ${id}
         FROM (SELECT ${eventKey} AS ${id}, min(file_row) AS first_row FROM raw_events GROUP BY 1) WHERE ${id} NOT IN (SELECT ${id} FROM ${alias})`,
      );
      const { added } = await db.row<{ added: bigint }>(
        `SELECT count(*) - (SELECT count(*) FROM raw_${table}) AS added FROM ${alias}`,
      );
      const what = table === 'pois' ? 'POI' : 'user';
      notes.push(
        `${n} ${n === 1n ? 'event names' : 'events name'} ${added} ${added === 1n ? what : `${what}s`} that ${where} does not list, such as ${JSON.stringify(first)}; they are kept, with every column missing.`,
      );
    }
    await db.run(`DROP TABLE raw_${table}`);
  }

  const { click, order } = labelColumns(schema);
  const unit = typeof schema.time === 'object' ? schema.time.unit : undefined;
  const timeColumn = typeof schema.time === 'object' ? schema.time.column : schema.time;
  const labelSql = (label: NonNullable<typeof click>) => {
    const column = raw('events', label.column);
    if (label.atLeast !== undefined) return `(${numberSql(column, new Set())} >= ${label.atLeast})::UTINYINT`;
    if (label.positive !== undefined)
      return `(lower(${canonicalSql(column)}) = lower(${literal(label.positive)}))::UTINYINT`;
    return `(lower(${canonicalSql(column)}) IN (${labelWords.yes.map(literal).join(', ')}))::UTINYINT`;
  };
  const eventColumns = [...types.events.keys()].map((c) => `, r.${ident(`c:${c}`)}`).join('');
  const t = timeColumn === undefined ? null : timeSql(raw('events', timeColumn), unit);
  await db.run(`CREATE TABLE ev AS
    SELECT ${schema.keys.row === undefined ? 'file_row - 1' : `TRY_CAST(${raw('events', schema.keys.row).sql} AS BIGINT)`} AS row_id,
      us.user_index, po.poi_index,
      ${t === null ? '' : `${t} AS t, date_diff('day', TIMESTAMP '1970-01-01', ${t})::INTEGER AS day,`}
      ${click === undefined ? '1::UTINYINT' : labelSql(click)} AS click,
      ${order === undefined ? 'NULL::UTINYINT' : labelSql(order)} AS ord${eventColumns}
    FROM raw_events r
    JOIN us ON us.user = ${canonicalSql({ ...raw('events', schema.keys.user), sql: `r.${ident(`c:${schema.keys.user}`)}` })}
    JOIN po ON po.poi = ${canonicalSql({ ...raw('events', schema.keys.poi), sql: `r.${ident(`c:${schema.keys.poi}`)}` })}`);
  await db.run('DROP TABLE raw_events');

  const eventsName = sourceName(schema.tables.events, 'events');
  if (schema.keys.row !== undefined) {
    const twice = await db.rows<{ row_id: bigint }>(
      'SELECT row_id FROM ev GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1',
    );
    if (twice[0] !== undefined) {
      throw new DataError(
        'DUPLICATE_KEY',
        `${eventsName}: keys.row "${schema.keys.row}" = ${twice[0].row_id} occurs more than once; it must be unique.`,
        {
          file: eventsName,
          field: schema.keys.row,
        },
      );
    }
  }
  const sums = await db.row<{
    n: bigint;
    clicks: bigint;
    orders: bigint | null;
    odd: bigint;
    users: bigint;
    pois: bigint;
  }>(
    `SELECT count(*) AS n, sum(click)::BIGINT AS clicks, sum(ord)::BIGINT AS orders, count(*) FILTER (ord = 1 AND click = 0) AS odd,
     (SELECT count(*) FROM us) AS users, (SELECT count(*) FROM po) AS pois FROM ev`,
  );
  const oneClass = async ({ column: label, positive }: LabelColumn, ones: bigint) => {
    if (ones !== 0n && ones !== sums.n) return;
    const values =
      positive === undefined || ones !== 0n
        ? []
        : await db.rows<{ value: string }>(
            `SELECT ${canonicalSql(raw('events', label))} AS value FROM ev GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 6`,
          );
    const said = values.map(({ value }) => JSON.stringify(value)).join(', ');
    throw new DataError(
      'LABEL_ONE_CLASS',
      `${eventsName}: the label "${label}" is ${ones === 0n ? '0' : '1'} in all ${sums.n} rows, so there is nothing to learn. Check the column${
        ones === 0n
          ? said === ''
            ? ''
            : `: "positive" is ${JSON.stringify(positive)}, and it says ${said}`
          : ', or let negatives.method "unused" draw negatives'
      }.`,
      { file: eventsName, field: label },
    );
  };
  if (schema.negatives?.method !== 'unused') await oneClass(click!, sums.clicks);
  if (order !== undefined) {
    await oneClass(order, sums.orders!);
    if (sums.odd > 0n) notes.push(`${sums.odd} rows have an order without a click.`);
  }
  onStage('looking for outcomes');
  notes.push(...(await refuseOutcomes(db, schema, eventsName, types.events, order !== undefined)));
  const column = (ref: string): ColumnSql => {
    const dot = ref.indexOf('.');
    const table = ref.slice(0, dot) as TableName;
    const name = ref.slice(dot + 1);
    return { sql: `${aliases[table]}.${ident(`c:${name}`)}`, type: types[table].get(name)! };
  };
  notes.push(...(await swappedCoordinates(db, schema, column)));
  return {
    column,
    orders: order !== undefined,
    users: Number(sums.users),
    pois: Number(sums.pois),
    stored: storedColumns(schema),
    notes,
    columns: tableColumns,
  };
}

/** An error for a table that lists none of the users or POIs of the events, with what both call them. Its rows are `raw_<table>`. */
async function strangers(
  db: DuckdbSession,
  source: TableSource,
  {
    table,
    where,
    key,
    keyText,
    eventKey,
  }: { table: 'users' | 'pois'; where: string; key: string; keyText: string; eventKey: string },
): Promise<ConfigError> {
  const examples = async (sql: string, rows: string) =>
    (
      await db.rows<{ key: string }>(
        `SELECT ${sql} AS key FROM ${rows} GROUP BY 1 ORDER BY min(file_row) LIMIT ${STRANGERS_NAMED}`,
      )
    ).map((row) => JSON.stringify(row.key));
  const named = (await examples(eventKey, 'raw_events')).join(', ');
  const listed = (await examples(keyText, `raw_${table}`)).join(', ');
  const given = typeof source === 'object' && source.key !== undefined;
  return new ConfigError(
    'KEYS_DISJOINT',
    `${where} lists none of the ${table === 'pois' ? 'POIs' : 'users'} of the events: they name ${named}, its column "${key}" says ${listed}. ${
      given
        ? `"${key}" is what tables.${table} gives as its "key": name the column that holds them there, or write both alike`
        : `Name its key under tables.${table} ("key": …), or write both alike`
    }${/\.0"/.test(named) !== /\.0"/.test(listed) ? ' (one has whole numbers with ".0")' : ''}.`,
    { file: where, field: key },
  );
}

/**
 * Makes sure that the values of a column have a text that a request could give too: bytes and nested values have none.
 * @throws ConfigError `BAD_TYPE`
 */
function mustBeWritable(where: string, column: string, type: string, at: string): void {
  if (!isUnwritable(type)) return;
  const short = type.length <= 60 ? type : `${type.slice(0, 60)}…`;
  throw new ConfigError(
    'BAD_TYPE',
    `${where}: the column "${column}", which the schema's ${at} names, is of type ${short}: ${
      isNested(type) ? 'nested values are' : 'bytes are'
    } no text, number or time. Leave it out, or make the table a query that reads what is meant out of it: { "query": "SELECT … FROM …" }.`,
    { file: where, field: column },
  );
}

/** What is allowed in a log but seldom meant: the same row twice, clocks of several zones, numbers whose unit nobody states. */
async function oddities(
  db: DuckdbSession,
  schema: DatasetSchema,
  where: string,
  types: ReadonlyMap<string, string>,
): Promise<string[]> {
  const notes: string[] = [];
  const column = typeof schema.time === 'string' ? schema.time : schema.time?.column;
  // Without a time, the same user, POI and context twice is what a log of visits looks like.
  if (column === undefined) return notes;
  const compared = [...types.keys()].filter((c) => c !== schema.keys.row).map((c) => ident(`c:${c}`));
  // Not count(DISTINCT …), which keeps all in memory.
  const { repeated } = await db.row<{ repeated: bigint | null }>(
    `SELECT sum(n - 1)::BIGINT AS repeated FROM (SELECT count(*) AS n FROM raw_events GROUP BY hash(${compared.join(', ')}) HAVING n > 1)`,
  );
  if (repeated !== null)
    notes.push(
      `${where}: ${repeated} ${repeated === 1n ? 'row repeats' : 'rows repeat'} another one in every column that is read (user, POI, time, labels and all); each is counted. If the log holds them twice by mistake, remove them.`,
    );
  const time = { sql: ident(`c:${column}`), type: types.get(column)! };
  const unit = typeof schema.time === 'object' ? schema.time.unit : undefined;
  if (time.type === 'VARCHAR') {
    const zones = await db.rows<{ zone: string; n: bigint }>(
      `SELECT regexp_extract(substr(${time.sql}, 11), '(Z|[+-]\\d{2}:?(\\d{2})?)$', 1) AS zone, count(*) AS n FROM raw_events GROUP BY 1 ORDER BY n DESC, zone`,
    );
    if (zones.length > 1) {
      const said = zones.slice(0, 4).map(({ zone, n }) => `${zone === '' ? 'none' : `"${zone}"`} in ${n} rows`);
      notes.push(
        `${where}, column "${column}": the times carry ${zones.length} different offsets (${said.join(', ')}${zones.length > 4 ? ', …' : ''}). Offsets are not applied: each time is taken as the clock of its place. If these are one clock written in several zones, convert them to local time.`,
      );
    }
  }
  if (unit === undefined) {
    const { numbers } = await db.row<{ numbers: bigint }>(
      /^(TIMESTAMP|DATE)/.test(time.type)
        ? 'SELECT 0::BIGINT AS numbers'
        : `SELECT count(*) FILTER (regexp_full_match((${time.sql})::VARCHAR, '-?\\d+(\\.\\d+)?')) AS numbers FROM raw_events`,
    );
    if (numbers > 0n)
      notes.push(
        `${where}, column "${column}": ${numbers} times are numbers, whose unit was guessed by their size. Say it: "time": { "column": "${column}", "unit": "s" }, "ms" or "us".`,
      );
  } else if (unit !== 'timestamp') {
    // Days may be counted from any day, but hours and weekdays would be wrong.
    const { largest } = await db.row<{ largest: number | null }>(
      `SELECT max(TRY_CAST(${time.sql} AS DOUBLE)) AS largest FROM raw_events`,
    );
    const coarser = Object.entries(sinceEpoch).find(
      ([, { least }]) => least < sinceEpoch[unit].least && largest !== null && largest > least && largest < least * 7,
    );
    if (coarser !== undefined)
      notes.push(
        `${where}, column "${column}": as ${sinceEpoch[unit].name} since 1970, which time.unit says, all times are before February 1970. They look like ${coarser[1].name}: "unit": "${coarser[0]}".`,
      );
  }
  return notes;
}

interface LabelColumn {
  column: string;
  /** What makes it 1: a number that it reaches, or a value. */
  atLeast?: number;
  positive?: string;
}

/** The labels as trained: a lone order column plays the click. */
function labelColumns(schema: DatasetSchema): { click: LabelColumn | undefined; order: LabelColumn | undefined } {
  const wide = (label: LabelSpec | undefined): LabelColumn | undefined =>
    typeof label === 'string' ? { column: label } : label;
  const click = wide(schema.labels.click);
  const order = wide(schema.labels.order);
  return click === undefined ? { click: order, order: undefined } : { click, order };
}

type Wanted = Record<TableName, Map<string, string>>;

/** Every column the schema names, with the place that names it first. */
function wantedColumns(schema: DatasetSchema): Wanted {
  const wanted: Wanted = { events: new Map(), users: new Map(), pois: new Map() };
  const add = (table: TableName, column: string, at: string) => {
    if (!wanted[table].has(column)) wanted[table].set(column, at);
  };
  const addRef = (ref: string, at: string) => {
    const dot = ref.indexOf('.');
    add(ref.slice(0, dot) as TableName, ref.slice(dot + 1), at);
  };
  const addValue = (value: ValueSpec, at: string) => {
    for (const ref of valueInputs(value)) if (ref !== 'time') addRef(ref, at);
  };
  add('events', schema.keys.user, 'keys.user');
  add('events', schema.keys.poi, 'keys.poi');
  if (schema.keys.row !== undefined) add('events', schema.keys.row, 'keys.row');
  if (schema.tables.users !== undefined) add('users', userKey(schema), 'tables.users (key)');
  if (schema.tables.pois !== undefined) add('pois', poiKey(schema), 'tables.pois (key)');
  if (schema.time !== undefined)
    add('events', typeof schema.time === 'string' ? schema.time : schema.time.column, 'time');
  const { click, order } = labelColumns(schema);
  if (click !== undefined) add('events', click.column, 'labels.click');
  if (order !== undefined) add('events', order.column, 'labels.order');
  for (const f of [...schema.features.categorical, ...schema.features.dense]) addValue(f.value, `feature "${f.name}"`);
  for (const k of schema.keywords.scene) addValue(k.value, `scene keyword "${k.name}"`);
  for (const [table, keywords] of [
    ['pois', schema.keywords.poi],
    ['users', schema.keywords.user],
  ] as const) {
    for (const k of keywords) {
      if (k.column !== undefined) add(table, k.column, `keyword "${k.name}"`);
      for (const slot of templateSlots(k.template ?? '')) add(table, slot, `keyword "${k.name}"`);
    }
  }
  if (schema.place?.poi !== undefined) add('pois', schema.place.poi, 'place.poi');
  if (schema.place?.user !== undefined) add('users', schema.place.user, 'place.user');
  for (const k of schema.keywords.user) {
    const refs =
      k.behaviour === undefined ? [] : 'top' in k.behaviour ? [k.behaviour.of] : templateSlots(k.behaviour.template);
    for (const ref of refs) if (ref.startsWith('pois.')) addRef(ref, `keyword "${k.name}"`);
  }
  return wanted;
}

function storedColumns(schema: DatasetSchema): { users: string[]; pois: string[] } {
  const users = new Set<string>();
  const pois = new Set<string>();
  const specs = [...schema.features.categorical, ...schema.features.dense, ...schema.keywords.scene];
  for (const ref of specs.flatMap((s) => valueInputs(s.value))) {
    if (ref.startsWith('users.')) users.add(ref.slice('users.'.length));
    if (ref.startsWith('pois.')) pois.add(ref.slice('pois.'.length));
  }
  return { users: [...users], pois: [...pois] };
}

/** Units of times that are numbers, and what the year 1990 is in them; 2100 is a little under seven times as much. */
const sinceEpoch = {
  s: { name: 'seconds', least: 6e8 },
  ms: { name: 'milliseconds', least: 6e11 },
  us: { name: 'microseconds', least: 6e14 },
} as const;

/** Samples are 32-bit numbers, and these end a little above. */
const largestNumber = '3.4e38';

/** Finds the first value that the schema's use of its column cannot stand. */
async function checkValues(
  db: DuckdbSession,
  schema: DatasetSchema,
  table: TableName,
  where: string,
  types: Map<string, string>,
): Promise<void> {
  const complain = async (column: string, bad: string, what: string, fix: string) => {
    const found = await db.rows<{ file_row: bigint; value: string | null }>(
      `SELECT file_row, ${canonicalSql({ sql: ident(`c:${column}`), type: types.get(column)! })} AS value FROM raw_${table} WHERE ${bad} ORDER BY file_row LIMIT 1`,
    );
    if (found[0] === undefined) return;
    const { file_row, value } = found[0];
    throw new DataError(
      'BAD_VALUE',
      `${where}, row ${file_row}, column "${column}": ${value === null ? 'the value is missing' : `${JSON.stringify(value)} is not ${what}`}. ${fix}`,
      { file: where, row: file_row, field: column },
    );
  };
  const sqlOf = (column: string): ColumnSql => ({ sql: ident(`c:${column}`), type: types.get(column)! });
  const key = async (column: string) =>
    complain(
      column,
      `(${canonicalSql(sqlOf(column))} IS NULL OR ${canonicalSql(sqlOf(column))} = '')`,
      'a key',
      'Every row needs its key.',
    );
  const number = async (column: string, missing: ReadonlySet<string>, use: string) => {
    const c = sqlOf(column);
    if (c.type.endsWith('[]')) {
      throw new DataError('BAD_VALUE', `${where}: column "${column}" is a list, but ${use} needs a number.`, {
        file: where,
        field: column,
      });
    }
    // Whole numbers and decimals are finite; among the others NaN is how writers say "missing", infinity is a mistake.
    if (c.type === 'BOOLEAN' || (holdsNumbers(c.type) && !/^(FLOAT|DOUBLE)$/.test(c.type))) return;
    if (holdsNumbers(c.type)) {
      // The values as they are, before their texts: nearly always nothing is wrong, and a text of each is ten times as dear.
      const { wrong } = await db.row<{ wrong: bigint }>(
        `SELECT count(*) AS wrong FROM raw_${table} WHERE NOT isnan(${c.sql}) AND abs(${c.sql}) > ${largestNumber}`,
      );
      if (wrong === 0n) return;
    }
    await complain(
      column,
      `${presentSql(c, missing)} IS NOT NULL AND coalesce(abs(${numberSql(c, missing)}) > ${largestNumber}, true)`,
      `a finite number (of at most ${largestNumber}), which ${use} needs`,
      `Correct it, or list it under "missing", of ${use} or of the whole schema.`,
    );
  };
  /** @param missing markers; null where every row needs a time */
  const time = async (column: string, unit: Parameters<typeof timeSql>[1], missing: ReadonlySet<string> | null) => {
    const c = sqlOf(column);
    const unread = `${missing === null ? '' : `${presentSql(c, missing)} IS NOT NULL AND `}${timeSql(c, unit)} IS NULL`;
    await complain(column, unread, 'a time', await timeRemedy(c, unit, unread));
  };

  /** What to write in place of a value that is no time. A number is none where it is too large in the unit that is given. */
  const timeRemedy = async ({ sql }: ColumnSql, unit: Parameters<typeof timeSql>[1], unread: string) => {
    const plain = 'Times are ISO 8601 ("2026-01-31 12:05:00"), timestamps, or numbers with time.unit.';
    const scale = unit === undefined || unit === 'timestamp' ? undefined : sinceEpoch[unit];
    if (scale === undefined) return plain;
    const [first] = await db.rows<{ x: number | null }>(
      `SELECT TRY_CAST(${sql} AS DOUBLE) AS x FROM raw_${table} WHERE ${unread} ORDER BY file_row LIMIT 1`,
    );
    const counts = Object.entries(sinceEpoch).find(
      ([, { least }]) => first?.x && first.x > least && first.x < least * 7,
    );
    return counts === undefined || counts[0] === unit
      ? `Times are ISO 8601 ("2026-01-31 12:05:00"), timestamps, or, as time.unit says here, ${scale.name} since 1970.`
      : `As ${scale.name} since 1970, which time.unit says, it is too large; it looks like ${counts[1].name}: "unit": "${counts[0]}".`;
  };

  const texts = [...types].flatMap(([column, type]) => (type === 'VARCHAR' ? [column] : []));
  const hasZero = (column: string) => `contains(${ident(`c:${column}`)}, chr(0))`;
  const { zeros } = await db.row<{ zeros: bigint }>(
    `SELECT count(*) AS zeros FROM raw_${table} WHERE ${texts.map(hasZero).join(' OR ') || 'false'}`,
  );
  // Readers and writers of text end it at a zero byte, or do not: what is served would not be what was learnt.
  for (const column of zeros === 0n ? [] : texts)
    await complain(column, hasZero(column), 'text: it has a zero byte', 'Take the byte out.');

  if (table === 'users') return key(userKey(schema)).then(() => checkUses());
  if (table === 'pois') return key(poiKey(schema)).then(() => checkUses());
  await key(schema.keys.user);
  await key(schema.keys.poi);
  if (schema.keys.row !== undefined) {
    await complain(
      schema.keys.row,
      `coalesce(TRY_CAST(${ident(`c:${schema.keys.row}`)} AS BIGINT) < 0, true)`,
      'a whole number of at least 0',
      'keys.row needs one in every row.',
    );
  }
  if (schema.time !== undefined) {
    if (typeof schema.time === 'string') await time(schema.time, undefined, null);
    else await time(schema.time.column, schema.time.unit, null);
  }
  const { click, order } = labelColumns(schema);
  for (const label of [click, order]) {
    if (label === undefined) continue;
    if (label.atLeast !== undefined) {
      const c = sqlOf(label.column);
      await complain(label.column, `${numberSql(c, new Set())} IS NULL`, 'a number', 'A label is needed in every row.');
    } else if (label.positive !== undefined) {
      const text = canonicalSql(sqlOf(label.column));
      await complain(label.column, `coalesce(${text}, '') = ''`, 'a value', 'A label is needed in every row.');
    } else {
      const text = canonicalSql(sqlOf(label.column));
      await complain(
        label.column,
        `(${text}) IS NULL OR lower(${text}) NOT IN (${[...labelWords.yes, ...labelWords.no].map(literal).join(', ')})`,
        'a label: 0 or 1, true or false, yes or no',
        `Correct it, say which value is the 1: {"column": ${JSON.stringify(label.column)}, "positive": …}, or from which number on: {"column": ${JSON.stringify(label.column)}, "atLeast": …}.`,
      );
    }
  }
  await checkUses();

  async function checkUses(): Promise<void> {
    const layout = featureLayout(schema);
    const uses: { value: ValueSpec; missing: ReadonlySet<string>; what: string; dense: boolean }[] = [
      ...layout.categorical.map((f) => ({
        value: f.value,
        missing: f.missing,
        what: `feature "${f.name}"`,
        dense: false,
      })),
      ...layout.dense.map((f) => ({ value: f.value, missing: f.missing, what: `feature "${f.name}"`, dense: true })),
      ...schema.keywords.scene.map((k) => ({
        value: k.value as ValueSpec,
        missing: new Set([...schema.missing, ...(k.missing ?? [])]),
        what: `scene keyword "${k.name}"`,
        dense: false,
      })),
    ];
    for (const { value, missing, what, dense } of uses) {
      const refs = valueInputs(value);
      const kinds = typeof value === 'string' ? [dense ? 'number' : 'text'] : compileDerivation(value).takes;
      for (let i = 0; i < refs.length; i++) {
        const ref = refs[i]!;
        if (!ref.startsWith(`${table}.`)) continue;
        const column = ref.slice(table.length + 1);
        if (kinds[i] === 'number') await number(column, missing, what);
        else if (kinds[i] === 'time') await time(column, undefined, missing);
      }
    }
  }
}
