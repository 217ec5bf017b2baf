import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { z } from 'zod';
import { DuckdbSession, ident, literal } from '../duckdb/session.js';
import { DataError, LarrError, UsageError } from '../errors.js';
import { writeFileAtomic } from '../files/atomic.js';
import { makeDirectory } from '../files/make-directory.js';
import { mustBeDirectory, realPath } from '../files/output-directory.js';
import { filesFrom, filesNamed } from '../prepare/files-in-sql.js';
import { runSetup } from '../prepare/prepare.js';
import { canonicalSql, isUnwritable, timeSql } from '../prepare/sql-values.js';
import type { DatasetSchema } from '../schema/schema.js';
import { momentColumns, timeColumn } from './event-columns.js';
import {
  addBadLines,
  type BadLines,
  badLinesOf,
  copyEvents,
  type LogSnapshot,
  namedBadLines,
  segmentName,
  segmentsOf,
  snapshotLog,
} from './log-files.js';

export interface CompactOptions {
  /** The event log, as the server writes it; it may go on writing. */
  log: string;
  /** The directory to keep up, by one process at a time: a Parquet file a day under events/, schema.json, and where it is. */
  output: string;
  schema: DatasetSchema;
  /** Where the schema's paths start from. */
  baseDirectory: string;
  /** How long after an impression a click or an order counts for it, hours. */
  windowHours?: number;
  /** Days that may still change are written too, as they stand, and again when they have changed. */
  openDays?: boolean;
  /** The schema that is written takes these days after the events table of the given one, not in its place. */
  history?: boolean;
  /** Lines that are no events are left out and counted, where the whole is refused otherwise. They stay in the log. */
  skipBadLines?: boolean;
  memoryLimit?: string;
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
  now?: () => Date;
}

const DayState = z.object({
  rows: z.int(),
  clicks: z.int(),
  orders: z.int(),
  /** clicks and orders of the day that no impression was found for */
  unattributed: z.int(),
  /** what the file was made of: how many events of each segment */
  made: z.string(),
  closed: z.boolean(),
});
type DayState = z.infer<typeof DayState>;

const State = z.object({
  format: z.literal('larr-compaction'),
  version: z.literal(1),
  settings: z.string(),
  /** the log's directory, without links */
  log: z.string().optional(),
  /** events of each day, by segment; `bytes` tells whether it has grown since */
  segments: z.record(z.string(), z.object({ bytes: z.int(), days: z.record(z.string(), z.int()) })),
  days: z.record(z.string(), DayState),
});
type State = z.infer<typeof State>;

export interface CompactSummary {
  output: string;
  /** Days written in this run. */
  written: string[];
  /** Days that may still change, and were left for later. */
  open: string[];
  /** Days that late events came for after files of the log were taken away: left as they are. */
  late: string[];
  /** All days there are now, together. */
  days: number;
  impressions: number;
  clicks: number;
  orders: number;
  unattributed: number;
  /** Lines that were left out of the files of the log that this run read, with `skipBadLines`. */
  skipped: BadLines;
}

const STATE = 'compaction.json';
const DAY_FILE = /^\d{4}-\d{2}-\d{2}\.parquet$/;
const DAY = 86_400_000;
/** The last place on earth to reach midnight is twelve hours behind UTC; times are on the clock of their place. */
const LAST_ZONE = 12 * 3_600_000;

/**
 * Makes an events table for `prepare` of an event log: one row per impression, with what followed from it, in one Parquet file per day. Days come in
 * when nothing of them can change any more: the window after their last impression is over, everywhere. Events that come later still (from a phone that was
 * switched off) have their day written again. May be run as often as one likes and stopped at any point; nothing of the log is changed.
 *
 * A click or an order belongs to the impression of the same user and POI with the same requestId, or else to the latest one before it, within the
 * window. An order counts as a click too. Impressions without a scene have that of another event with their requestId. An event that is in the log twice counts once.
 * A schema whose events read the log's days already, as the one that this writes does with `history`, has them read once, from this output.
 * @throws UsageError `EVENTS_MISSING`, `OUT_NOT_OURS`, `OUT_INSIDE`, `SCHEMA_NO_TIME`, `HISTORY_UNREADABLE`, `HISTORY_COMPACTED`, `COMPACTION_SETTINGS` where the window or
 *   the schema is another one and the log no longer has what all days were made of; DataError `EVENT_LOG_CORRUPT`; LarrError `COMPACTION_FAILED` where there is too little room
 */
