import Fastify from 'fastify';
import { describe, expect, it } from 'vitest';
import { ScoreDrift } from './drift.js';
import { createMetrics } from './metrics.js';
import { RecentCount, RecentTimes } from './recent.js';
import { logRequests } from './request-log.js';

/** mulberry32: the same numbers everywhere */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe('the last five minutes', () => {
  it('know quantiles to within 2.5 %, and forget what is older', () => {
    let now = 7_000;
    const times = new RecentTimes(() => now);
    expect(times.summary()).toEqual({ count: 0, p50: null, p95: null, p99: null });
    for (let i = 1; i <= 1000; i++) times.observe(i / 1000);
    const { count, p50, p95, p99 } = times.summary();
    expect(count).toBe(1000);
    for (const [found, exact] of [
      [p50, 0.5],
      [p95, 0.95],
      [p99, 0.99],
    ] as const)
      expect(Math.abs(found! / exact - 1)).toBeLessThan(0.026);
    now += 290_000;
    times.observe(100);
    expect(times.summary().count).toBe(1001);
    expect(times.series().map((slot) => slot.count)).toEqual([1000, ...Array(28).fill(0), 1]);
    now += 10_000;
    expect(times.summary()).toMatchObject({ count: 1, p50: expect.closeTo(98, -1) });
    now += 10_000_000;
    expect(times.summary().count).toBe(0);
  });

  it('count in slots of ten seconds', () => {
    let now = 0;
    const count = new RecentCount(() => now);
    for (now = 0; now < 400_000; now += 1000) count.add();
    now = 399_999;
    expect(count.total()).toBe(300);
    expect(count.series()).toEqual(Array(30).fill(10));
  });

  it('are counted beside the Prometheus metrics, by one label', async () => {
    const metrics = createMetrics(() => 0);
    metrics.requests.inc({ route: '/a', method: 'GET', status: 200 });
    metrics.requests.inc({ route: '/b', method: 'GET', status: 200 });
    metrics.stages.observe({ stage: 'scene' }, 0.25);
    expect(metrics.requests.recent.get('200')?.total()).toBe(2);
    expect(metrics.stages.recent.get('scene')?.summary().count).toBe(1);
    expect(await metrics.registry.metrics()).toMatch(
      /larr_http_requests_total\{route="\/b",method="GET",status="200"\} 1/,
    );
    expect(await metrics.registry.metrics()).toMatch(/larr_rank_stage_seconds_sum\{stage="scene"\} 0.25/);
  });
});

describe('score drift', () => {
  const random = generator(5);
  /** Scores as a calibrated model gives them: most are small. */
  const scores = (count: number, power: number): Float32Array =>
    Float32Array.from({ length: count }, () => random() ** power);

  it('is near 0 for the same distribution and grows with the difference', () => {
    const reference = scores(5000, 3);
    const psi = (power: number): number => {
      const drift = new ScoreDrift(reference, () => 0);
      drift.observe(scores(20_000, power));
      return drift.now().psi!;
    };
    expect(psi(3)).toBeLessThan(0.01);
    const [slight, large] = [psi(2.5), psi(1)];
    expect(slight).toBeGreaterThan(0.01);
    expect(large).toBeGreaterThan(0.5);
    expect(large).toBeGreaterThan(slight);
  });

  it('is the sum of the formula', () => {
    // two bins of the reference: 8 scores below 0.5, 2 at it; nine deciles fall on two values
    const drift = new ScoreDrift(Float32Array.from([...Array(8).fill(0.25), 0.5, 0.5]), () => 0);
    drift.observe(Float32Array.from([...Array(300).fill(0.25), ...Array(200).fill(0.5)]));
    // bins: below 0.25 (none), 0.25 to 0.5, from 0.5; half a count is added to each
    const e = [0.5, 8.5, 2.5].map((n) => n / 11.5);
    const a = [0.5, 300.5, 200.5].map((n) => n / 501.5);
    const expected = a.reduce((sum, share, b) => sum + (share - e[b]!) * Math.log(share / e[b]!), 0);
    expect(drift.now()).toEqual({ psi: expect.closeTo(expected, 12), scores: 500 });
  });

  it('says nothing of fewer than 500 scores, and forgets those older than five minutes', () => {
    let now = 0;
    const drift = new ScoreDrift(scores(1000, 2), () => now);
    drift.observe(scores(499, 2));
    expect(drift.now()).toEqual({ psi: null, scores: 499 });
    now = 200_000;
    drift.observe(scores(600, 2));
    expect(drift.now().scores).toBe(1099);
    now = 301_000;
    expect(drift.now().scores).toBe(600);
  });
});

it('of what only an admin may change, the log says whether it was done or refused', async () => {
  const lines: string[] = [];
  const app = Fastify({ logger: { stream: { write: (line: string) => lines.push(line) } } });
  logRequests(app, { level: 'info', requests: 0 });
  const config = { scope: 'admin' } as never;
  app.post('/done', { config }, async () => 'done');
  app.post('/refused', { config }, async (_, reply) => reply.code(403).send('no'));
  for (const url of ['/done', '/refused']) await app.inject({ method: 'POST', url });
  await app.close();
  const audited = lines.map((line) => JSON.parse(line)).filter(({ audit }) => audit === true);
  expect(audited.map(({ status, msg }) => [status, msg])).toEqual([
    [200, 'changed by an admin'],
    [403, 'refused'],
  ]);
});
