import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** What a ranking went through, in order; the label of `larr_rank_stage_seconds`. */
export type RankStage = 'features' | 'scene' | 'queue' | 'ranker' | 'sort';

/** The server's Prometheus metrics. One per server, so that several in one process keep apart. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const seconds = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.012, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
  return {
    registry,
    requests: new Counter({
      name: 'larr_http_requests_total',
      help: 'Requests answered, by route, method and status',
      labelNames: ['route', 'method', 'status'] as const,
      registers,
    }),
    latency: new Histogram({
      name: 'larr_http_request_seconds',
      help: "Time from a request's arrival to its reply",
      labelNames: ['route'] as const,
      buckets: seconds,
      registers,
    }),
    stages: new Histogram({
      name: 'larr_rank_stage_seconds',
      help: 'Time of a ranking by stage',
      labelNames: ['stage'] as const,
      buckets: [0.0001, 0.00025, ...seconds],
      registers,
    }),
    candidates: new Counter({ name: 'larr_candidates_total', help: 'Candidates ranked', registers }),
    fallbacks: new Counter({
      name: 'larr_fallbacks_total',
      help: 'Unknown users, POIs, scene texts and feature values that were ranked through their fallback',
      labelNames: ['kind'] as const,
      registers,
    }),
    events: new Counter({
      name: 'larr_events_total',
      help: 'Events acknowledged: written, or known already',
      labelNames: ['outcome'] as const,
      registers,
    }),
    score: new Histogram({
      name: 'larr_score',
      help: 'Scores given, to watch for drift',
      buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
      registers,
    }),
    batchRows: new Histogram({
      name: 'larr_ranker_batch_rows',
      help: 'Rows in one run of the ranker; several requests share a run when they come together',
      buckets: [1, 8, 32, 128, 256, 512, 1024, 2048, 4096, 8192],
      registers,
    }),
    queuedRows: new Gauge({ name: 'larr_ranker_queued_rows', help: 'Rows waiting for the ranker', registers }),
    ready: new Gauge({ name: 'larr_ready', help: '1 when a model is loaded and answering', registers }),
  };
}
export type Metrics = ReturnType<typeof createMetrics>;