export async function compactEvents(options: CompactOptions): Promise<CompactSummary> {
  const { output, schema, windowHours = 24, signal } = options;
  const now = (options.now ?? (() => new Date()))().getTime();
  await mustBeDirectory(output);
  if ((await segmentsOf(options.log)).length === 0)
    throw new UsageError(
      'EVENTS_MISSING',
      `${options.log} is no event log: it holds no file like ${segmentName(1)}. Name the directory that \`larr serve --events\` was given`,
      { file: options.log },
    );
  const [place, logPlace] = [await realPath(resolve(output)), await realPath(resolve(options.log))];
  if (place === logPlace || place.startsWith(`${logPlace}${sep}`))
    throw new UsageError(
      'OUT_INSIDE',
      `${output} lies in the event log ${options.log}, which is the server's alone. Name a place outside of it`,
      { file: output },
    );
  if (timeColumn(schema) === undefined)
    throw new UsageError(
      'SCHEMA_NO_TIME',
      'the schema has no time column, so its rows cannot be kept by day: name one as "time"',
    );
  const events = join(output, 'events');
  const staging = join(output, '.staging.duckdb');
  const copy = join(output, '.staging.jsonl');
  try {
    await using log = await snapshotLog(options.log);
    const present = new Set(log.files.map(({ segment }) => String(segment)));
    const compacted = options.history === true ? await compactedIn(options, present) : new Set<string>();
    const past = options.history === true ? await historyOf(options, compacted) : null;
    makeDirectory(output);
    const state = await readState(output, settingsOf(options, windowHours), present);
    state.log = logPlace;
    await mkdir(events, { recursive: true });
    // Half-written files, and days made under other settings: whatever lies here is read with the rest.
    for (const name of await readdir(events))
      if (name.endsWith('.part') || (DAY_FILE.test(name) && state.days[name.slice(0, 10)] === undefined))
        await rm(join(events, name), { force: true });
    using db = await DuckdbSession.open({
      file: staging,
      memoryLimit: options.memoryLimit ?? '1GB',
      ...(options.threads === undefined ? {} : { threads: options.threads }),
      ...(signal === undefined ? {} : { signal }),
    });
    const reader = new LogReader(db, options.log, log.files, options.skipBadLines === true ? copy : null);

    for (const { segment, path, bytes } of log.files) {
      const known = state.segments[segment];
      if (known?.bytes === bytes) continue;
      state.segments[segment] = { bytes, days: await reader.daysOf(segment, path) };
    }
    const counts = eventsByDay(state);
    const summary: Pick<CompactSummary, 'written' | 'open' | 'late'> = { written: [], open: [], late: [] };
    const work: { day: string; made: string; closed: boolean; segments: string[] }[] = [];
    for (const day of [...counts.keys()].sort()) {
      // A click of today may belong to a list of yesterday, and one of tomorrow to today's.
      const reach = Math.ceil((windowHours * 3_600_000) / DAY);
      const [first, last] = [dayAfter(day, -reach), dayAfter(day, reach)];
      const inside = [...counts].filter(([other]) => other >= first && other <= last);
      const segments = [...new Set(inside.flatMap(([, of]) => [...of.keys()]))].sort((a, b) => Number(a) - Number(b));
      const made = createHash('sha256')
        .update(JSON.stringify(inside.map(([other, of]) => [other, [...of].sort()]).sort()))
        .digest('hex')
        .slice(0, 16);
      const closed = now >= Date.parse(`${day}T00:00:00Z`) + DAY + LAST_ZONE + windowHours * 3_600_000;
      const before = state.days[day];
      if (before?.made === made) {
        before.closed = closed;
        if (!closed) summary.open.push(day);
      } else if (segments.some((segment) => !present.has(segment))) summary.late.push(day);
      else if (closed || options.openDays === true) work.push({ day, made, closed, segments });
      else summary.open.push(day);
    }
    const needed = new Set(work.flatMap(({ segments }) => segments));
    const files = log.files.filter(({ segment }) => needed.has(String(segment)));
    for (const [i, { segment, path }] of files.entries()) {
      signal?.throwIfAborted();
      await reader.load(segment, path);
      options.onProgress?.(i + 1, files.length + work.length);
    }
    for (const [i, { day, made, closed }] of work.entries()) {
      signal?.throwIfAborted();
      const file = join(events, `${day}.parquet`);
      const rows = await withRoom(db, file, () => writeDay(db, file, day, schema, windowHours));
      state.days[day] = { ...rows, made, closed };
      await writeState(output, state);
      summary.written.push(day);
      options.onProgress?.(files.length + i + 1, files.length + work.length);
    }
    await writeState(output, state);
    const all = Object.values(state.days);
    await writeFileAtomic(
      join(output, 'schema.json'),
      `${JSON.stringify(schemaFor(options, past, all.length > 0), null, 2)}\n`,
    );
    const sum = (of: (day: DayState) => number) => all.reduce((total, day) => total + of(day), 0);
    return {
      output,
      ...summary,
      days: all.length,
      impressions: sum(({ rows }) => rows),
      clicks: sum(({ clicks }) => clicks),
      orders: sum(({ orders }) => orders),
      unattributed: sum(({ unattributed }) => unattributed),
      skipped: reader.skipped,
    };
  } finally {
    for (const file of [staging, `${staging}.wal`, copy]) await rm(file, { force: true });
    await rm(`${staging}.tmp`, { recursive: true, force: true });
  }
}

