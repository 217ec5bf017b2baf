import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DuckdbSession, literal } from '../duckdb/session.js';
import { filesFrom } from '../prepare/files-in-sql.js';
import { defineSchema, parseSchema } from '../schema/validate.js';
import { type CompactOptions, compactEvents } from './compact.js';

const schema = defineSchema({
  name: 'shop',
  tables: { events: 'log.parquet', pois: 'pois.parquet' },
  keys: { user: 'who', poi: 'where', row: 'row' },
  time: 'time',
  labels: { click: 'click', order: 'bought' },
  features: {
    categorical: [{ name: 'weather', value: 'events.weather' }],
    dense: [{ name: 'warmth', value: 'events.temperature' }],
  },
  keywords: { scene: [{ name: 'temperature', value: { derive: 'temperatureWords', of: 'events.temperature' } }] },
});

let folder: string;
let log: string;
let output: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'larr-compact-'));
  log = join(folder, 'log');
  output = join(folder, 'out');
  await mkdir(log);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

let next = 0;
/** One line of the log; the day is of January 2026. */
function line(type: string, user: string, poi: string, time: string, more: object = {}): string {
  const id = `e${next++}`;
  return `${JSON.stringify({ id, type, user, poi, time: `2026-01-${time}`, ...more, received: '2026-01-01T00:00:00.000Z' })}\n`;
}
const segment = (number: number) => join(log, `events-${String(number).padStart(8, '0')}.jsonl`);
const write = (number: number, ...lines: string[]) => writeFile(segment(number), lines.join(''));
const compact = (more: Partial<CompactOptions> = {}) =>
  compactEvents({
    log,
    output,
    schema,
    baseDirectory: folder,
    now: () => new Date('2026-01-10T00:00:00Z'),
    ...more,
  });
async function rows(): Promise<Record<string, unknown>[]> {
  using db = await DuckdbSession.open();
  return await db.rows(
    `SELECT * REPLACE (strftime(time, '%d %H:%M') AS time) FROM read_parquet(${literal(join(output, 'events', '*.parquet'))}) ORDER BY time, "where"`,
  );
}
const stamps = async () =>
  Object.fromEntries(
    await Promise.all(
      (await readdir(join(output, 'events'))).map(async (f) => [f, (await stat(join(output, 'events', f))).ino]),
    ),
  );

