import { z } from 'zod';
import { ModelIdentity } from './common.js';

const Times = z.object({
  count: z.int().min(0),
  p50: z.number().nullable(),
  p95: z.number().nullable(),
  p99: z.number().nullable(),
});

/** Reply of `GET /v1/admin/health`: the last five minutes in figures. All times are milliseconds, all memory bytes. */
export const HealthReport = z
  .object({
    requestId: z.string(),
    at: z.string().meta({ description: 'When this was so, ISO 8601 in UTC.' }),
    status: z.enum(['ready', 'loading', 'stopping', 'failed']),
    model: ModelIdentity.nullable(),
    uptimeSeconds: z.number(),
    window: z.object({
      seconds: z.number().meta({ description: 'What the figures cover: five minutes, or less after a start.' }),
      slotSeconds: z.number(),
    }),
    requests: z.object({
      total: z.int(),
      perSecond: z.number(),
      byStatus: z.record(z.string(), z.int()),
      failed: z.int().meta({ description: 'Answers of 500 and above.' }),
    }),
    candidatesPerSecond: z.number(),
    routes: z.array(Times.extend({ route: z.string() })),
    stages: z.array(Times.extend({ stage: z.string() })),
    series: z
      .array(
        z.object({
          at: z.string().meta({ description: 'When the slot begins.' }),
          requests: z.int(),
          failed: z.int(),
          candidates: z.int(),
          p50: z.number().nullable(),
          p99: z.number().nullable(),
        }),
      )
      .meta({ description: 'Slot by slot, oldest first; the last is still filling. Times are those of /v1/rank.' }),
    queue: z.object({ rows: z.int().meta({ description: 'Candidates that wait for the ranker now.' }) }),
    fallbacks: z.record(z.string(), z.int()),
    refused: z.record(z.string(), z.int()),
    drift: z.array(z.object({ task: z.enum(['ctr', 'ctcvr']), psi: z.number().nullable(), scores: z.int() })).meta({
      description:
        "Population stability index of the window's scores against those of the bundle's test rows; null below 500 scores.",
    }),
    memory: z.object({ rss: z.number(), heapUsed: z.number(), heapTotal: z.number(), external: z.number() }),
    eventLoop: z.object({ p50: z.number(), p99: z.number(), max: z.number() }).meta({
      description: 'How long work had to wait for the main thread since this was last asked.',
    }),
  })
  .meta({ id: 'HealthReport' });
export type HealthReport = z.infer<typeof HealthReport>;
