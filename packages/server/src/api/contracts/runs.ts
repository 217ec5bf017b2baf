import { z } from 'zod';

const RunShape = z.object({
  id: z.string().meta({ description: 'The path below the directory with ~ for /.' }),
  path: z.string(),
  stage: z.string().nullable(),
  dataset: z.string().nullable(),
  model: z.string().nullable(),
  seeds: z.array(z.number()),
  startedAt: z.string().nullable(),
  finishedAt: z.string().nullable(),
  outcome: z
    .string()
    .nullable()
    .meta({ description: 'running, finished, stopped or failed; of a killed run, running.' }),
  error: z.string().nullable(),
  changedAt: z.string().meta({ description: 'When a file of the run last changed.' }),
  report: z.boolean(),
  metrics: z.boolean(),
});

/** One run of the list. */
export const RunSummary = RunShape.meta({ id: 'RunSummary' });
export type RunSummary = z.infer<typeof RunSummary>;

/** Reply of `GET /v1/runs`, the latest first. */
export const RunsReply = z.object({ requestId: z.string(), runs: z.array(RunSummary) }).meta({ id: 'RunsReply' });
export type RunsReply = z.infer<typeof RunsReply>;

/** Fields of `GET /v1/runs/{id}`. */
export const RunQuery = z.strictObject({
  rows: z.coerce.number().int().min(1).max(20_000).default(2000).meta({
    description: 'At most this many rows of metrics; of more, evenly spaced ones.',
  }),
});
export const RunParams = z.object({ id: z.string().min(1).max(256) });

/** Reply of `GET /v1/runs/{id}`: what run.json says, without paths of the machine, and the rows of metrics.jsonl. */
export const RunReply = z
  .object({
    requestId: z.string(),
    run: RunShape.extend({
      device: z.string().nullable(),
      threads: z.number().nullable(),
      versions: z.record(z.string(), z.unknown()),
      command: z.array(z.string()),
      config: z.unknown(),
      sittings: z.array(
        z.object({
          startedAt: z.string(),
          endedAt: z.string().nullable(),
          outcome: z.string(),
          error: z.string().nullable(),
        }),
      ),
      inputs: z.array(z.string()),
    }),
    metrics: z.object({ rows: z.array(z.record(z.string(), z.unknown())), total: z.int() }).nullable(),
  })
  .meta({ id: 'RunReply' });
export type RunReply = z.infer<typeof RunReply>;
