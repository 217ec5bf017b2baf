import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { type Clock, RecentCount, RecentTimes } from './recent.js';

/** What a ranking went through, in order; the label of `larr_rank_stage_seconds`. */
export type RankStage = 'features' | 'scene' | 'queue' | 'ranker' | 'sort';

/** A Prometheus counter that also knows the last five minutes, by the value of one of its labels. */
class CountedBy<L extends string> {
  readonly recent = new Map<string, RecentCount>();

  constructor(
    private readonly counter: Counter<L>,
    private readonly by: NoInfer<L>,
    private readonly clock: Clock,
  ) {}

  inc(labels: Record<L, string | number>, count = 1): void {
    this.counter.inc(labels, count);
    const value = String(labels[this.by]);
    let recent = this.recent.get(value);
    if (recent === undefined) {
      recent = new RecentCount(this.clock);
      this.recent.set(value, recent);
    }
    recent.add(count);
  }
}

/** A Prometheus counter without labels that also knows the last five minutes. */
class Counted {
  readonly recent: RecentCount;

  constructor(
    private readonly counter: Counter,
    clock: Clock,
  ) {
    this.recent = new RecentCount(clock);
  }

  inc(count = 1): void {
    this.counter.inc(count);
    this.recent.add(count);
  }
}

/** A Prometheus histogram of seconds that also knows the last five minutes, by the value of its label. */
class TimedBy<L extends string> {
  readonly recent = new Map<string, RecentTimes>();

  constructor(
    private readonly histogram: Histogram<L>,
    private readonly by: NoInfer<L>,
    private readonly clock: Clock,
  ) {}

  observe(labels: Record<L, string>, seconds: number): void {
    this.histogram.observe(labels, seconds);
    const value = labels[this.by];
    let recent = this.recent.get(value);
    if (recent === undefined) {
      recent = new RecentTimes(this.clock);
      this.recent.set(value, recent);
    }
    recent.observe(seconds);
  }
}

/** The server's Prometheus metrics. One per server, so that several in one process keep apart. */
export function createMetrics(clock: Clock = () => performance.now()) {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const seconds = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.012, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
  const loopDelay = monitorEventLoopDelay({ resolution: 20 });
  loopDelay.enable();
  return {
    registry,
    requests: new CountedBy(
      new Counter({
        name: 'larr_http_requests_total',
        help: 'Requests answered, by route, method and status',
        labelNames: ['route', 'method', 'status'] as const,
        registers,
      }),
      'status',
      clock,
    ),
    latency: new TimedBy(
      new Histogram({
        name: 'larr_http_request_seconds',
        help: "Time from a request's arrival to its reply",
        labelNames: ['route'] as const,
        buckets: seconds,
        registers,
      }),
      'route',
      clock,
    ),
    stages: new TimedBy(
      new Histogram({
        name: 'larr_rank_stage_seconds',
        help: 'Time of a ranking by stage',
        labelNames: ['stage'] as const,
        buckets: [0.0001, 0.00025, ...seconds],
        registers,
      }),
      'stage',
      clock,
    ),
    candidates: new Counted(
      new Counter({ name: 'larr_candidates_total', help: 'Candidates ranked', registers }),
      clock,
    ),
    fallbacks: new CountedBy(
      new Counter({
        name: 'larr_fallbacks_total',
        help: 'Unknown users, POIs, scene texts and feature values, and scene columns left out, that were ranked through their fallback',
        labelNames: ['kind'] as const,
        registers,
      }),
      'kind',
      clock,
    ),
    events: new Counter({
      name: 'larr_events_total',
      help: 'Events acknowledged: written, or known already',
      labelNames: ['outcome'] as const,
      registers,
    }),
    damagedLines: new Gauge({
      name: 'larr_event_log_bad_lines',
      help: 'Lines of the event log that were no events when it was opened: skipped, or torn at its end and set aside',
      labelNames: ['what'] as const,
      registers,
    }),
    forwarded: new Counter({
      name: 'larr_events_forwarded_total',
      help: 'Events that a sink has taken, tries that failed, and lines that are no events and were skipped',
      labelNames: ['sink', 'outcome'] as const,
      registers,
    }),
    exposures: new Counter({
      name: 'larr_exposures_total',
      help: "Users' first exposures to experiments: written to the event log, or failed to be",
      labelNames: ['outcome'] as const,
      registers,
    }),
    refused: new CountedBy(
      new Counter({
        name: 'larr_refused_total',
        help: 'Requests refused before their route was asked: keys, scopes, rates, origins',
        labelNames: ['reason'] as const,
        registers,
      }),
      'reason',
      clock,
    ),
    reloads: new Counter({
      name: 'larr_reloads_total',
      help: 'Bundles, key files and certificates loaded again while serving, by outcome',
      labelNames: ['what', 'outcome'] as const,
      registers,
    }),
    drift: new Gauge({
      name: 'larr_score_drift_psi',
      help: "Population stability index of the last five minutes' scores against those of the bundle's test rows (docs/operations.md)",
      labelNames: ['bundle', 'task'] as const,
      registers,
    }),
    /** how long work had to wait for the main thread, nanoseconds, since this was last reset */
    loopDelay,
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
