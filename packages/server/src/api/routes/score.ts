import type { FastifyInstance } from 'fastify';
import { type ScoreBody, ScoreReply, scoreRequest } from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import { JsonWriter } from '../reply-json.js';
import type { RouteContext } from '../state.js';
import { countFallbacks, ready } from './answering.js';

/** `POST /v1/score`: candidates of several users or scenes in one call, in their order. */
export async function scoreRoutes(app: FastifyInstance, { state, metrics, limits }: RouteContext): Promise<void> {
  const { models, unseen } = state;
  const json = new JsonWriter();
  app.post<{ Body: ScoreBody }>(
    '/v1/score',
    {
      ...route({
        id: 'score',
        summary: 'Scores candidates of several users or scenes, in the order they were given',
        scope: 'rank',
        body: scoreRequest(limits.candidates),
        replies: { 200: { description: 'The probabilities.', schema: ScoreReply } },
        examples: () => {
          const examples = models.current?.examples ?? [];
          return examples.length === 0 ? [] : [{ requests: examples }];
        },
      }),
      preParsing: ready(models),
    },
    async (request, reply) => {
      const { requests, bundle } = request.body;
      const rows = requests.reduce((sum, { candidates }) => sum + candidates.length, 0);
      if (rows > 4 * limits.candidates) {
        const message = `requests: ${rows} candidates in all; at most ${4 * limits.candidates} are scored in one call`;
        throw new ApiError(400, 'BODY_INVALID', message, 'requests');
      }
      const { identity, results } = await models.use(bundle, async (model) => ({
        identity: model.identity,
        results: await model.score(requests, (stage, seconds) => metrics.stages.observe({ stage }, seconds)),
      }));
      metrics.candidates.inc(rows);
      json.raw(`{"requestId":${JSON.stringify(request.id)},"model":${JSON.stringify(identity)},"results":[`);
      for (const [i, { pCtr, pCtcvr, fallbacks }] of results.entries()) {
        if (!pCtr.every(Number.isFinite)) {
          json.take();
          const field = `requests[${i}].scene`;
          throw new ApiError(
            400,
            'SCENE_VALUE_INVALID',
            `${field}: a value is so far from training that it gives no score`,
            field,
          );
        }
        countFallbacks(fallbacks, metrics);
        unseen?.add(fallbacks.scene);
        json.raw(i === 0 ? '{"pCtr":' : ',{"pCtr":');
        writeProbabilities(json, pCtr);
        json.raw(',"pCtcvr":');
        if (pCtcvr === null) json.raw('null');
        else writeProbabilities(json, pCtcvr);
        json.raw(`,"fallbacks":${JSON.stringify(fallbacks)}}`);
      }
      json.raw(']}');
      return reply.type('application/json; charset=utf-8').send(json.take());
    },
  );
}

function writeProbabilities(json: JsonWriter, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    json.raw(i === 0 ? '[' : ',');
    json.probability(values[i]!);
  }
  json.raw(']');
}
