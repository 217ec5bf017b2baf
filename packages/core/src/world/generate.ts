import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DuckdbSession } from '../duckdb/session.js';
import { UsageError } from '../errors.js';
import { buildDirectoryAtomic, writeFileAtomic } from '../files/atomic.js';
import { mustBeReplaceable } from '../files/output-directory.js';
import { type PrepareOptions, prepareInto } from '../prepare/prepare.js';
import { dishPairs, generalText } from './corpus.js';
import { populate, SIZES, type Size, WORLD_SCALES, type WorldScale } from './population.js';
import { calibrate, simulate } from './simulate.js';
import { EventLog, writePeople, writeRestaurants, writeSceneEffects } from './tables.js';
import { type CategoryGranularity, worldSchema } from './world-schema.js';

export { WORLD_SCALES, type WorldScale };

export interface WorldOptions extends Pick<PrepareOptions, 'memoryLimit' | 'threads' | 'rowsPerShard'> {
  scale: WorldScale;
  seed: number;
  /** The dataset directory to make; an existing one is replaced when the new one is whole. */
  output: string;
  /** `false`: weather, mealtimes, weekends, rain × distance and travelling have no effect (default `true`). */
  sceneEffects?: boolean;
  /** What the baselines' cuisine feature tells (default `fine`). */
  categoryGranularity?: CategoryGranularity;
  onProgress?: (progress: WorldProgress) => void;
  signal?: AbortSignal;
}

export interface WorldProgress {
  stage: 'people and restaurants' | 'sessions' | 'tables' | 'texts' | 'samples';
  done: number;
  total: number;
  /** What of the samples is being made. */
  part?: string;
  /** Seconds that are probably left of this stage; null while nothing is known. */
  secondsLeft: number | null;
}

export interface WorldSummary {
  output: string;
  scale: WorldScale;
  seed: number;
  users: number;
  pois: number;
  cities: number;
  days: number;
  sessions: number;
  impressions: number;
  clicks: number;
  orders: number;
}

/**
 * Makes the built-in food-delivery world (docs/world.md) as a dataset directory. The same scale, seed and switches give the same bytes.
 * @throws UsageError `WORLD_OPTION` for an unknown scale or granularity, or a seed that is no whole number from 0 to 2^53 − 1
 * @throws the signal's reason when aborted; nothing is left behind then
 */
export async function generateWorld(options: WorldOptions): Promise<WorldSummary> {
  const { scale, seed, output, sceneEffects = true, categoryGranularity = 'fine', onProgress, signal } = options;
  const { memoryLimit, threads, rowsPerShard } = options;
  const size = SIZES[scale];
  if (!size)
    throw new UsageError('WORLD_OPTION', `There is no world of scale "${scale}". Scales: ${WORLD_SCALES.join(', ')}.`);
  if (categoryGranularity !== 'coarse' && categoryGranularity !== 'fine')
    throw new UsageError(
      'WORLD_OPTION',
      `There is no category granularity "${categoryGranularity}". It is coarse or fine.`,
    );
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new UsageError('WORLD_OPTION', `The seed is a whole number from 0 up, not ${seed}.`);
  signal?.throwIfAborted();
  await mustBeReplaceable(output, 'larr-dataset');
  return buildDirectoryAtomic(output, async (directory) => {
    for (const folder of ['tables', 'controls', 'corpus']) await mkdir(join(directory, folder));
    const made = await makeTables(directory, size, seed, sceneEffects, onProgress, signal);
    await writeTexts(directory, size, seed, onProgress, signal);
    signal?.throwIfAborted();
    await prepareInto(directory, {
      schema: worldSchema(categoryGranularity, size.training),
      baseDirectory: directory,
      seed,
      ...(memoryLimit !== undefined && { memoryLimit }),
      ...(threads !== undefined && { threads }),
      ...(rowsPerShard !== undefined && { rowsPerShard }),
      ...(signal !== undefined && { signal }),
      progress: ({ stage: part, done, total, secondsLeft }) => {
        signal?.throwIfAborted();
        onProgress?.({ stage: 'samples', done, total, part, secondsLeft });
      },
    });
    return { output, scale, seed, ...made };
  });
}

async function makeTables(
  directory: string,
  size: Size,
  seed: number,
  sceneEffects: boolean,
  onProgress: WorldOptions['onProgress'],
  signal: AbortSignal | undefined,
): Promise<Omit<WorldSummary, 'output' | 'scale' | 'seed'>> {
  onProgress?.({ stage: 'people and restaurants', done: 0, total: size.users + size.pois, secondsLeft: null });
  const { people, restaurants, source, days, cities } = populate(size, seed, sceneEffects);
  const intercepts = calibrate(source, size.days);
  signal?.throwIfAborted();

  // One thread, so that rows keep their order and Parquet its row groups: the bytes depend on nothing but the options.
  const staging = join(directory, 'staging.duckdb');
  let clicks = 0;
  let orders = 0;
  let sessions = 0;
  let impressions = 0;
  try {
    using db = await DuckdbSession.open({ file: staging, threads: 1, memoryLimit: '1500MB' });
    const { connection } = db;
    await writeRestaurants(connection, directory, restaurants);
    await writePeople(connection, directory, people);
    await writeSceneEffects(connection, directory, sceneEffects);
    const log = await EventLog.create(connection);
    const started = performance.now();
    await simulate(
      source,
      intercepts,
      { days: size.days, sessions: size.sessions, seed, weekend: (day) => days.weekday(day) >= 5 },
      (session, answers, index) => {
        for (let i = 0; i < session.length; i++) {
          clicks += answers.click[i]!;
          orders += answers.order[i]!;
        }
        sessions = index + 1;
        log.append(session, answers, index);
      },
      (done) => {
        signal?.throwIfAborted();
        const secondsLeft = ((performance.now() - started) / 1000) * (size.sessions / done - 1);
        onProgress?.({ stage: 'sessions', done, total: size.sessions, secondsLeft });
      },
    );
    impressions = log.rows;
    onProgress?.({ stage: 'tables', done: 0, total: impressions, secondsLeft: null });
    await log.finish(directory, cities, size.days);
    onProgress?.({ stage: 'tables', done: impressions, total: impressions, secondsLeft: 0 });
  } finally {
    await rm(staging, { force: true });
    await rm(`${staging}.wal`, { force: true });
    await rm(`${staging}.tmp`, { recursive: true, force: true });
  }
  return { users: size.users, pois: size.pois, cities, days: size.days, sessions, impressions, clicks, orders };
}

/** corpus/general.jsonl and corpus/dishes.jsonl. */
async function writeTexts(
  directory: string,
  size: Size,
  seed: number,
  onProgress: WorldOptions['onProgress'],
  signal: AbortSignal | undefined,
): Promise<void> {
  onProgress?.({ stage: 'texts', done: 0, total: size.corpusBytes, secondsLeft: null });
  const pairs = dishPairs(4, seed).map((pair) => `${JSON.stringify(pair)}\n`);
  await writeFileAtomic(join(directory, 'corpus', 'dishes.jsonl'), pairs.join(''));
  const file = await open(join(directory, 'corpus', 'general.jsonl'), 'w');
  try {
    for (const block of generalText(size.corpusBytes, seed)) {
      signal?.throwIfAborted();
      await file.write(block);
    }
  } finally {
    await file.close();
  }
  onProgress?.({ stage: 'texts', done: size.corpusBytes, total: size.corpusBytes, secondsLeft: 0 });
}
