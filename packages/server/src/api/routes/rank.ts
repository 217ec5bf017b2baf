import type { FastifyInstance } from 'fastify';
import { RankReply, type RankRequest, rankRequest } from '../contracts/index.js';
import { ApiError, modelFailed, notReady } from '../errors.js';
import { route } from '../operation.js';
import { JsonWriter, writeRanked } from '../reply-json.js';
import type { RouteContext } from '../state.js';

/** `POST /v1/rank`: candidates for a user in a scene, best first. */
export async function rankRoutes(
  app: FastifyInstance,
  { state: { models, experiments }, metrics, limits }: RouteContext,
): Promise<void> {
  const json = new JsonWriter();
  app.post<{ Body: RankRequest }>(
    '/v1/rank',
    {
      ...route({
        id: 'rank',
        summary: 'Ranks candidates for a user in a scene, best first',
        scope: 'rank',
        body: rankRequest(limits.candidates),
        replies: { 200: { description: 'The ranked candidates.', schema: RankReply } },
        examples: () => models.current?.examples ?? [],
      }),
      // A request that would be refused anyway should not wait for its body to be read and checked.
      preParsing: async () => {
        if (models.current === null) throw notReady();
        if (models.current.broken) throw modelFailed();
      },
    },
    async (request, reply) => {
      const { user, bundle } = request.body;
      // Who names a bundle looks at it, and is in no experiment.
      const assigned = experiments === null || bundle !== undefined ? [] : experiments.assign(user);
      const settings = assigned.length === 0 ? undefined : experiments!.settingsOf(assigned);
      const wanted = settings === undefined ? request.body : { ...request.body, ...settings.parameters };
      const { identity, ranked, fallbacks } = await models.use(bundle ?? settings?.bundle, async (model) => ({
        identity: model.identity,
        ...(await model.rank(wanted, (stage, seconds) => metrics.stages.observe({ stage }, seconds))),
      }));
      if (ranked.some(({ score, pCtr }) => !Number.isFinite(score) || !Number.isFinite(pCtr)))
        throw notFinite(request.body.scene);
      metrics.candidates.inc(request.body.candidates.length);
      if (fallbacks.user) metrics.fallbacks.inc({ kind: fallbacks.store === true ? 'store' : 'user' });
      if (fallbacks.pois.length > 0) metrics.fallbacks.inc({ kind: 'poi' }, fallbacks.pois.length);
      if (fallbacks.scene.length > 0) metrics.fallbacks.inc({ kind: 'scene' }, fallbacks.scene.length);
      if (fallbacks.features.length > 0) metrics.fallbacks.inc({ kind: 'feature' }, fallbacks.features.length);
      if (ranked[0] !== undefined) metrics.score.observe(ranked[0].score);
      json.raw(`{"requestId":${JSON.stringify(request.id)},"model":${JSON.stringify(identity)},"ranked":`);
      writeRanked(json, ranked);
      json.raw(`,"fallbacks":${JSON.stringify(fallbacks)}`);
      if (experiments !== null) {
        const arms = assigned.map(({ experiment, arm }) => ({ experiment: experiment.definition.name, arm: arm.name }));
        json.raw(`,"experiments":${JSON.stringify(arms)}`);
      }
      json.raw('}');
      const bytes = json.take();
      if (assigned.length > 0) await experiments!.exposed(user, assigned, identity.bundle, request.id);
      return reply.type('application/json; charset=utf-8').send(bytes);
    },
  );
}

/**
 * What to say where the ranker gave no numbers: a scene value that is far beyond all training values overflows inside it, and the largest is
 * named; without one it is the model's own trouble.
 */
function notFinite(scene: RankRequest['scene']): Error {
  const sizes = Object.entries(scene ?? {}).map(([name, value]) => ({ name, size: sizeOf(value) }));
  const largest = sizes.sort((a, b) => b.size - a.size)[0];
  if (largest === undefined || largest.size < SUSPICIOUS)
    return new Error('the ranker gave scores that are not numbers for ordinary values');
  const field = `scene.${largest.name}`;
  return new ApiError(
    400,
    'SCENE_VALUE_INVALID',
    `${field}: the number is so far from those that the model was trained on that it gives no score`,
    field,
  );
}

/** Nothing that is measured or counted is as large; times in microseconds are 2e15. */
const SUSPICIOUS = 1e16;

/** How far a value is from 0, as a number; 0 where it is none. */
function sizeOf(value: unknown): number {
  const size = typeof value === 'number' || typeof value === 'string' ? Math.abs(Number(value)) : 0;
  return Number.isNaN(size) ? 0 : size;
}