/** What decides the rows, wherever the schema's own tables lie: other settings make all of them anew, which takes every segment that they were made of. */
function settingsOf({ schema }: CompactOptions, windowHours: number): string {
  return createHash('sha256')
    .update(
      JSON.stringify(
        [schema.keys, schema.labels, timeColumn(schema), momentColumns(schema), windowHours],
        (_, value) =>
          typeof value === 'object' && value !== null && !Array.isArray(value)
            ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
            : value,
      ),
    )
    .digest('hex')
    .slice(0, 16);
}

/** @param present segments that the log still has */
async function readState(output: string, settings: string, present: ReadonlySet<string>): Promise<State> {
  const fresh: State = { format: 'larr-compaction', version: 1, settings, segments: {}, days: {} };
  const path = join(output, STATE);
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (text === null) {
    const foreign = (await readdir(output)).filter((name) => !name.startsWith('.') && name !== 'events');
    if (foreign.length > 0)
      throw new UsageError(
        'OUT_NOT_OURS',
        `${output} holds files and is not a directory that \`larr events compact\` keeps. Name a new or empty directory`,
        { file: output },
      );
    return fresh;
  }
  let state: State;
  try {
    state = State.parse(JSON.parse(text));
  } catch (cause) {
    throw new DataError(
      'COMPACTION_CORRUPT',
      `${path} is damaged: remove ${output} and run again, all is made anew from the log`,
      { file: path, cause },
    );
  }
  if (state.settings === settings) return state;
  const gone = Object.entries(state.segments).filter(([segment]) => !present.has(segment));
  const lost = new Set(gone.flatMap(([, { days }]) => Object.keys(days)).filter((day) => day in state.days));
  if (lost.size > 0) {
    const days = [...lost].sort();
    throw new UsageError(
      'COMPACTION_SETTINGS',
      `${output} was made with another --window or schema, and ${days.length === 1 ? `a day of it (${days[0]}) cannot` : `${days.length} days of it (${days[0]} to ${days.at(-1)}) cannot`} be made anew: files of the log with their events were taken away. Use the settings it was made with, or a new --out`,
      { file: output },
    );
  }
  return { ...fresh, segments: state.segments };
}

async function writeState(output: string, state: State): Promise<void> {
  await writeFileAtomic(join(output, STATE), `${JSON.stringify(state)}\n`);
}

