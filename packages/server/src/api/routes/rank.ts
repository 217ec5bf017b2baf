import type { FastifyInstance } from 'fastify';
import type { RankingModel, RankingRequest, RecallAnswer } from '../../ranking/ranking-model.js';
import { RankReply, type RankRequest, rankRequest } from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import { JsonWriter, writeRanked } from '../reply-json.js';
import type { RouteContext } from '../state.js';
import { countFallbacks, ready } from './answering.js';

/** `POST /v1/rank`: candidates for a user in a scene, best first. */
export async function rankRoutes(
  app: FastifyInstance,
  { state: { models, experiments, unseen }, metrics, limits }: RouteContext,
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
      preParsing: ready(models),
    },
    async (request, reply) => {
      const { user, bundle } = request.body;
      // Who names a bundle looks at it, and is in no experiment.
      const assigned = experiments === null || bundle !== undefined ? [] : experiments.assign(user);
      const settings = assigned.length === 0 ? undefined : experiments!.settingsOf(assigned);
      const wanted = settings === undefined ? request.body : { ...request.body, ...settings.parameters };
      const { identity, recalled, ranked, fallbacks } = await models.use(bundle ?? settings?.bundle, async (model) => {
        const { candidates, recalled } = await candidatesOf(request.body, model);
        metrics.candidates.inc(candidates.length);
        const answer = await model.rank({ ...wanted, candidates }, (stage, seconds) =>
          metrics.stages.observe({ stage }, seconds),
        );
        return { identity: model.identity, recalled, ...answer };
      });
      if (ranked.some(({ score, pCtr }) => !Number.isFinite(score) || !Number.isFinite(pCtr)))
        throw notFinite(request.body.scene);
      countFallbacks(fallbacks, metrics);
      unseen?.add(fallbacks.scene);
      if (ranked[0] !== undefined) metrics.score.observe(ranked[0].score);
      json.raw(`{"requestId":${JSON.stringify(request.id)},"model":${JSON.stringify(identity)},"ranked":`);
      writeRanked(json, ranked);
      json.raw(`,"fallbacks":${JSON.stringify(fallbacks)}`);
      if (recalled !== null) {
        const { matched, common, unmatched } = recalled;
        json.raw(`,"recall":${JSON.stringify({ matched, common, unmatched })}`);
      }
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
 * The candidates that a request names, or those that it wants recalled: by its text, else by its user and scene.
 * @throws ApiError BODY_INVALID (400) where it has both or neither, and those of recall
 */
async function candidatesOf(
  { user, scene, candidates, recall }: RankRequest,
  model: RankingModel,
): Promise<{ candidates: RankingRequest['candidates']; recalled: RecallAnswer | null }> {
  if ((candidates === undefined) === (recall === undefined)) {
    const message = `candidates: ${candidates === undefined ? 'is missing; give them, or recall' : 'give them or recall, not both'}`;
    throw new ApiError(400, 'BODY_INVALID', message, 'candidates');
  }
  if (candidates !== undefined) return { candidates, recalled: null };
  const { text, k } = recall!;
  const like = text === undefined ? { user, scene } : { text, scene: {} };
  const recalled = await model.recall({ ...like, k, within: {} });
  return { candidates: recalled.pois.map(({ poi }) => poi), recalled };
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
