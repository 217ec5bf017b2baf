import { z } from 'zod';
import { Id, ModelIdentity, Probability, Scene } from './common.js';
import { Fallbacks } from './rank.js';

/** Most contexts in one request. */
const MOST_CONTEXTS = 64;

/** Request body of `POST /v1/score`. */
export function scoreRequest(maxCandidates: number) {
  return z
    .strictObject({
      requests: z
        .array(
          z.strictObject({
            user: Id,
            scene: Scene.default({}),
            candidates: z
              .array(Id)
              .min(1)
              .max(maxCandidates)
              .meta({ description: 'POI ids to score; answers come in this order.' }),
          }),
        )
        .min(1)
        .max(MOST_CONTEXTS)
        .meta({ description: 'Users in scenes, each with candidates of its own.' }),
      bundle: z.string().max(64).optional().meta({ description: 'Alias of a loaded bundle that shall answer.' }),
    })
    .meta({ id: 'ScoreRequest' });
}
export type ScoreBody = z.infer<ReturnType<typeof scoreRequest>>;

/** Reply of `POST /v1/score`. */
export const ScoreReply = z
  .object({
    requestId: z.string(),
    model: ModelIdentity,
    results: z.array(
      z.object({
        pCtr: z.array(Probability).meta({ description: 'In the order of the candidates.' }),
        pCtcvr: z.array(Probability).nullable().meta({ description: 'null where the model learnt no orders.' }),
        fallbacks: Fallbacks,
      }),
    ),
  })
  .meta({ id: 'ScoreReply' });
