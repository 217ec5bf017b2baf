// The whole analysis on experiments in the world, whose truth is known: many experiments that find nothing, and some that shall.
import { beforeAll, describe, expect, it } from 'vitest';
import { WorldReplay } from '../world/replay.js';
import { ExperimentTotals, type Figures, figuresOf } from './analysis.js';
import { unitHash } from './assignment.js';
import { boundary, mixtureDeviation, usersPerArm } from './comparison.js';
import { normalQuantile } from './distributions.js';
import { estimate, METRICS, type MetricName } from './metrics.js';
import type { Moments } from './moments.js';

const PRE_DAYS = 7;
const DAYS = 10;
const VISITS = 450;
const RUNS = 1000;
const USERS = 1200;

/** What people would do, visit by visit: who, on which day, and for each POI of the list the true probabilities and the price. */
interface Visits {
  user: Int32Array;
  day: Int32Array;
  /** [visits + 1], into the three below */
  from: Int32Array;
  click: Float64Array;
  order: Float64Array;
  price: Float64Array;
}

let visits: Visits;

beforeAll(async () => {
  const size = { pois: 400, users: USERS, sessions: 3000, days: 5 };
  const world = await WorldReplay.open({ size, seed: 3, sceneEffects: true, days: PRE_DAYS + DAYS });
  const user: number[] = [];
  const day: number[] = [];
  const from = [0];
  const click: number[] = [];
  const order: number[] = [];
  const price: number[] = [];
  let index = 0;
  for (let d = 0; d < PRE_DAYS + DAYS; d++) {
    for (const second of world.visits(d, VISITS)) {
      const visit = world.visit(index++, d, second);
      const wanted = world.show(visit.shown);
      user.push(visit.user);
      day.push(d);
      visit.shown.forEach((poi, i) => {
        click.push(wanted.click[i]!);
        order.push(wanted.order[i]!);
        price.push(world.price(poi));
      });
      from.push(click.length);
    }
  }
  visits = {
    user: Int32Array.from(user),
    day: Int32Array.from(day),
    from: Int32Array.from(from),
    click: Float64Array.from(click),
    order: Float64Array.from(order),
    price: Float64Array.from(price),
  };
}, 30_000);

/** xorshift32: fast, and good enough to toss coins with. */
function coins(seed: number): () => number {
  let x = Math.floor(unitHash('coins', String(seed)) * 4294967295) | 0 || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) / 4294967296;
  };
}

const plan = {
  arms: [
    { name: 'a', weight: 1 },
    { name: 'b', weight: 1 },
  ],
  alpha: 0.05,
  // what this many users can find, about
  smallestLift: { ctr: 0.13, cvr: 0.25, ctcvr: 0.3, gmv: 0.4 },
};

/** One experiment: users go to the arms at random, and everything is drawn anew. Figures of every day, and the arms at the end. */
function experiment(seed: number, lift: number): { days: Figures[]; arms: Moments[] } {
  const toss = coins(seed);
  const arm = Int8Array.from({ length: USERS }, () => (toss() < 0.5 ? 0 : 1));
  const totals = new ExperimentTotals(2, USERS);
  const before = new Float64Array(USERS * 4);
  const days: Figures[] = [];
  for (let v = 0; v < visits.user.length; v++) {
    const user = visits.user[v]!;
    const day = visits.day[v]!;
    const on = day >= PRE_DAYS;
    const times = on && arm[user] === 1 ? 1 + lift : 1;
    let clicks = 0;
    let orders = 0;
    let gmv = 0;
    const end = visits.from[v + 1]!;
    for (let i = visits.from[v]!; i < end; i++) {
      if (toss() >= visits.click[i]! * times) continue;
      clicks++;
      if (toss() >= visits.order[i]!) continue;
      orders++;
      gmv += visits.price[i]!;
    }
    const impressions = end - visits.from[v]!;
    if (on) {
      totals.expose(user, arm[user]!, before.subarray(user * 4, user * 4 + 4));
      totals.add(user, impressions, clicks, orders, gmv);
      if (v + 1 === visits.user.length || visits.day[v + 1] !== day) days.push(figuresOf(totals.arms, plan));
    } else {
      before[user * 4]! += impressions;
      before[user * 4 + 1]! += clicks;
      before[user * 4 + 2]! += orders;
      before[user * 4 + 3]! += gmv;
    }
  }
  return { days, arms: totals.snapshot() };
}