/** How many events each segment has of each day. */
function eventsByDay(state: State): Map<string, Map<string, number>> {
  const days = new Map<string, Map<string, number>>();
  for (const [segment, of] of Object.entries(state.segments))
    for (const [day, count] of Object.entries(of.days)) {
      const segments = days.get(day) ?? new Map<string, number>();
      days.set(day, segments.set(segment, count));
    }
  return days;
}

function dayAfter(day: string, days: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + days * DAY).toISOString().slice(0, 10);
}

const COLUMNS =
  "{id: 'VARCHAR', type: 'VARCHAR', \"user\": 'VARCHAR', poi: 'VARCHAR', time: 'VARCHAR', requestId: 'VARCHAR', position: 'INTEGER', value: 'DOUBLE', scene: 'JSON', received: 'TIMESTAMP'}";
const KINDS = "type IN ('impression', 'click', 'order')";
const TIME = timeSql({ sql: 'time', type: 'VARCHAR' });

/** Reads segments into the staging database. */
class LogReader {
  #made = false;
  readonly #skipped = new Map<number, BadLines>();

  /** @param copy where a segment's good lines go when it has bad ones; null where those are refused */
  constructor(
    private readonly db: DuckdbSession,
    private readonly directory: string,
    private readonly files: LogSnapshot['files'],
    private readonly copy: string | null,
  ) {}

  /** What was left out of the segments that were read. */
  get skipped(): BadLines {
    const all: BadLines = { count: 0, first: [] };
    for (const [, bad] of [...this.#skipped].sort(([a], [b]) => a - b)) addBadLines(all, bad);
    return all;
  }

  /** Events per local day of a segment; those whose time cannot be read are in none. */
  async daysOf(segment: number, path: string): Promise<Record<string, number>> {
    const rows = await this.#reading(segment, path, (from) =>
      this.db.rows<{ day: string; n: bigint }>(
        `SELECT strftime(t, '%Y-%m-%d') AS day, count(*) AS n
         FROM (SELECT ${TIME} AS t FROM ${this.#source(from)} WHERE ${KINDS}) WHERE t IS NOT NULL GROUP BY 1 ORDER BY 1`,
      ),
    );
    return Object.fromEntries(rows.map(({ day, n }) => [day, Number(n)]));
  }

  async load(segment: number, path: string): Promise<void> {
    const select = (
      from: string,
    ) => `SELECT id, type, "user", poi, ${TIME} AS t, requestId AS request, position, value, scene, received
      FROM ${this.#source(from)} WHERE ${KINDS}`;
    await this.#reading(segment, path, (from) =>
      this.db.run(
        this.#made ? `INSERT INTO happened ${select(from)}` : `CREATE OR REPLACE TABLE happened AS ${select(from)}`,
      ),
    );
    this.#made = true;
  }

  #source(path: string): string {
    return `read_json(${literal(path)}, columns = ${COLUMNS}, format = 'newline_delimited')`;
  }

  /** Does `work` on the segment's file, or, where it has lines that are no events and these may be left out, on a copy without them. */
  async #reading<T>(segment: number, path: string, work: (path: string) => Promise<T>): Promise<T> {
    const file = join(this.directory, segmentName(segment));
    const unreadable = (cause: unknown) =>
      new DataError(
        'EVENT_LOG_CORRUPT',
        `${file} cannot be read: ${duckdbsWords(cause)}. Move the file away to go on without it`,
        { file, cause },
      );
    let cause: unknown;
    try {
      return await withRoom(this.db, file, () => work(path));
    } catch (error) {
      this.db.throwIfInterrupted();
      if (error instanceof LarrError) throw error;
      cause = error;
    }
    if (this.copy !== null) {
      const { copy } = this;
      await rm(copy, { force: true });
      const bad = await copyEvents(path, copy, file);
      if (bad.count > 0) {
        const done = await withRoom(this.db, file, () => work(copy)).catch((error) => {
          this.db.throwIfInterrupted();
          throw error instanceof LarrError ? error : unreadable(error);
        });
        this.#skipped.set(segment, bad);
        return done;
      }
    }
    // Nobody wants to mend one line, try again, and be told of the next.
    const bad: BadLines = { count: 0, first: [] };
    for (const other of this.files)
      addBadLines(bad, await badLinesOf(other.path, join(this.directory, segmentName(other.segment))));
    if (bad.count === 0) throw unreadable(cause);
    const [are, them, files] =
      bad.count === 1
        ? ['line of the event log is no event', 'it', 'file']
        : ['lines of the event log are no events', 'them', 'files'];
    throw new DataError(
      'EVENT_LOG_CORRUPT',
      `${bad.count} ${are}: ${namedBadLines(bad)}. Run it again with --skip-bad-lines to leave ${them} out (the log stays as it is), or take ${them} out of the ${files}`,
      { file, cause },
    );
  }
}

