import { ExperimentFields, METRICS } from '@larr/core';
import { z } from 'zod';
import { EXPERIMENT_STATES, ExperimentRecord } from '../../experiments/experiment-book.js';

const figure = z.number().nullable();
const Interval = z.tuple([z.number(), z.number()]).nullable();
const MetricName = z.enum(METRICS.map(({ name }) => name) as [string, ...string[]]);

/** Body of `PUT /v1/experiments/{name}`: a definition without its name, which the address has. */
export const ExperimentRequest = ExperimentFields.omit({ name: true }).meta({ id: 'ExperimentRequest' });
export type ExperimentRequest = z.infer<typeof ExperimentRequest>;

export const ExperimentAddress = z.strictObject({ name: z.string().max(64) });

/** An experiment and whether it can be given to users now. */
export const ExperimentReply = z
  .object({
    requestId: z.string(),
    experiment: ExperimentRecord,
    missingBundles: z.array(z.string()).meta({
      description: 'Aliases that its arms need and that are not loaded; while there are some, nobody is assigned.',
    }),
  })
  .meta({ id: 'ExperimentReply' });

export const ExperimentsReply = z
  .object({
    requestId: z.string(),
    holdout: z.object({
      share: z.number(),
      history: z.array(z.object({ at: z.string(), what: z.string() })),
    }),
    experiments: z.array(
      z.object({
        name: z.string(),
        description: z.string(),
        layer: z.string(),
        state: z.enum(EXPERIMENT_STATES),
        traffic: z.number(),
        arms: z.array(z.string()),
        primary: MetricName,
        startedAt: z.string().nullable(),
        stoppedAt: z.string().nullable(),
        missingBundles: z.array(z.string()),
      }),
    ),
  })
  .meta({ id: 'ExperimentsReply' });

/** Reply of `PUT /v1/holdout`. */
export const HoldoutReply = ExperimentsReply.pick({ requestId: true, holdout: true }).meta({ id: 'HoldoutReply' });

export const HoldoutRequest = z
  .strictObject({
    share: z.number().min(0).max(1).meta({ description: 'Share of all users that are in no experiment.' }),
  })
  .meta({ id: 'HoldoutRequest' });
export type HoldoutRequest = z.infer<typeof HoldoutRequest>;

const Test = z.object({
  difference: Interval.meta({ description: 'treatment − control' }),
  lift: Interval.meta({ description: 'treatment / control − 1' }),
  p: figure,
});

const Effect = z.object({
  difference: z.number(),
  lift: figure,
  fixed: Test.meta({ description: 'For one look at the planned end.' }),
  sequential: Test.meta({ description: 'Always valid: may be looked at every day.' }),
});

const ArmFigures = z.object({
  arm: z.string(),
  users: z.number(),
  impressions: z.number(),
  clicks: z.number(),
  orders: z.number(),
  gmv: z.number(),
  metrics: z.record(MetricName, z.object({ value: z.number(), standardError: figure }).nullable()),
});

const Figures = z.object({
  arms: z.array(ArmFigures),
  sampleRatio: z.object({
    chiSquareP: z.number(),
    p: z.number().meta({ description: 'always valid' }),
    alarm: z.boolean().meta({ description: 'p < .001: assignment or logging is broken.' }),
  }),
  comparisons: z.array(
    z.object({
      metric: MetricName,
      treatment: z.string(),
      effect: Effect.nullable(),
      cuped: Effect.extend({
        varianceReduction: z.number().meta({ description: 'Share of the variance that the pre-period took away.' }),
      }).nullable(),
    }),
  ),
});

/** Reply of `GET /v1/experiments/{name}/report`. */
export const ReportReply = z
  .object({
    requestId: z.string(),
    experiment: ExperimentRecord,
    asOf: z.string(),
    days: z.array(z.object({ day: z.string(), figures: Figures })).meta({
      description: 'Each day (UTC) with everything up to it.',
    }),
    verdicts: z.array(
      z.object({
        treatment: z.string(),
        metric: MetricName,
        outcome: z.enum(['better', 'worse', 'open', 'broken']).meta({
          description: 'By the always-valid test of the primary metric; broken: the sample-ratio alarm went off.',
        }),
        since: z.string().nullable(),
        p: figure,
      }),
    ),
    unreadableLines: z.int().meta({
      description:
        'Lines of the event log that could not be read, and are in no figure; `larr events compact` names the first.',
    }),
    usersNeeded: figure.meta({
      description:
        "Users of the control that one look at the end needs to find the primary metric's smallest lift with power .8.",
    }),
  })
  .meta({ id: 'ReportReply' });
