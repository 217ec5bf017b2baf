import {
  armOf,
  DataError,
  type DatasetManifest,
  type Day,
  ExperimentTotals,
  figuresOf,
  METRICS,
  type MetricName,
  openBundle,
  openDataset,
  UsageError,
  usersPerArm,
  type Verdict,
  verdicts,
  WORLD_LIST,
  WorldReplay,
  worldOf,
} from '@larr/core';
import { PrivateServer } from '../serving/server-process.js';

export interface AbTestOptions {
  /** A built-in world's dataset directory, with its controls. */
  data: string;
  /** Bundle directories of the two arms; a is the control. */
  a: string;
  b: string;
  /** Days after the log. */
  days: number;
  /** Visits a day; default: as many as the log has. */
  visits?: number | undefined;
  /** POIs that are ranked for each visit. */
  candidates: number;
  /** Which probability ranks; default: the server's. */
  by?: 'pCtr' | 'pCtcvr' | undefined;
  alpha: number;
  smallestLift: Record<MetricName, number>;
  /** Days at the end of the log whose outcomes reduce the variance; 0: none. */
  prePeriodDays: number;
  seed: number;
  threads: number;
  signal?: AbortSignal;
  onProgress?: (stage: 'log' | 'visits', done: number, total: number) => void;
}

/** A metric in both arms, as experiments are reported. */
export interface AbTestRow {
  metric: MetricName;
  a: number | null;
  b: number | null;
  lift: number | null;
  /** of the lift, for one look at the end */
  interval: [number, number] | null;
  p: number | null;
  /** of the lift, at every look */
  alwaysValid: [number, number] | null;
  /** the same with the variance reduced by the log's last days */
  cuped: { lift: number; interval: [number, number] | null; p: number | null; varianceReduction: number } | null;
  /** What the simulator knows: the lift of the true expectations, over the same visits, had each been shown both lists. */
  truth: number;
}

export interface AbTestResult {
  format: 'larr-abtest';
  version: 1;
  world: { data: string; seed: number; users: number };
  arms: Record<'a' | 'b', { bundle: string; model: { name: string; bundle: string }; users: number }>;
  settings: Pick<AbTestOptions, 'days' | 'candidates' | 'alpha' | 'smallestLift' | 'prePeriodDays' | 'seed'> & {
    visits: number;
    by: 'pCtr' | 'pCtcvr' | null;
  };
  rows: AbTestRow[];
  /** True metrics per impression (GMV: per visit) of the lists: of both arms, and of the policy that made the log. */
  expected: Record<'a' | 'b' | 'log', Record<MetricName, number>>;
  /** Share of the positions of all lists at which both arms show the same POI. */
  sameAtPosition: number;
  days: Day[];
  verdict: Verdict;
  /** Users of the control that finding CTR's smallest lift takes, with power .8 and one look. */
  usersNeeded: number;
  seconds: number;
}

/** How many visits are ranked together; their answers are drawn in order all the same. */
const TOGETHER = 32;

/**
 * An A/B test in the built-in world, on the days after its log. Everybody who opens the app is in one arm, by the experiment's own hash; the arm's bundle, served as
 * in production, ranks what is on offer there and then; as many POIs as the logging policy would show are shown; clicks and orders are drawn from the world's
 * true probabilities, in each arm anew, and what is ordered is remembered. The bundles know the log to its end and nothing of these days.
 *
 * On offer is what the logging policy would show and the nearest POIs that are open.
 * @throws UsageError `BUNDLE_OTHER_DATA`; DataError `NOT_A_WORLD`; those of the server for a bundle it does not serve
 */
