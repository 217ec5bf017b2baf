import type { FastifyInstance } from 'fastify';
import { type RecallBody, RecallReply, recallRequest } from '../contracts/index.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';
import { ready } from './answering.js';

/** `POST /v1/recall`: POIs that suit a text, a scene or a user. */
export async function recallRoutes(app: FastifyInstance, { state: { models }, limits }: RouteContext): Promise<void> {
  app.post<{ Body: RecallBody }>(
    '/v1/recall',
    {
      ...route({
        id: 'recall',
        summary: 'Finds POIs that suit a text, a scene or a user, nearest first',
        scope: 'rank',
        body: recallRequest(limits.candidates),
        replies: { 200: { description: 'The POIs, and what was understood.', schema: RecallReply } },
      }),
      preParsing: ready(models),
    },
    async ({ body: { bundle, ...wanted }, id }) =>
      models.use(bundle, async (model) => ({
        requestId: id,
        model: model.identity,
        ...(await model.recall(wanted)),
      })),
  );
}
