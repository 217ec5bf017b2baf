import { DuckdbSession, literal } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import { type AnalysisPlan, type Day, ExperimentTotals, figuresOf } from '../experiments/analysis.js';
import { snapshotLog } from './log-files.js';

/** Which part of an event log an experiment is about. */
export interface LoggedExperiment {
  /** what its exposures carry as `experimentId` */
  id: string;
  plan: AnalysisPlan;
  startedAt: Date;
  /** null while it runs */
  stoppedAt: Date | null;
  prePeriodDays: number;
}

/** What an event log says about an experiment. */
export interface LogAnalysis {
  days: Day[];
  /** lines of the log that are no events: they are in no figure */
  unreadableLines: number;
}

/** Columns of the log that the analysis reads; as texts, so that one that is something else can be told from one that is missing. */
const COLUMNS =
  "{id: 'VARCHAR', type: 'VARCHAR', \"user\": 'VARCHAR', value: 'VARCHAR', received: 'VARCHAR', experimentId: 'VARCHAR', arm: 'VARCHAR'}";

/**
 * Analyses an experiment from an event log: the days so far (UTC, by the server's clock), each with everything up to it. A user counts from the first
 * exposure on; what the user did in the days before the experiment's start is the covariate of CUPED. An event that is in the log twice counts once, a line that
 * cannot be read is counted and left out.
 * @throws UsageError `EVENTS_MISSING`; DataError `EVENT_LOG_CORRUPT` where a file cannot be read at all
 */
export async function analyseLog(directory: string, experiment: LoggedExperiment): Promise<LogAnalysis> {
  const { plan, startedAt, stoppedAt, prePeriodDays } = experiment;
  await using log = await snapshotLog(directory);
  if (log.files.length === 0) return { days: [], unreadableLines: 0 };
  using db = await DuckdbSession.open({ threads: 2, memoryLimit: '1GB' });
  const at = (time: Date) => `TIMESTAMP ${literal(time.toISOString().slice(0, 23))}`;
  const before = new Date(startedAt.getTime() - prePeriodDays * 86_400_000);
  const until = stoppedAt === null ? '' : `AND received <= ${at(stoppedAt)}`;
  const arms = plan.arms.map(({ name }) => literal(name)).join(', ');
  const files = log.files.map(({ path }) => literal(path)).join(', ');
  try {
    // Under ignore_errors a line that is no JSON object comes as a row without anything.
    await db.run(`CREATE TABLE log AS
      SELECT id, type, "user", value, received, experimentId, arm,
        (id IS NULL OR type IS NULL OR received IS NULL OR (value IS NULL AND given IS NOT NULL)) AS unreadable
      FROM (SELECT * REPLACE (TRY_CAST(value AS DOUBLE) AS value, TRY_CAST(received AS TIMESTAMP) AS received), value AS given
        FROM read_json([${files}], columns = ${COLUMNS}, format = 'newline_delimited', ignore_errors = true))
      WHERE unreadable OR (received >= ${at(before)} ${until} AND (type <> 'exposure' OR experimentId = ${literal(experiment.id)}))`);
  } catch (error) {
    throw new DataError(
      'EVENT_LOG_CORRUPT',
      `the event log ${directory} cannot be read: ${(error as Error).message.split('\n', 1)[0]}`,
      { file: directory, cause: error },
    );
  }
  const { n } = await db.row<{ n: bigint }>('SELECT count(*) AS n FROM log WHERE unreadable');
  await db.run(`
    DELETE FROM log WHERE unreadable;
    CREATE TABLE exposed AS
      SELECT row_number() OVER (ORDER BY first, "user") - 1 AS u, "user", first, arm FROM (
        SELECT "user", min(received) AS first, arg_min(list_position([${arms}], arm), received) - 1 AS arm
        FROM log WHERE type = 'exposure' GROUP BY "user") WHERE arm >= 0;
    CREATE TABLE happened AS
      SELECT e.u, l.received, l.type, l.value, l.received >= e.first AS exposed
      FROM (SELECT * FROM log WHERE type <> 'exposure' QUALIFY row_number() OVER (PARTITION BY id ORDER BY received) = 1) l
      JOIN exposed e USING ("user")
      WHERE l.received >= e.first OR l.received < ${at(startedAt)}`);
  const sums = `count(*) FILTER (type = 'impression')::DOUBLE AS n, count(*) FILTER (type = 'click')::DOUBLE AS c,
    count(*) FILTER (type = 'order')::DOUBLE AS o, coalesce(sum(value) FILTER (type = 'order'), 0)::DOUBLE AS g`;
  const people = await columns<[number[], number[], string[]]>(
    db,
    `SELECT u::INTEGER, arm::INTEGER, strftime(first, '%Y-%m-%d') AS day FROM exposed ORDER BY u`,
  );
  const past = await columns<[number[], number[], number[], number[], number[]]>(
    db,
    `SELECT u::INTEGER, ${sums} FROM happened WHERE NOT exposed GROUP BY u`,
  );
  const days = await columns<[string[], number[], number[], number[], number[], number[]]>(
    db,
    `SELECT strftime(received, '%Y-%m-%d') AS day, u::INTEGER, ${sums} FROM happened WHERE exposed GROUP BY 1, 2 ORDER BY 1, 2`,
  );
  return { days: await accumulate(plan, people, past, days), unreadableLines: Number(n) };
}

async function columns<T>(db: DuckdbSession, query: string): Promise<T> {
  const reader = await db.connection.runAndReadAll(query);
  return reader.getColumns() as T;
}

async function accumulate(
  plan: AnalysisPlan,
  [users, arms, firstDays]: [number[], number[], string[]],
  [pastUsers, ...pastSums]: [number[], number[], number[], number[], number[]],
  [eventDays, eventUsers, ...eventSums]: [string[], number[], number[], number[], number[], number[]],
): Promise<Day[]> {
  if (users === undefined || users.length === 0) return [];
  const before = new Map<number, number[]>();
  pastUsers?.forEach((user, i) => {
    before.set(
      user,
      pastSums.map((column) => column[i]!),
    );
  });
  const totals = new ExperimentTotals(plan.arms.length, users.length);
  const all = [...new Set([...firstDays, ...(eventDays ?? [])])].sort();
  const result: Day[] = [];
  let exposed = 0;
  let event = 0;
  for (const day of all) {
    // Users are numbered by their first exposure.
    for (; exposed < users.length && firstDays[exposed]! <= day; exposed++)
      totals.expose(users[exposed]!, arms[exposed]!, before.get(users[exposed]!));
    for (; event < (eventDays?.length ?? 0) && eventDays![event] === day; event++) {
      const [n, c, o, g] = eventSums.map((column) => column[event]!) as [number, number, number, number];
      totals.add(eventUsers[event]!, n, c, o, g);
      // A server answers other requests meanwhile.
      if (event % 20_000 === 19_999) await new Promise((resolve) => setImmediate(resolve));
    }
    result.push({ day, figures: figuresOf(totals.arms, plan) });
  }
  return result;
}