/** The first line of DuckDB's message, without the name of the file, which may be a copy's. */
function duckdbsWords(cause: unknown): string {
  return (cause as Error).message.split('\n', 1)[0]!.replace(/in file "[^"]*",? ?/g, '');
}

/**
 * Does what takes room in memory and on the disk.
 * @param file what is made of, or made
 * @throws LarrError `COMPACTION_FAILED` where there is too little of it
 */
async function withRoom<T>(db: DuckdbSession, file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    db.throwIfInterrupted();
    if (!/^Out of Memory|Could not write|No space left/i.test((cause as Error).message)) throw cause;
    throw new LarrError(
      'COMPACTION_FAILED',
      `DuckDB could not go on at ${file}: ${duckdbsWords(cause)}. Make room on the disk or in memory and run it again: days that are written stay`,
      { file, cause },
    );
  }
}

/** Joins a day's impressions with what followed from them and puts the file in its place. */
async function writeDay(
  db: DuckdbSession,
  path: string,
  day: string,
  schema: DatasetSchema,
  windowHours: number,
): Promise<Omit<DayState, 'made' | 'closed'>> {
  const from = `TIMESTAMP ${literal(day)}`;
  const window = `INTERVAL ${literal(`${windowHours} hours`)}`;
  const moment = momentColumns(schema);
  const { user, poi, row } = schema.keys;
  const label = (of: DatasetSchema['labels']['click'], yes: string): [string, string][] => {
    if (of === undefined) return [];
    if (typeof of === 'string') return [[of, `(${yes})::UTINYINT`]];
    if ('positive' in of)
      return [
        [
          of.column,
          `CASE WHEN ${yes} THEN ${literal(of.positive)} ELSE ${literal(of.positive === '0' ? '1' : '0')} END`,
        ],
      ];
    return [[of.column, `CASE WHEN ${yes} THEN ${of.atLeast} ELSE ${of.atLeast - 1} END`]];
  };
  const field = (name: string) => `scene ->> ${literal(`$."${name.replaceAll('"', '\\"')}"`)}`;
  const number = (text: string) =>
    `CASE ${text} WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE TRY_CAST(${text} AS DOUBLE) END::DOUBLE`;
  const wanted: [string, string][] = [
    [user, '"user"'],
    [poi, 'poi'],
    [timeColumn(schema)!, 't'],
    ...(row === undefined ? [] : ([[row, '(hash(id) >> 1)::BIGINT']] as [string, string][])),
    ...label(schema.labels.click, 'clicked OR ordered'),
    ...label(schema.labels.order, 'ordered'),
    ...moment.map(({ name, number: n }): [string, string] => [name, n ? number(`(${field(name)})`) : field(name)]),
  ];
  // Beside what the schema reads, what people ask of such a table; a column of the schema's own goes first.
  const extra: [string, string][] = [
    ['position', 'position'],
    ['request_id', 'request'],
    ['impression_id', 'id'],
    ['order_value', 'worth'],
  ];
  const taken = new Set(wanted.map(([name]) => name));
  const columns = [...wanted, ...extra.filter(([name]) => !taken.has(name))];
  const tables: [string, string][] = [
    [
      'today',
      `SELECT * FROM happened WHERE t >= ${from} - ${window} AND t < ${from} + INTERVAL 1 DAY + ${window}
      QUALIFY row_number() OVER (PARTITION BY id ORDER BY received) = 1`,
    ],
    [
      'shown',
      `SELECT i.* REPLACE (coalesce(i.scene, s.scene) AS scene)
      FROM (SELECT * FROM today WHERE type = 'impression') i
      LEFT JOIN (SELECT request, arg_min(scene, received) AS scene FROM today WHERE scene IS NOT NULL AND request IS NOT NULL GROUP BY request) s
        USING (request)`,
    ],
    ['acts', `SELECT id, type, "user", poi, t, request, value FROM today WHERE type <> 'impression'`],
    [
      'asked',
      `SELECT a.id AS act, arg_min(i.id, i.t) AS impression FROM acts a JOIN shown i USING (request, "user", poi)
      WHERE a.t <= i.t + ${window} GROUP BY a.id`,
    ],
    [
      'outcome',
      `SELECT impression, bool_or(type = 'click') AS clicked, bool_or(type = 'order') AS ordered, sum(value) FILTER (type = 'order') AS worth FROM (
        SELECT k.impression, a.type, a.value FROM acts a JOIN asked k ON k.act = a.id
        UNION ALL
        SELECT i.id, a.type, a.value
        FROM (SELECT * FROM acts WHERE id NOT IN (SELECT act FROM asked)) a
        ASOF JOIN shown i ON a."user" = i."user" AND a.poi = i.poi AND a.t >= i.t
        WHERE a.t <= i.t + ${window})
      GROUP BY impression`,
    ],
    [
      'rows',
      `SELECT ${columns.map(([name, sql]) => `${sql} AS ${ident(name)}`).join(', ')}
      FROM (SELECT shown.*, coalesce(clicked, false) AS clicked, coalesce(ordered, false) AS ordered, worth
        FROM shown LEFT JOIN outcome ON impression = id WHERE t >= ${from} AND t < ${from} + INTERVAL 1 DAY)
      ORDER BY t, request, position, id`,
    ],
  ];
  for (const [name, query] of tables) {
    await db.run(`DROP TABLE IF EXISTS ${name}`);
    await db.run(`CREATE TEMP TABLE ${name} AS ${query}`);
  }
  const part = `${path}.part`;
  await db.run(`COPY (SELECT * FROM rows) TO ${literal(part)} (FORMAT parquet, COMPRESSION zstd)`);
  const file = await open(part, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  const found = await db.row<{ n: bigint; c: bigint; o: bigint; left: bigint }>(`
    SELECT count(*) AS n, count(*) FILTER (clicked OR ordered) AS c, count(*) FILTER (ordered) AS o,
      (SELECT count(*) FROM acts a WHERE a.t >= ${from} AND a.t < ${from} + INTERVAL 1 DAY AND a.id NOT IN (SELECT act FROM asked)
        AND NOT EXISTS (SELECT 1 FROM shown i WHERE i."user" = a."user" AND i.poi = a.poi AND a.t >= i.t AND a.t <= i.t + ${window})) AS left
    FROM (SELECT * FROM shown WHERE t >= ${from} AND t < ${from} + INTERVAL 1 DAY) s LEFT JOIN outcome ON impression = s.id`);
  await rename(part, path);
  return { rows: Number(found.n), clicks: Number(found.c), orders: Number(found.o), unattributed: Number(found.left) };
}

/**
 * The schema with the compacted days as its events, paths from the output directory.
 * @param past the history that goes before them, a table
 * @param days whether there are any yet; a query for files that are not there cannot be read
 */
function schemaFor(options: CompactOptions, past: string | null, days: boolean): DatasetSchema {
  const { schema, output, baseDirectory } = options;
  const at = (path: string) => pathFrom(path, baseDirectory, output);
  const moved = (source: DatasetSchema['tables']['events']): DatasetSchema['tables']['events'] => {
    if (typeof source === 'string') return at(source);
    return 'path' in source
      ? { ...source, path: at(source.path) }
      : { ...source, query: filesFrom(source.query, baseDirectory) };
  };
  const { users, pois } = schema.tables;
  let events: DatasetSchema['tables']['events'] = { path: 'events/*.parquet' };
  if (past !== null && days) events = { query: withHistory(schema, past) };
  else if (past !== null) {
    const given = schema.tables.events;
    const whole = past.startsWith('(') ? past.slice(1, -1) : `SELECT * FROM ${past}`;
    events = typeof given === 'object' && 'query' in given ? { query: whole } : moved(given);
  }
  return {
    ...schema,
    setup: schema.setup.map((statement) => filesFrom(statement, baseDirectory)),
    tables: {
      events,
      ...(users === undefined ? {} : { users: moved(users) }),
      ...(pois === undefined ? {} : { pois: moved(pois) }),
    },
  };
}

/** A path that starts at one directory as it starts at another; of a file on another machine, itself. */
function pathFrom(path: string, directory: string, other: string): string {
  return /^[a-z0-9]+:\/\//.test(path) ? path : relative(resolve(other), resolve(directory, path));
}

/**
 * Those of a schema's events files that are days of this log already, as the schema names them.
 * @param present segments that the log still has
 * @throws UsageError `HISTORY_COMPACTED` where another output holds days that cannot be made anew
 */
async function compactedIn(options: CompactOptions, present: ReadonlySet<string>): Promise<Set<string>> {
  const source = options.schema.tables.events;
  const named = typeof source === 'string' ? [source] : 'path' in source ? [source.path] : filesNamed(source.query);
  const log = await realPath(resolve(options.log));
  const here = await realPath(resolve(options.output));
  const found = new Set<string>();
  for (const name of named) {
    if (/^[a-z0-9]+:\/\//.test(name) || !name.endsWith('.parquet')) continue;
    const folder = dirname(dirname(resolve(options.baseDirectory, name)));
    const text = await readFile(join(folder, STATE), 'utf8').catch(() => null);
    if (text === null) continue;
    let state: State;
    try {
      state = State.parse(JSON.parse(text));
    } catch {
      continue;
    }
    // Days of another log, still there, are history. A log that is gone was moved, perhaps to here.
    if (state.log !== undefined && state.log !== log && (await stat(state.log).catch(() => null)) !== null) continue;
    found.add(name);
    if ((await realpath(folder)) !== here && Object.keys(state.segments).some((segment) => !present.has(segment)))
      throw new UsageError(
        'HISTORY_COMPACTED',
        `the schema's events read days of this log from ${folder}, and files of the log that these were made of were taken away since. Keep on with --out ${folder}`,
        { file: folder },
      );
  }
  return found;
}

/** What `withHistory` writes: the columns, what they are read from first, and the file names of the days. */
const HISTORY = /^\s*SELECT (.+?) FROM (.+) UNION ALL BY NAME SELECT \1 FROM read_parquet\('((?:[^']|'')*)'\)\s*$/s;