export async function runAbTest(options: AbTestOptions): Promise<AbTestResult> {
  const started = performance.now();
  const { data, days, candidates, signal, onProgress, seed } = options;
  const { manifest } = await openDataset(data);
  for (const bundle of [options.a, options.b]) {
    const { dataset } = (await openBundle(bundle)).manifest;
    if (dataset.schemaDigest !== manifest.schemaDigest)
      throw new UsageError(
        'BUNDLE_OTHER_DATA',
        `the bundle ${bundle} is of the dataset "${dataset.name}" with another schema than that of ${data}: give bundles that were trained on it`,
      );
  }
  const which = await worldOf(data);
  await using a = await PrivateServer.start(options.a, options.threads);
  await using b = await PrivateServer.start(options.b, options.threads);
  const servers = [a, b] as const;
  const world = await WorldReplay.open({
    ...which,
    days,
    lastDays: options.prePeriodDays,
    ...(signal === undefined ? {} : { signal }),
    onProgress: (done, total) => onProgress?.('log', done, total),
  });
  mustBeSameLog(world, manifest, data);
  const perDay = options.visits ?? Math.round(which.size.sessions / which.size.days);
  const plan = {
    arms: [
      { name: 'a', weight: 1 },
      { name: 'b', weight: 1 },
    ],
    alpha: options.alpha,
    smallestLift: options.smallestLift,
  };
  const totals = new ExperimentTotals(2, world.users);
  const armByUser = Int8Array.from({ length: world.users }, (_, user) =>
    armOf(`abtest ${seed}`, plan.arms, String(user)),
  );
  const expected = { a: emptyTruth(), b: emptyTruth(), log: emptyTruth() };
  const report: Day[] = [];
  let same = 0;
  let shownPositions = 0;
  let index = 0;
  for (let day = 0; day < days; day++) {
    const times = world.visits(day, perDay);
    for (let from = 0; from < times.length; from += TOGETHER) {
      signal?.throwIfAborted();
      const block = [...times.subarray(from, from + TOGETHER)].map((second, i) => ({ second, index: index + i }));
      const lists = await Promise.all(
        block.map(({ second, index }) => {
          const { user, shown } = world.visit(index, day, second);
          const question = {
            user: String(user),
            scene: world.scene(),
            candidates: offer(shown, world.withinReach(), candidates).map(String),
            k: shown.length,
            ...(options.by === undefined ? {} : { by: options.by }),
          };
          // Nobody to show anything to where nothing is open.
          return shown.length === 0 ? [[], []] : Promise.all(servers.map((server) => server.rank(question)));
        }),
      );
      block.forEach(({ second, index }, i) => {
        const [listA, listB] = lists[i]!.map((list) => list.map(Number)) as [number[], number[]];
        const { user, shown } = world.visit(index, day, second);
        addTruth(expected.log, world, shown);
        addTruth(expected.a, world, listA);
        addTruth(expected.b, world, listB);
        shownPositions += listA.length;
        listA.forEach((poi, position) => {
          if (listB[position] === poi) same++;
        });
        const arm = armByUser[user]!;
        totals.expose(user, arm, world.before(user));
        const list = arm === 0 ? listA : listB;
        const wanted = world.show(list);
        const coin = world.chance(seed, index);
        let clicks = 0;
        let orders = 0;
        let gmv = 0;
        list.forEach((poi, position) => {
          if (coin.uniform() >= wanted.click[position]!) return;
          clicks++;
          if (coin.uniform() >= wanted.order[position]!) return;
          orders++;
          gmv += world.price(poi);
          world.remember(poi);
        });
        totals.add(user, list.length, clicks, orders, gmv);
      });
      index += block.length;
      onProgress?.('visits', index, perDay * days);
    }
    report.push({ day: world.date(day), figures: figuresOf(totals.arms, plan) });
  }
  const { figures } = report.at(-1)!;
  const metricsOf = { a: metrics(expected.a), b: metrics(expected.b), log: metrics(expected.log) };
  const ctr = figures.arms[0]!.metrics.ctr!;
  return {
    format: 'larr-abtest',
    version: 1,
    world: { data, seed: which.seed, users: world.users },
    arms: {
      a: { bundle: options.a, model: a.model, users: figures.arms[0]!.users },
      b: { bundle: options.b, model: b.model, users: figures.arms[1]!.users },
    },
    settings: {
      days,
      visits: perDay,
      candidates,
      by: options.by ?? null,
      alpha: options.alpha,
      smallestLift: options.smallestLift,
      prePeriodDays: options.prePeriodDays,
      seed,
    },
    rows: METRICS.map(({ name }): AbTestRow => {
      const { effect, cuped } = figures.comparisons.find(({ metric }) => metric === name)!;
      return {
        metric: name,
        a: figures.arms[0]!.metrics[name]?.value ?? null,
        b: figures.arms[1]!.metrics[name]?.value ?? null,
        lift: effect?.lift ?? null,
        interval: effect?.fixed.lift ?? null,
        p: effect?.fixed.p ?? null,
        alwaysValid: effect?.sequential.lift ?? null,
        cuped:
          cuped === null
            ? null
            : {
                lift: cuped.lift,
                interval: cuped.fixed.lift,
                p: cuped.fixed.p,
                varianceReduction: cuped.varianceReduction,
              },
        truth: metricsOf.b[name] / metricsOf.a[name] - 1,
      };
    }),
    expected: metricsOf,
    sameAtPosition: same / shownPositions,
    days: report,
    verdict: verdicts(report, plan, 'ctr')[0]!,
    usersNeeded: usersPerArm({
      lift: options.smallestLift.ctr,
      variation: figures.arms[0]!.users * ((ctr.standardError ?? 0) / ctr.value) ** 2,
      alpha: options.alpha,
    }),
    seconds: (performance.now() - started) / 1000,
  };
}

