import { ExperimentDefinition } from '@larr/core';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ExperimentRecord } from '../../experiments/experiment-book.js';
import {
  ExperimentAddress,
  ExperimentReply,
  ExperimentRequest,
  ExperimentsReply,
  HoldoutReply,
  HoldoutRequest,
  ReportReply,
} from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

type Named = { Params: { name: string } };

const EXAMPLE = {
  description: 'the new model against the one before',
  arms: [{ name: 'control' }, { name: 'by-clicks', parameters: { by: 'pCtr' } }],
  traffic: 0.1,
};

/** Experiments: what there is and what they say (`read`), making and running them (`admin`). */
export async function experimentRoutes(app: FastifyInstance, { state: { experiments } }: RouteContext): Promise<void> {
  if (experiments === null) return;
  const { book } = experiments;
  const reply = (request: FastifyRequest, experiment: ExperimentRecord) => ({
    requestId: request.id,
    experiment,
    missingBundles: experiments.missingBundles(experiment),
  });
  const one = { 200: { description: 'The experiment.', schema: ExperimentReply } };

  app.get(
    '/v1/experiments',
    route({
      id: 'experiments',
      summary: 'All experiments, and the share of users that are in none',
      scope: 'read',
      replies: { 200: { description: 'The experiments.', schema: ExperimentsReply } },
    }),
    async (request) => ({
      requestId: request.id,
      holdout: book.holdout,
      experiments: book.experiments.map((experiment) => {
        const { name, description, layer, traffic, arms, primary } = experiment.definition;
        const { state, startedAt, stoppedAt } = experiment;
        const missingBundles = experiments.missingBundles(experiment);
        const armNames = arms.map((arm) => arm.name);
        return {
          name,
          description,
          layer,
          state,
          traffic,
          arms: armNames,
          primary,
          startedAt,
          stoppedAt,
          missingBundles,
        };
      }),
    }),
  );

  app.get<Named>(
    '/v1/experiments/:name',
    route({
      id: 'experiment',
      summary: 'An experiment with its history',
      scope: 'read',
      params: ExperimentAddress,
      replies: one,
    }),
    async (request) => reply(request, book.get(request.params.name)),
  );

  app.get<Named>(
    '/v1/experiments/:name/report',
    route({
      id: 'experimentReport',
      summary: 'What an experiment says, day by day: figures, lifts with intervals, alarms',
      scope: 'read',
      params: ExperimentAddress,
      replies: { 200: { description: 'The report, at most five seconds old.', schema: ReportReply } },
    }),
    async (request) => ({ requestId: request.id, ...(await experiments.report(request.params.name)) }),
  );

  app.put<Named & { Body: ExperimentRequest }>(
    '/v1/experiments/:name',
    route({
      id: 'putExperiment',
      summary: 'Makes a draft, changes one, or changes the traffic of an experiment that runs',
      scope: 'admin',
      params: ExperimentAddress,
      body: ExperimentRequest,
      replies: one,
      examples: () => [EXAMPLE],
    }),
    async (request) => reply(request, await book.put(definitionOf(request.params.name, request.body))),
  );

  app.delete<Named>(
    '/v1/experiments/:name',
    route({
      id: 'deleteExperiment',
      summary: 'Forgets a draft or a stopped experiment',
      scope: 'admin',
      params: ExperimentAddress,
      replies: one,
    }),
    async (request) => reply(request, await book.remove(request.params.name)),
  );

  const steps = {
    start: { summary: 'Starts a draft, or a paused experiment again', run: (name: string) => experiments.start(name) },
    pause: {
      summary: 'Gives an experiment to nobody until it is started again',
      run: (name: string) => book.pause(name),
    },
    stop: { summary: 'Ends an experiment for good', run: (name: string) => book.stop(name) },
  };
  for (const [step, { summary, run }] of Object.entries(steps))
    app.post<Named>(
      `/v1/experiments/:name/${step}`,
      route({ id: `${step}Experiment`, summary, scope: 'admin', params: ExperimentAddress, replies: one }),
      async (request) => reply(request, await run(request.params.name)),
    );

  app.put<{ Body: HoldoutRequest }>(
    '/v1/holdout',
    route({
      id: 'putHoldout',
      summary: 'Holds a share of all users out of every experiment',
      scope: 'admin',
      body: HoldoutRequest,
      replies: {
        200: { description: 'The share.', schema: HoldoutReply },
      },
      examples: () => [{ share: 0.05 }],
    }),
    async (request) => {
      await book.setHoldout(request.body.share);
      return { requestId: request.id, holdout: book.holdout };
    },
  );
}

/** The checks that a JSON schema cannot say: the name in the address, and arms of different names. */
function definitionOf(name: string, body: ExperimentRequest): ExperimentDefinition {
  const parsed = ExperimentDefinition.safeParse({ ...body, name });
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const field = issue.path.map(String).join('.');
  throw new ApiError(400, 'BODY_INVALID', `${field}: ${issue.message}`, field);
}