/** A query without the compacted days behind it, as a table. */
function withoutDays(query: string, compacted: ReadonlySet<string>): string {
  let table = `(${query})`;
  for (;;) {
    const inner = table.startsWith('(') && table.endsWith(')') ? HISTORY.exec(table.slice(1, -1)) : null;
    if (inner === null || !compacted.has(inner[3]!.replaceAll("''", "'"))) break;
    table = inner[2]!;
  }
  const left = filesNamed(`SELECT * FROM ${table}`).find((name) => compacted.has(name));
  if (left === undefined) return table;
  throw new UsageError(
    'HISTORY_COMPACTED',
    `the query of the schema's events reads days of this log already, ${left}, and --history would read them twice. Give the schema that the log was compacted with at first, whose events are the history alone, or leave --history out`,
    { file: left },
  );
}

/**
 * The given events table without the compacted days, for a FROM clause from the output directory, lists joined as `prepare` joins them: the
 * days have texts of them. null where it has those days alone. What cannot be read from here stays as it is, for `prepare` to tell.
 * @throws UsageError `HISTORY_UNREADABLE`, `HISTORY_COMPACTED`
 */
async function historyOf(options: CompactOptions, compacted: ReadonlySet<string>): Promise<string | null> {
  const table = historyTable(options, compacted);
  if (table === null) return null;
  const { schema, output, baseDirectory } = options;
  const taken = new Map(momentColumns(schema).map(({ name, number }) => [name, number]));
  const types = await columnTypes(options, filesFrom(`SELECT * FROM ${table}`, output), baseDirectory);
  const lists = [...types].filter(
    ([name, type]) => /\[\d*\]$/.test(type) && !isUnwritable(type) && taken.get(name) === false,
  );
  if (lists.length === 0) return table;
  const joined = lists.map(([name, type]) => `${canonicalSql({ sql: ident(name), type })} AS ${ident(name)}`);
  return `(SELECT * REPLACE (${joined.join(', ')}) FROM ${table})`;
}