/** Shares of the runs that found a difference. */
function found(runs: Figures[][], metric: MetricName) {
  const at = METRICS.findIndex(({ name }) => name === metric);
  const share = (yes: (days: Figures[]) => boolean) => runs.filter(yes).length / runs.length;
  const effect = (figures: Figures) => figures.comparisons[at]!;
  return {
    atTheEnd: share((days) => effect(days.at(-1)!).effect!.fixed.p! < 0.05),
    atTheEndCuped: share((days) => effect(days.at(-1)!).cuped!.fixed.p! < 0.05),
    peeking: share((days) => days.some((figures) => effect(figures).effect!.fixed.p! < 0.05)),
    sequential: share((days) => days.some((figures) => effect(figures).effect!.sequential.p! < 0.05)),
    sequentialCuped: share((days) => days.some((figures) => effect(figures).cuped!.sequential.p! < 0.05)),
  };
}

describe('a thousand A/A tests in the world, looked at every day', () => {
  let runs: { days: Figures[]; arms: Moments[] }[];
  beforeAll(() => {
    runs = Array.from({ length: RUNS }, (_, seed) => experiment(seed, 0));
  }, 60_000);

  it.each(METRICS)('$name: the fixed test rejects at its rate, the sequential one never more often', ({ name }) => {
    const rate = found(
      runs.map(({ days }) => days),
      name,
    );
    if (process.env.LARR_SHOW) console.log(name, rate);
    // three standard errors of 1,000 tosses with .05: ± .021
    for (const fixed of [rate.atTheEnd, rate.atTheEndCuped]) {
      expect(fixed).toBeGreaterThan(0.029);
      expect(fixed).toBeLessThan(0.071);
    }
    expect(rate.sequential).toBeLessThanOrEqual(0.05);
    expect(rate.sequentialCuped).toBeLessThanOrEqual(0.05);
    // What the sequential test is for: the fixed one, looked at every day, is wrong far too often.
    expect(rate.peeking).toBeGreaterThan(0.12);
  });

  it('the always-valid interval holds the truth on all days at once, the fixed one at the end', () => {
    let sequential = 0;
    let fixed = 0;
    for (const { days } of runs) {
      const inside = (interval: [number, number]) => interval[0] <= 0 && interval[1] >= 0;
      if (days.every(({ comparisons }) => inside(comparisons[0]!.effect!.sequential.difference!))) sequential++;
      if (inside(days.at(-1)!.comparisons[0]!.effect!.fixed.difference!)) fixed++;
    }
    expect(sequential / RUNS).toBeGreaterThanOrEqual(0.95);
    expect(fixed / RUNS).toBeGreaterThan(0.929);
    expect(fixed / RUNS).toBeLessThan(0.971);
  });

  it('the sample-ratio alarm stays silent', () => {
    const alarms = runs.filter(({ days }) => days.some(({ sampleRatio }) => sampleRatio.alarm)).length;
    expect(alarms).toBeLessThanOrEqual(3);
  });

  it.each(METRICS)('$name: the variance said is the variance there is, and CUPED takes ρ² of it', (metric) => {
    const at = METRICS.indexOf(metric);
    const last = runs.map(({ days }) => days.at(-1)!.comparisons[at]!);
    const variance = (values: number[]) => {
      const mean = values.reduce((a, b) => a + b) / values.length;
      return values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1);
    };
    const plain = variance(last.map(({ effect }) => effect!.difference));
    const reduced = variance(last.map(({ cuped }) => cuped!.difference));
    const said =
      runs.reduce((sum, { arms }) => sum + arms.reduce((s, arm) => s + estimate(arm, metric).variance, 0), 0) / RUNS;
    // a variance estimated from 1,000 runs has a standard error of 4.5 %
    expect(Math.abs(plain / said - 1)).toBeLessThan(0.135);
    // 1 − Var(adjusted)/Var(plain) = ρ², which each run states from its own users
    const stated = last.reduce((sum, { cuped }) => sum + cuped!.varianceReduction, 0) / RUNS;
    if (process.env.LARR_SHOW) console.log(metric.name, 'reduction', 1 - reduced / plain, 'stated', stated);
    expect(Math.abs(1 - reduced / plain - stated)).toBeLessThan(0.05);
    if (metric.name !== 'cvr') expect(stated).toBeGreaterThan(0.01);
  });

  it.each(['ctr', 'gmv'] as const)(
    '%s: a planted lift is found with the power that the formula says',
    (name) => {
      const at = METRICS.findIndex((metric) => metric.name === name);
      // The coefficient of variation as a report tells it, over the A/A runs.
      let variation = 0;
      let users = 0;
      for (const { arms } of runs) {
        const { value, variance } = estimate(arms[0]!, METRICS[at]!);
        variation += (arms[0]!.users * variance) / value ** 2 / RUNS;
        users += arms[0]!.users / RUNS;
      }
      // The lift for which the formula asks for as many users as there are.
      let lift = 0;
      let above = 2;
      while (above - lift > 1e-4) {
        const middle = (lift + above) / 2;
        if (usersPerArm({ lift: middle, variation }) > users) lift = middle;
        else above = middle;
      }
      const planted = Array.from({ length: 400 }, (_, seed) => experiment(50_000 + seed, lift).days);
      const power = found(planted, name);
      if (process.env.LARR_SHOW) console.log(name, { lift, users, variation }, power);
      // three standard errors of 400 tosses with .8, and a little for the lift's own effect on the variance
      expect(power.atTheEnd).toBeGreaterThan(0.8 - 0.08);
      expect(power.atTheEnd).toBeLessThan(0.8 + 0.08);
      expect(power.atTheEndCuped).toBeGreaterThan(power.atTheEnd - 0.02);
      expect(power.sequential).toBeGreaterThan(0.4);
    },
    30_000,
  );
});

