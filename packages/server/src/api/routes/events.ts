import { localTime } from '@larr/core';
import type { FastifyInstance } from 'fastify';
import { OWN_EVENTS } from '../../experiments/exposures.js';
import type { RankingModel, SceneValues } from '../../ranking/ranking-model.js';
import { EventsReply, EventsRequest } from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

const EXAMPLE = {
  events: [{ id: 'e-1', type: 'click', user: 'u1', poi: 'p1', time: '2026-01-10T12:11:00', position: 1 }],
};

/** How far events may lie after the server's clock: a place's own is up to 14 hours ahead of UTC, and clocks go wrong. */
const LATEST_MS = 24 * 60 * 60 * 1000;

/** `POST /v1/events`, where there is a log for them. */
export async function eventRoutes(
  app: FastifyInstance,
  { state: { events, models }, metrics }: RouteContext,
): Promise<void> {
  if (events === null) return;
  app.post<{ Body: EventsRequest }>(
    '/v1/events',
    route({
      id: 'events',
      summary: 'Takes impressions, clicks and orders; answers when they are on the disk',
      scope: 'events',
      body: EventsRequest,
      replies: { 200: { description: 'They are on the disk.', schema: EventsReply } },
      examples: () => [EXAMPLE],
    }),
    async (request) => {
      const now = Date.now();
      request.body.events.forEach(({ time }, i) => {
        const field = `events[${i}].time`;
        const at = localTime(time);
        // Digits alone would be read as seconds or milliseconds, whichever they look like.
        if (at === null || /^-?\d+(\.\d+)?$/.test(time))
          throw new ApiError(400, 'BODY_INVALID', `${field} is not a time; ISO 8601 is expected`, field);
        if (at > now + LATEST_MS)
          throw new ApiError(
            400,
            'BODY_INVALID',
            `${field} is more than a day after the server's clock (${new Date(now).toISOString()}), and what has not happened is no event`,
            field,
          );
      });
      request.body.events.forEach(({ id }, i) => {
        if (!id.startsWith(OWN_EVENTS)) return;
        const field = `events[${i}].id`;
        throw new ApiError(
          400,
          'BODY_INVALID',
          `${field} begins with ${OWN_EVENTS}, as only the server's own do`,
          field,
        );
      });
      const readers = models.loaded.map(({ model }) => model);
      request.body.events.forEach(({ scene }, i) => {
        if (scene !== undefined) checkScene(scene, readers, `events[${i}]`);
      });
      const received = new Date().toISOString();
      const appended = await events.append(request.body.events.map((event) => ({ ...event, received })));
      metrics.events.inc({ outcome: 'accepted' }, appended.accepted);
      metrics.events.inc({ outcome: 'duplicate' }, appended.duplicates);
      return { requestId: request.id, ...appended };
    },
  );
}

/**
 * Whether any of the loaded models reads a scene; the first says what is wrong with it. While none is loaded, scenes are taken as they
 * come: an event that is turned away is lost.
 * @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID (400), with the place of the event before the field
 */
function checkScene(scene: SceneValues, models: readonly RankingModel[], place: string): void {
  let first: ApiError | null = null;
  for (const model of models) {
    try {
      model.checkScene(scene);
      return;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      first ??= error;
    }
  }
  if (first === null) return;
  throw new ApiError(first.status, first.code, `${place}.${first.message}`, `${place}.${first.field}`);
}
