import type { FastifyInstance } from 'fastify';
import type { Metrics } from '../../observability/metrics.js';
import { RECENT, type RecentCount, RecentTimes, type TimesSummary } from '../../observability/recent.js';
import { HealthReport } from '../contracts/index.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

/** `GET /v1/admin/health`: what the console's Health page shows. */
export async function healthRoutes(app: FastifyInstance, { state, metrics }: RouteContext): Promise<void> {
  app.get(
    '/v1/admin/health',
    route({
      id: 'healthReport',
      summary: 'The last five minutes in figures: load, times by stage, queue, fallbacks, drift, memory',
      scope: 'read',
      replies: { 200: { description: 'The figures.', schema: HealthReport } },
    }),
    async (request) => ({ requestId: request.id, ...report(state, metrics) }),
  );
}

function report({ models, stopping }: RouteContext['state'], metrics: Metrics): Omit<HealthReport, 'requestId'> {
  const model = models.current;
  const uptimeSeconds = process.uptime();
  const seconds = Math.min(uptimeSeconds, RECENT.slotSeconds * RECENT.slots);
  const byStatus = totals(metrics.requests.recent);
  const total = sum(Object.values(byStatus));
  const failed = sum(Object.entries(byStatus).flatMap(([status, count]) => (Number(status) >= 500 ? [count] : [])));
  const { rss, heapUsed, heapTotal, external } = process.memoryUsage();
  const { loopDelay } = metrics;
  const delay = (nanoseconds: number): number => (Number.isFinite(nanoseconds) ? nanoseconds / 1e6 : 0);
  const eventLoop = {
    p50: delay(loopDelay.percentile(50)),
    p99: delay(loopDelay.percentile(99)),
    max: delay(loopDelay.max),
  };
  loopDelay.reset();
  return {
    at: new Date().toISOString(),
    status: stopping ? 'stopping' : model === null ? 'loading' : model.broken ? 'failed' : 'ready',
    model: model?.identity ?? null,
    uptimeSeconds,
    window: { seconds, slotSeconds: RECENT.slotSeconds },
    requests: { total, perSecond: total / seconds, byStatus, failed },
    candidatesPerSecond: metrics.candidates.recent.total() / seconds,
    routes: [...metrics.latency.recent].map(([route, times]) => ({ route, ...milliseconds(times.summary()) })),
    stages: [...metrics.stages.recent].map(([stage, times]) => ({ stage, ...milliseconds(times.summary()) })),
    series: series(metrics),
    queue: { rows: model?.queuedRows ?? 0 },
    fallbacks: totals(metrics.fallbacks.recent),
    refused: totals(metrics.refused.recent),
    drift: [...(model?.drift() ?? [])],
    memory: { rss, heapUsed, heapTotal, external },
    eventLoop,
  };
}

function series({ requests, latency, candidates }: Metrics): HealthReport['series'] {
  const counts = [...requests.recent].map(([status, count]) => ({
    failed: Number(status) >= 500,
    count: count.series(),
  }));
  const ranked = candidates.recent.series();
  const times = (latency.recent.get('/v1/rank') ?? NEVER).series().map(milliseconds);
  // Slots begin at multiples of ten seconds of the process's clock.
  const newest = Date.now() - (performance.now() % (RECENT.slotSeconds * 1000));
  return ranked.map((rows, i) => ({
    at: new Date(newest - (RECENT.slots - 1 - i) * RECENT.slotSeconds * 1000).toISOString(),
    requests: sum(counts.map(({ count }) => count[i]!)),
    failed: sum(counts.map(({ failed, count }) => (failed ? count[i]! : 0))),
    candidates: rows,
    p50: times[i]!.p50,
    p99: times[i]!.p99,
  }));
}

const NEVER = new RecentTimes(() => performance.now());

function totals(counts: ReadonlyMap<string, RecentCount>): Record<string, number> {
  return Object.fromEntries([...counts].map(([label, count]) => [label, count.total()]));
}

function milliseconds({ count, p50, p95, p99 }: TimesSummary): TimesSummary {
  const scaled = (seconds: number | null): number | null => (seconds === null ? null : seconds * 1000);
  return { count, p50: scaled(p50), p95: scaled(p95), p99: scaled(p99) };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0);