describe('the power of the sequential test, looked at on 28 days', () => {
  /** Share of 6,000 experiments that find `lift`, with `times` the users that a fixed test of it needs for power .8. */
  const power = (lift: number, smallestLift: number, times: number): number => {
    const toss = coins(lift * 1000 + times);
    const normal = () => Math.sqrt(-2 * Math.log(1 - toss())) * Math.cos(2 * Math.PI * toss());
    const tau = mixtureDeviation(smallestLift, 0.05);
    const information = times * ((normalQuantile(0.975) + normalQuantile(0.8)) / (lift || smallestLift)) ** 2;
    let found = 0;
    for (let run = 0; run < 6000; run++) {
      let motion = 0;
      for (let look = 1; look <= 28; look++) {
        const at = (information * look) / 28;
        motion += Math.sqrt(information / 28) * normal();
        if (Math.abs(lift * Math.sqrt(at) + motion / Math.sqrt(at)) < boundary(1 / at, 0.05, tau)) continue;
        found++;
        break;
      }
    }
    return found / 6000;
  };

  it('is what docs/experiments.md says', () => {
    // standard error .005
    expect(power(0.02, 0.02, 1)).toBeCloseTo(0.5, 1);
    expect(Math.abs(power(0.02, 0.02, 1.72) - 0.8)).toBeLessThan(0.025);
    expect(Math.abs(power(0.01, 0.02, 1.86) - 0.8)).toBeLessThan(0.025);
    expect(Math.abs(power(0.04, 0.02, 1.79) - 0.8)).toBeLessThan(0.025);
    expect(Math.abs(power(0.08, 0.02, 2.3) - 0.8)).toBeLessThan(0.025);
    expect(power(0, 0.02, 4)).toBeLessThan(0.03);
  });
});

describe('an experiment whose logging loses users of one arm', () => {
  it('sets off the sample-ratio alarm', () => {
    const totals = new ExperimentTotals(2, 20_000);
    for (let user = 0; user < 20_000; user++) {
      const arm = unitHash('srm', String(user)) < 0.5 ? 0 : 1;
      if (arm === 1 && user % 10 === 0) continue;
      totals.expose(user, arm);
      totals.add(user, 10, 1, 0, 0);
    }
    expect(figuresOf(totals.arms, plan).sampleRatio.alarm).toBe(true);
  });
});