/**
 * The log that was run again is the dataset's, to the click: else its people would not be those whom the bundles know.
 * @throws DataError `NOT_A_WORLD`
 */
function mustBeSameLog({ log }: WorldReplay, { splits, defaultSplit }: DatasetManifest, data: string): void {
  const parts = Object.values(splits[defaultSplit]!.parts);
  const logged = {
    impressions: parts.reduce((sum, { rows }) => sum + rows, 0),
    clicks: parts.reduce((sum, { clicks }) => sum + clicks, 0),
    orders: parts.reduce((sum, { orders }) => sum + (orders ?? 0), 0),
  };
  if (log.impressions === logged.impressions && log.clicks === logged.clicks && log.orders === logged.orders) return;
  throw new DataError(
    'NOT_A_WORLD',
    `${data} holds ${logged.impressions} impressions and ${logged.clicks} clicks, and its world run again gives ${log.impressions} and ${log.clicks}: ` +
      'another version made it. Make it again with `larr world`, and train on that',
    { file: data },
  );
}

/** What is ranked: all that the logging policy would show, then the nearest, each once. */
function offer(shown: readonly number[], near: readonly number[], count: number): number[] {
  const offered = new Set(shown);
  for (const poi of near) {
    if (offered.size >= Math.max(count, WORLD_LIST)) break;
    offered.add(poi);
  }
  return [...offered];
}

interface Truth {
  visits: number;
  impressions: number;
  clicks: number;
  orders: number;
  gmv: number;
}

const emptyTruth = (): Truth => ({ visits: 0, impressions: 0, clicks: 0, orders: 0, gmv: 0 });

function addTruth(truth: Truth, world: WorldReplay, list: readonly number[]): void {
  const { click, order } = world.show(list);
  truth.visits++;
  truth.impressions += list.length;
  list.forEach((poi, i) => {
    const ordered = click[i]! * order[i]!;
    truth.clicks += click[i]!;
    truth.orders += ordered;
    truth.gmv += ordered * world.price(poi);
  });
}

function metrics({ visits, impressions, clicks, orders, gmv }: Truth): Record<MetricName, number> {
  return { ctr: clicks / impressions, cvr: orders / clicks, ctcvr: orders / impressions, gmv: gmv / visits };
}
