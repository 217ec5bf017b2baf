import { z } from 'zod';
import { Id, ModelIdentity, Probability, Scene } from './common.js';
import { RecallMatch, recallOf } from './recall.js';

/** Request body of `POST /v1/rank`. */
export function rankRequest(maxCandidates: number) {
  return z
    .strictObject({
      user: Id.meta({ description: 'User id as in the training data. An unknown one is ranked as a new user.' }),
      scene: Scene.default({}),
      candidates: z
        .array(Id)
        .min(1)
        .max(maxCandidates)
        .meta({ description: 'POI ids to rank, each once. Unknown ones are ranked as new POIs.', uniqueItems: true })
        .optional(),
      recall: recallOf(maxCandidates).optional().meta({
        description:
          'Instead of candidates: rank the POIs that suit this text, or the user and scene where there is none.',
      }),
      k: z
        .int()
        .min(1)
        .max(maxCandidates)
        .optional()
        .meta({ description: 'How many of the best to return; all by default.' }),
      by: z
        .enum(['pCtr', 'pCtcvr'])
        .optional()
        .meta({ description: 'Which probability ranks: pCtcvr where the model learnt orders, else pCtr, by default.' }),
      bundle: z.string().max(64).optional().meta({
        description: 'Alias of a loaded bundle that shall answer instead of the current one.',
      }),
      explain: z.boolean().optional().meta({
        description: "Adds each POI's attention per scene keyword (only for models that use scene embeddings).",
      }),
    })
    .meta({ id: 'RankRequest' });
}
export type RankRequest = z.infer<ReturnType<typeof rankRequest>>;

/** One ranked POI. */
export const RankedPoi = z
  .object({
    poi: z.string(),
    rank: z.int().min(1),
    score: Probability.meta({ description: 'The probability that ranked it.' }),
    pCtr: Probability.meta({ description: 'Probability of a click.' }),
    pCtcvr: Probability.nullable().meta({
      description: 'Probability of a click and an order; null where the model learnt no orders.',
    }),
    attention: z.record(z.string(), z.number()).optional().meta({
      description:
        'Share of attention per scene keyword present, mean over heads; what is missing to 1 stays with the aggregation token.',
    }),
  })
  .meta({ id: 'RankedPoi' });
export type RankedPoi = z.infer<typeof RankedPoi>;

/** What a request named that the model has never seen, and what was used in its place. */
export const Fallbacks = z
  .object({
    user: z.boolean().meta({
      description:
        'Nothing was known of the user: all that their record would say counted as missing. The id itself is still looked up: one that training had keeps its embedding.',
    }),
    store: z.literal(true).optional().meta({
      description:
        "The online store does not answer, so the user's features, history and statistics count as missing for now; scores may differ from a new user's, as the embedding of a known id still counts.",
    }),
    pois: z
      .array(z.string())
      .meta({ description: 'Unknown candidates: index 0 ("unseen") and missing features were used.' }),
    scene: z
      .array(z.object({ field: z.string(), text: z.string() }))
      .meta({ description: 'Scene texts without an embedding: their keyword was treated as missing.' }),
    features: z.array(z.object({ feature: z.string(), value: z.string() })).meta({
      description: 'Values of scene columns that an ID feature never had in training: index 0 ("unseen") was used.',
    }),
    missing: z.array(z.string()).optional().meta({
      description:
        'Scene columns that the model reads and the request left out: they counted as missing. One that is given as null is not among them; left out where nothing was.',
    }),
  })
  .meta({ id: 'Fallbacks' });
export type Fallbacks = z.infer<typeof Fallbacks>;

/** Reply of `POST /v1/rank`. */
export const RankReply = z
  .object({
    requestId: z.string(),
    model: ModelIdentity,
    ranked: z.array(RankedPoi),
    fallbacks: Fallbacks,
    recall: RecallMatch.optional().meta({ description: 'Where candidates were recalled: what was understood.' }),
    experiments: z
      .array(z.object({ experiment: z.string(), arm: z.string() }))
      .optional()
      .meta({ description: 'The experiments that the ranking was made under; left out by a server without any.' }),
  })
  .meta({ id: 'RankReply' });
export type RankReply = z.infer<typeof RankReply>;