/** Column name → DuckDB type of a query, after the schema's `setup`; none where it cannot be read. */
async function columnTypes(
  { schema, memoryLimit, signal }: CompactOptions,
  query: string,
  baseDirectory: string,
): Promise<Map<string, string>> {
  using db = await DuckdbSession.open({
    memoryLimit: memoryLimit ?? '1GB',
    ...(signal === undefined ? {} : { signal }),
  });
  try {
    for (const [i, statement] of schema.setup.entries())
      await runSetup(db, filesFrom(statement, baseDirectory), `setup[${i}]`);
    return await db.columns(query);
  } catch {
    db.throwIfInterrupted();
    return new Map();
  }
}

/** The given events table without the compacted days, as it stands; null where it has those days alone. */
function historyTable(
  { schema, output, baseDirectory }: CompactOptions,
  compacted: ReadonlySet<string>,
): string | null {
  const source = schema.tables.events;
  const given = typeof source === 'string' ? { path: source } : source;
  if ('query' in given) return filesFrom(withoutDays(given.query, compacted), baseDirectory, output);
  if (compacted.has(given.path)) return null;
  const path = literal(pathFrom(given.path, baseDirectory, output));
  const format = given.format ?? /\.(parquet|csv|tsv)(?:\.(?:gz|zst))?$/i.exec(given.path)?.[1]?.toLowerCase();
  if (format === 'parquet') return `read_parquet(${path})`;
  if (format === 'csv' || format === 'tsv') {
    const delimiter = given.delimiter ?? (format === 'tsv' ? '\t' : ',');
    return `read_csv(${path}, header = true, delim = ${literal(delimiter)}, quote = '"', escape = '"')`;
  }
  throw new UsageError(
    'HISTORY_UNREADABLE',
    `the schema's events, ${given.path}, are neither Parquet, CSV, TSV nor a query, so the compacted days cannot be put behind them: leave --history out`,
  );
}