describe('compacting an event log', () => {
  it('makes one row per impression, with what followed within the window, as the schema names it', async () => {
    await write(
      1,
      line('impression', 'u', 'p', '03T12:00:00', {
        requestId: 'r',
        position: 1,
        scene: { weather: 'rain', temperature: 31.5 },
      }),
      line('impression', 'u', 'q', '03T12:00:00', { requestId: 'r', position: 2 }),
      line('impression', 'u', 'p', '03T12:30:00', { scene: { weather: null, temperature: '18' } }),
      line('click', 'u', 'p', '03T12:40:00', { requestId: 'r' }), // by its request, though a later list showed it again
      line('order', 'u', 'q', '04T11:00:00', { value: 30 }), // the latest before it; an order is a click too
      line('click', 'u', 'p', '05T12:00:00'), // a day and more later: no impression's
      line('click', 'v', 'p', '03T12:40:00'), // of another user
      line('exposure', 'u', 'p', '03T12:00:00'),
    );
    const summary = await compact();
    expect(summary).toMatchObject({ impressions: 3, unattributed: 2, clicks: 2, orders: 1, open: [], late: [] });
    expect(await rows()).toEqual([
      expect.objectContaining({
        who: 'u',
        where: 'p',
        time: '03 12:00',
        click: 1,
        bought: 0,
        weather: 'rain',
        temperature: 31.5,
        position: 1,
        request_id: 'r',
        order_value: null,
      }),
      expect.objectContaining({
        where: 'q',
        time: '03 12:00',
        click: 1,
        bought: 1,
        weather: 'rain',
        temperature: 31.5,
        order_value: 30,
      }),
      expect.objectContaining({ where: 'p', time: '03 12:30', click: 0, bought: 0, weather: null, temperature: 18 }),
    ]);
    const written = JSON.parse(await readFile(join(output, 'schema.json'), 'utf8'));
    expect(written.tables).toEqual({ events: { path: 'events/*.parquet' }, pois: '../pois.parquet' });
  });

  it('moves the files of a query in the schema, and none of its data', async () => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'));
    for (const name of ['pois.csv', 'package.json']) await writeFile(join(folder, name), 'poi,url\n1,package.json\n');
    const rest = `WHERE regexp_matches(url, '.*\\.json') AND url = 'package.json'`;
    const pois = { query: `SELECT * FROM 'pois.csv' ${rest}` };
    await compact({ schema: { ...schema, tables: { ...schema.tables, pois } } });
    const written = JSON.parse(await readFile(join(output, 'schema.json'), 'utf8'));
    expect(written.tables.pois.query).toBe(`SELECT * FROM ${literal(join(folder, 'pois.csv'))} ${rest}`);
  });

  it('counts an order after midnight once, for the list that it followed', async () => {
    await write(
      1,
      line('impression', 'u', 'p', '03T23:50:00', { requestId: 'r' }),
      line('impression', 'u', 'p', '04T00:02:00', { requestId: 's' }),
      line('click', 'u', 'p', '04T00:05:00', { requestId: 'r' }),
    );
    expect(await compact()).toMatchObject({ days: 2, impressions: 2, clicks: 1, unattributed: 0 });
    expect((await rows()).map(({ click }) => click)).toEqual([1, 0]);
  });

  it('leaves days that can still change for later, or writes them as they stand and again', async () => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'), line('impression', 'u', 'p', '09T12:00:00'));
    // closed at the end of the day, at the last place on earth, and a day's window later: 11 January 12:00 UTC
    expect(await compact()).toMatchObject({ written: ['2026-01-03'], open: ['2026-01-09'] });
    expect(await compact({ openDays: true })).toMatchObject({ written: ['2026-01-09'], days: 2, clicks: 0 });
    await appendFile(segment(1), line('click', 'u', 'p', '09T12:10:00'));
    expect(await compact({ openDays: true })).toMatchObject({ written: ['2026-01-09'], clicks: 1 });
    const later = () => new Date('2026-01-11T12:00:00Z');
    expect(await compact({ now: later })).toMatchObject({ written: [], open: [], days: 2 });
  });

  it('run again does nothing; an event that comes late has its day, and the neighbours it may concern, written again', async () => {
    await write(1, line('impression', 'u', 'p', '02T12:00:00'));
    await write(2, line('impression', 'u', 'p', '05T12:00:00'));
    await compact();
    const before = await stamps();
    expect(await compact()).toMatchObject({ written: [], impressions: 2 });
    expect(await stamps()).toEqual(before);
    await write(3, line('click', 'u', 'p', '05T13:00:00'));
    expect(await compact()).toMatchObject({ written: ['2026-01-05'], clicks: 1 });
    expect((await stamps())['2026-01-02.parquet']).toBe(before['2026-01-02.parquet']);
  });

  it('takes an event once that is in the log twice', async () => {
    const shown = line('impression', 'u', 'p', '03T12:00:00');
    const click = line('click', 'u', 'p', '03T12:01:00');
    await write(1, shown, click, shown);
    await write(2, click);
    expect(await compact()).toMatchObject({ impressions: 1, clicks: 1 });
    expect(await rows()).toHaveLength(1);
  });

  it('reads the whole lines of the file that is written to, and what follows when it is there', async () => {
    const second = line('impression', 'u', 'q', '03T12:00:00');
    await write(1, line('impression', 'u', 'p', '03T12:00:00'), second.slice(0, 30));
    expect(await compact()).toMatchObject({ impressions: 1 });
    await appendFile(segment(1), second.slice(30));
    expect(await compact()).toMatchObject({ impressions: 2 });
    // A line that was never finished, in a file that others follow.
    await appendFile(segment(1), second.slice(0, 30));
    await write(2, line('impression', 'u', 'r', '03T12:00:00'));
    expect(await compact()).toMatchObject({ impressions: 3 });
  });

  it('goes on after files of the log were taken away, and keeps the days they made', async () => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'), line('click', 'u', 'p', '03T12:01:00'));
    await write(2, line('impression', 'u', 'p', '06T12:00:00'));
    await compact();
    await rm(segment(1));
    await write(3, line('order', 'u', 'p', '03T12:05:00'), line('impression', 'u', 'q', '06T13:00:00'));
    expect(await compact()).toMatchObject({
      written: ['2026-01-06'],
      late: ['2026-01-03'],
      impressions: 3,
      clicks: 1,
      orders: 0,
    });
  });

  it('other settings make every day anew, and are refused where files of the log were taken away', async () => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'), line('click', 'u', 'p', '03T15:00:00'));
    await write(2, line('impression', 'u', 'p', '09T12:00:00'));
    expect(await compact({ openDays: true })).toMatchObject({ days: 2, clicks: 1 });
    // The ninth is not over, so that it isn't made anew now: what was made of it must not be read on.
    expect(await compact({ windowHours: 1 })).toMatchObject({
      written: ['2026-01-03'],
      open: ['2026-01-09'],
      clicks: 0,
    });
    expect(await readdir(join(output, 'events'))).toEqual(['2026-01-03.parquet']);
    expect(await rows()).toHaveLength(1);
    await rm(segment(1));
    const before = await stamps();
    await expect(compact()).rejects.toMatchObject({
      code: 'COMPACTION_SETTINGS',
      message: expect.stringContaining('2026-01-03'),
    });
    expect(await stamps()).toEqual(before);
    expect(await compact({ windowHours: 1 })).toMatchObject({ written: [], days: 1 });
  });

  it('stopped between two days goes on where it was', async () => {
    await write(1, ...['02', '04', '06'].map((day) => line('impression', 'u', 'p', `${day}T12:00:00`)));
    const stop = new AbortController();
    const run = compact({
      signal: stop.signal,
      onProgress: (done) => {
        if (done === 2) stop.abort(new Error('enough'));
      },
    });
    await expect(run).rejects.toThrow('enough');
    expect(await readdir(join(output, 'events'))).toEqual(['2026-01-02.parquet']);
    expect((await readdir(output)).filter((name) => name.startsWith('.'))).toEqual([]);
    expect(await compact()).toMatchObject({ written: ['2026-01-04', '2026-01-06'], impressions: 3 });
  });

  it.each(['CSV', 'Parquet'])('puts the days behind a history, %s, whose times count milliseconds', async (form) => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'));
    const history = join(folder, `history.${form.toLowerCase()}`);
    const ms = Date.UTC(2026, 0, 1, 10);
    using db = await DuckdbSession.open();
    await db.run(`COPY (SELECT 'u' AS who, 'p' AS "where", 7 AS "row", ${ms} AS time, 1 AS click, 0 AS bought,
      'rain' AS weather, 3 AS temperature) TO ${literal(history)} (FORMAT ${form})`);
    const tables = { ...schema.tables, events: history };
    const given = { ...schema, time: { column: 'time', unit: 'ms' as const }, tables };
    const read = async () => {
      const written = JSON.parse(await readFile(join(output, 'schema.json'), 'utf8'));
      return db.rows<{ time: string }>(
        `SELECT strftime(time, '%d %H') AS time FROM (${filesFrom(written.tables.events.query, output)}) ORDER BY time`,
      );
    };
    await compact({ history: true, schema: given });
    expect(await read()).toEqual([{ time: '01 10' }, { time: '03 12' }]);
    // and again by the schema that was written
    const again = parseSchema(JSON.parse(await readFile(join(output, 'schema.json'), 'utf8')), 'schema.json');
    await compact({ history: true, schema: again, baseDirectory: output });
    expect(await read()).toEqual([{ time: '01 10' }, { time: '03 12' }]);
  });

  it.each([
    ['CSV', 'true', 'false'],
    ['CSV', 'True', 'False'],
    ['CSV', '1', '0'],
    ['Parquet', 'true', 'false'],
    ['Parquet', '1::DOUBLE', '0::DOUBLE'],
  ])('puts the days behind a history, %s, whose labels are %s and %s', async (form, yes, no) => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'), line('order', 'u', 'p', '03T12:05:00'));
    const history = join(folder, `history.${form === 'CSV' ? 'csv' : 'parquet'}`);
    using db = await DuckdbSession.open();
    if (form === 'CSV')
      await writeFile(
        history,
        `who,where,row,time,click,bought,weather,temperature\nu,p,7,2026-01-01 10:00:00,${yes},${no},rain,3\n`,
      );
    else
      await db.run(`COPY (SELECT 'u' AS who, 'p' AS "where", 7 AS "row", TIMESTAMP '2026-01-01 10:00:00' AS time, ${yes} AS click, ${no} AS bought,
        'rain' AS weather, 3 AS temperature) TO ${literal(history)} (FORMAT parquet)`);
    await compact({ history: true, schema: { ...schema, tables: { ...schema.tables, events: history } } });
    const { query } = JSON.parse(await readFile(join(output, 'schema.json'), 'utf8')).tables.events;
    const labels = 'lower(click::VARCHAR) AS click, lower(bought::VARCHAR) AS bought';
    const [old, made] = await db.rows<{ click: string; bought: string }>(
      `SELECT ${labels} FROM (${filesFrom(query, output)}) ORDER BY time`,
    );
    // It goes by the place of the schema: what is moved with it is found again.
    expect(query).not.toContain(folder);
    expect(['1', 'true']).toContain(old!.click);
    expect(['0', 'false']).toContain(old!.bought);
    expect(made).toEqual({ click: '1', bought: '1' });
  });

  it.each([
    ['texts', `['rain', NULL, 'wind']`, 'rain, wind'],
    ['none of them', '[]::VARCHAR[]', null],
    ['numbers', '[1, 20]', '1, 20'],
  ])('puts the days behind a history whose column has lists, of %s', async (_, list, text) => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00', { scene: { weather: 'fog, "snow' } }));
    using db = await DuckdbSession.open();
    await db.run(`COPY (SELECT 'u' AS who, 'p' AS "where", 7 AS "row", TIMESTAMP '2026-01-01 10:00:00' AS time, 1 AS click, 0 AS bought,
        ${list} AS weather, 3 AS temperature, ['a'] AS other) TO ${literal(join(folder, 'history.parquet'))} (FORMAT parquet)`);
    const read = async () => {
      const { query } = JSON.parse(await readFile(join(output, 'schema.json'), 'utf8')).tables.events;
      return db.rows(`SELECT weather FROM (${filesFrom(query, output)}) ORDER BY time`);
    };
    const given = { ...schema, tables: { ...schema.tables, events: 'history.parquet' } };
    await compact({ history: true, schema: given });
    expect(await read()).toEqual([{ weather: text }, { weather: 'fog, "snow' }]);
    // and again by the schema that was written, which has them joined
    const written = await readFile(join(output, 'schema.json'), 'utf8');
    await compact({ history: true, schema: parseSchema(JSON.parse(written), 'schema.json'), baseDirectory: output });
    expect(await readFile(join(output, 'schema.json'), 'utf8')).toBe(written);
  });

  it.each([
    ['a file', 'history.csv', { path: '../history.csv' }],
    ['a query', { query: `SELECT * FROM 'history.csv'` }, { query: `SELECT * FROM '../history.csv'` }],
  ])('has the history alone read, %s, where the log has no day yet', async (_, events, alone) => {
    await write(1, '');
    await writeFile(
      join(folder, 'history.csv'),
      'who,where,row,time,click,bought,weather,temperature\nu,p,7,2026-01-01 10:00:00,1,0,rain,3\n',
    );
    const written = async () => JSON.parse(await readFile(join(output, 'schema.json'), 'utf8'));
    const given = { ...schema, tables: { ...schema.tables, events } };
    expect(await compact({ history: true, schema: given })).toMatchObject({ days: 0 });
    expect((await written()).tables.events).toEqual(typeof events === 'string' ? alone.path : alone);
    // and by what was written, the same, until there are days
    const again = { history: true, baseDirectory: output };
    await compact({ ...again, schema: parseSchema(await written(), 'schema.json') });
    expect((await written()).tables.events).toEqual(typeof events === 'string' ? alone.path : alone);
    await write(1, line('impression', 'u', 'p', '03T12:00:00'));
    await compact({ ...again, schema: parseSchema(await written(), 'schema.json') });
    expect((await written()).tables.events.query).toContain('UNION ALL BY NAME');
  });

  it('writes labels in the words that the schema counts', async () => {
    await write(1, line('impression', 'u', 'p', '03T12:00:00'), line('click', 'u', 'p', '03T12:05:00'));
    const history = join(folder, 'history.csv');
    await writeFile(
      history,
      'who,where,row,time,click,bought,weather,temperature\nu,p,7,2026-01-01 10:00:00,ja,nein,rain,3\n',
    );
    const labels = { click: { column: 'click', positive: 'ja' }, order: { column: 'bought', positive: 'ja' } };
    await compact({ history: true, schema: { ...schema, labels, tables: { ...schema.tables, events: history } } });
    const { query } = JSON.parse(await readFile(join(output, 'schema.json'), 'utf8')).tables.events;
    using db = await DuckdbSession.open();
    expect(await db.rows(`SELECT click, bought FROM (${filesFrom(query, output)}) ORDER BY time`)).toEqual([
      { click: 'ja', bought: 'nein' },
      { click: 'ja', bought: '0' },
    ]);
  });

  describe('with a history and again', () => {
    const history = 'who;where;row;time;click;bought;weather;temperature\nu;p;7;2026-01-01 10:00:00;1;0;rain;3\n';
    const given = { ...schema, tables: { ...schema.tables, events: { path: 'history.csv', delimiter: ';' } } };
    const written = async (of = output) => JSON.parse(await readFile(join(of, 'schema.json'), 'utf8')) as typeof schema;
    const times = async (query: string, at: string) => {
      using db = await DuckdbSession.open();
      const found = await db.rows<{ t: string }>(
        `SELECT strftime(time::TIMESTAMP, '%d') AS t FROM (${filesFrom(query, at)}) ORDER BY 1`,
      );
      return found.map(({ t }) => t);
    };
    const queryOf = ({ tables }: { tables: { events: unknown } }) => (tables.events as { query: string }).query;
    beforeEach(async () => {
      await writeFile(join(folder, 'history.csv'), history);
      await write(1, line('impression', 'u', 'p', '03T12:00:00'));
      await compact({ history: true, schema: given });
    });

    it.each([
      ['the same output', false, false],
      ['another output', true, false],
      ['a dataset of it, whose paths are whole', false, true],
    ])('takes its own schema for what it was made with: %s', async (_, elsewhere, whole) => {
      let [again, baseDirectory] = [await written(), output];
      expect(await times(queryOf(again), output)).toEqual(['01', '03']);
      if (whole) {
        const query = filesFrom(queryOf(again), output);
        expect(query).toContain(folder);
        [again, baseDirectory] = [{ ...again, tables: { ...again.tables, events: { query } } }, tmpdir()];
      }
      await write(2, line('impression', 'u', 'p', '05T12:00:00'));
      const next = elsewhere ? join(folder, 'next') : output;
      const summary = await compact({ history: true, schema: again, baseDirectory, output: next });
      expect(summary).toMatchObject({ days: 2, written: elsewhere ? ['2026-01-03', '2026-01-05'] : ['2026-01-05'] });
      const query = queryOf(await written(next));
      expect(await times(query, next)).toEqual(['01', '03', '05']);
      expect(query).not.toContain(folder);
    });

    it('needs none of the history before days of the log alone', async () => {
      const alone = { ...schema, tables: { ...schema.tables, events: { path: 'events/*.parquet' } } };
      await compact({ history: true, schema: alone, baseDirectory: output });
      expect((await written()).tables.events).toEqual({ path: 'events/*.parquet' });
    });

    it('takes days of another log for history', async () => {
      const log2 = join(folder, 'log2');
      await mkdir(log2);
      await writeFile(join(log2, 'events-00000001.jsonl'), line('impression', 'u', 'p', '07T12:00:00'));
      const next = join(folder, 'next');
      const now = () => new Date('2026-01-20T00:00:00Z');
      await compact({ log: log2, history: true, schema: await written(), baseDirectory: output, output: next, now });
      expect(await times(queryOf(await written(next)), next)).toEqual(['01', '03', '07']);
    });

    it('refuses a query that somebody changed, and days elsewhere that the log can no longer give', async () => {
      const mine = await written();
      const query = `SELECT * FROM (${queryOf(mine)}) WHERE true`;
      await expect(
        compact({
          history: true,
          schema: { ...mine, tables: { ...mine.tables, events: { query } } },
          baseDirectory: output,
        }),
      ).rejects.toMatchObject({ code: 'HISTORY_COMPACTED', message: expect.stringContaining('twice') });
      await write(2, line('impression', 'u', 'p', '05T12:00:00'));
      await rm(segment(1));
      const again = { history: true, schema: mine, baseDirectory: output };
      await expect(compact({ ...again, output: join(folder, 'next') })).rejects.toMatchObject({
        code: 'HISTORY_COMPACTED',
        message: expect.stringContaining(output),
      });
      expect(await compact(again)).toMatchObject({ days: 2 });
    });
  });

  it('refuses a folder that is no event log, and to write into the log', async () => {
    await expect(compact()).rejects.toMatchObject({ code: 'EVENTS_MISSING', message: expect.stringContaining(log) });
    await write(1, line('impression', 'u', 'p', '03T12:00:00'));
    for (const inside of [log, join(log, 'days'), join(folder, '.', 'log', 'a', 'b')])
      await expect(compact({ output: inside })).rejects.toMatchObject({ code: 'OUT_INSIDE' });
    expect(await readdir(log)).toEqual(['events-00000001.jsonl']);
  });

  it('refuses broken lines, naming all of them in all files, and goes on without them where that is asked for', async () => {
    const good = line('impression', 'u', 'p', '03T12:00:00');
    await write(1, good, 'nonsense\n', line('click', 'u', 'p', '03T12:00:10'), '{"id":"x","type":"cli\n');
    await write(2, line('order', 'u', 'p', '03T12:01:00', { value: 'ten' }), line('order', 'u', 'p', '03T12:01:00'));
    const refused = compact();
    await expect(refused).rejects.toMatchObject({ code: 'EVENT_LOG_CORRUPT' });
    const { message } = (await refused.catch((error) => error)) as Error;
    for (const place of [
      '3 lines of the event log are no events',
      `${segment(1)}:2 (it is not JSON)`,
      `${segment(1)}:4 (it is not JSON)`,
      `${segment(2)}:1 (its value is not a number)`,
      '--skip-bad-lines',
    ])
      expect(message).toContain(place);
    const before = await readFile(segment(1), 'utf8');
    const summary = await compact({ skipBadLines: true });
    expect(summary).toMatchObject({ impressions: 1, clicks: 1, orders: 1, skipped: { count: 3 } });
    expect(summary.skipped.first.map(({ file, line }) => [file, line])).toEqual([
      [segment(1), 2],
      [segment(1), 4],
      [segment(2), 1],
    ]);
    expect(await readFile(segment(1), 'utf8')).toBe(before);
    expect((await readdir(output)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('counts as lines what the server counts as lines', async () => {
    await write(1, 'non\rsense\n', line('impression', 'u', 'p', '03T12:00:00'), 'nonsense\r\n');
    const { skipped, impressions } = await compact({ skipBadLines: true });
    expect({ impressions, lines: skipped.first.map((bad) => bad.line) }).toEqual({ impressions: 1, lines: [1, 3] });
  });

  it.each([
    ['the log itself', []],
    ['a copy without its bad lines', ['nonsense\n']],
  ])('says in which file an event is that DuckDB cannot take, read from %s', async (_, more) => {
    await write(1, ...more, line('impression', 'u', 'p', '03T12:00:00', { position: 1e12 }));
    await expect(compact({ skipBadLines: true })).rejects.toMatchObject({
      code: 'EVENT_LOG_CORRUPT',
      file: segment(1),
      message: expect.stringContaining(`${segment(1)} cannot be read`),
    });
    expect((await readdir(output)).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it.each([[[]], [['nonsense\n']]])(
    'does not call the log broken where memory is too little, bad lines: %j',
    async (more) => {
      await write(1, ...more, line('impression', 'u', 'p', '03T12:00:00'));
      await expect(compact({ skipBadLines: true, memoryLimit: '10MB' })).rejects.toMatchObject({
        code: 'COMPACTION_FAILED',
        file: segment(1),
      });
    },
  );

  it('names the first twenty of many broken lines, and counts the rest', async () => {
    await write(1, ...Array.from({ length: 50 }, (_, i) => `nonsense ${i}\n`));
    const { message } = (await compact().catch((error) => error)) as Error;
    expect(message).toContain('50 lines');
    expect(message).toContain(`${segment(1)}:20 (`);
    expect(message).not.toContain(`${segment(1)}:21 (`);
    expect(message).toContain('and 30 more');
  });

  it('refuses a foreign directory and a missing log', async () => {
    await writeFile(join(folder, 'mine.txt'), 'x');
    await write(1, line('impression', 'u', 'p', '03T12:00:00'));
    await expect(compact({ output: folder })).rejects.toMatchObject({ code: 'OUT_NOT_OURS' });
    await expect(compact({ log: join(folder, 'none') })).rejects.toMatchObject({
      code: 'EVENTS_MISSING',
      message: expect.stringMatching(/there is no such directory\. Name the directory/),
    });
  });
});