/** A query for the history and the compacted days, one after the other. */
function withHistory(schema: DatasetSchema, past: string): string {
  const { user, poi, row } = schema.keys;
  const labels = Object.values(schema.labels).map((label) => (typeof label === 'object' ? label.column : label));
  const names = [user, poi, row, timeColumn(schema), ...labels, ...momentColumns(schema).map(({ name }) => name)];
  // Labels of 0 and 1 meet as texts: a common type of numbers would be asked of a CSV file's "true" too.
  const texts = new Set(Object.values(schema.labels).filter((label) => typeof label === 'string'));
  // Numbers that count from 1970 meet the days' timestamps as timestamps.
  const counted = typeof schema.time === 'object' && schema.time.unit !== 'timestamp' ? schema.time : null;
  const columns = [...new Set(names.filter((name) => name !== undefined))]
    .map((name) => {
      const column = ident(name);
      if (texts.has(name)) return `regexp_replace(${column}::VARCHAR, '\\.0+$', '') AS ${column}`;
      if (name !== counted?.column) return column;
      return `${timeSql({ sql: `${column}::VARCHAR`, type: 'VARCHAR' }, counted.unit)} AS ${column}`;
    })
    .join(', ');
  const days = `read_parquet('events/*.parquet')`;
  return `SELECT ${columns} FROM ${past} UNION ALL BY NAME SELECT ${columns} FROM ${days}`;
}
