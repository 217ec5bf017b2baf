/**
 * The shapes of every request and reply. Each is a zod schema; Fastify's validators, the OpenAPI document and the TypeScript types all
 * come from these, so they cannot disagree.
 */
import { z } from 'zod';

/** Longest id or text accepted anywhere; longer ones are mistakes or attacks. */
const MAX_TEXT = 512;

const id = z.string().min(1).max(MAX_TEXT);

const SceneValue = z.union([z.string().max(MAX_TEXT), z.number(), z.boolean(), z.null()]);

/** The moment a ranking is for: event columns of the dataset's schema, or texts of scene keywords, by name. */
export const Scene = z.record(z.string().min(1).max(128), SceneValue).meta({
  description:
    'The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene ' +
    'keyword gives that keyword its text directly. What is left out is missing, not guessed.',
  maxProperties: 64,
});

/** Request body of `POST /v1/rank`. */
export function rankRequest(maxCandidates: number) {
  return z
    .strictObject({
      user: id.meta({ description: 'User id as in the training data. An unknown one is ranked as a new user.' }),
      scene: Scene.default({}),
      candidates: z
        .array(id)
        .min(1)
        .max(maxCandidates)
        .meta({ description: 'POI ids to rank, each once. Unknown ones are ranked as new POIs.', uniqueItems: true }),
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
      explain: z.boolean().optional().meta({
        description: "Adds each POI's attention per scene keyword (only for models that use scene embeddings).",
      }),
    })
    .meta({ id: 'RankRequest' });
}
export type RankRequest = z.infer<ReturnType<typeof rankRequest>>;

const probability = z.number().min(0).max(1);

/** One ranked POI. */
export const RankedPoi = z
  .object({
    poi: z.string(),
    rank: z.int().min(1),
    score: probability.meta({ description: 'The probability that ranked it.' }),
    pCtr: probability.meta({ description: 'Probability of a click.' }),
    pCtcvr: probability
      .nullable()
      .meta({ description: 'Probability of a click and an order; null where the model learnt no orders.' }),
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
    user: z.boolean().meta({ description: 'The user is unknown: index 0 ("unseen") and missing features were used.' }),
    pois: z
      .array(z.string())
      .meta({ description: 'Unknown candidates: index 0 ("unseen") and missing features were used.' }),
    scene: z
      .array(z.object({ field: z.string(), text: z.string() }))
      .meta({ description: 'Scene texts without an embedding: their keyword was treated as missing.' }),
    features: z.array(z.object({ feature: z.string(), value: z.string() })).meta({
      description: 'Values of scene columns that an ID feature never had in training: index 0 ("unseen") was used.',
    }),
  })
  .meta({ id: 'Fallbacks' });
export type Fallbacks = z.infer<typeof Fallbacks>;

/** Which model answered. */
export const ModelIdentity = z
  .object({
    name: z.string(),
    bundle: z.string().meta({ description: "First 12 hex digits of the SHA-256 of the bundle's manifest." }),
  })
  .meta({ id: 'ModelIdentity' });
export type ModelIdentity = z.infer<typeof ModelIdentity>;

/** Reply of `POST /v1/rank`. */
export const RankReply = z
  .object({
    requestId: z.string(),
    model: ModelIdentity,
    ranked: z.array(RankedPoi),
    fallbacks: Fallbacks,
  })
  .meta({ id: 'RankReply' });
export type RankReply = z.infer<typeof RankReply>;

/** What happened after a ranking: shown, clicked, ordered. */
export const EventInput = z
  .strictObject({
    id: id.meta({ description: "The client's own id of the event: sent again, it is written once." }),
    type: z.enum(['impression', 'click', 'order']),
    user: id,
    poi: id,
    time: id.meta({ description: 'When it happened, ISO 8601, on the clock of the place.' }),
    requestId: id.optional().meta({ description: 'requestId of the ranking that it follows.' }),
    position: z.int().min(1).optional().meta({ description: 'Place in the list that was shown, from 1.' }),
    value: z.number().optional().meta({ description: 'What an order was worth.' }),
    scene: Scene.optional(),
  })
  .meta({ id: 'EventInput' });
export type EventInput = z.infer<typeof EventInput>;

/** Request body of `POST /v1/events`. */
export const EventsRequest = z
  .strictObject({ events: z.array(EventInput).min(1).max(1000) })
  .meta({ id: 'EventsRequest' });
export type EventsRequest = z.infer<typeof EventsRequest>;

/** Reply of `POST /v1/events`: the events are on the disk. */
export const EventsReply = z
  .object({
    requestId: z.string(),
    accepted: z.int().min(0),
    duplicates: z.int().min(0).meta({ description: 'Events whose id was known already; not written again.' }),
  })
  .meta({ id: 'EventsReply' });

/** Every answer that is not a success. */
export const ErrorReply = z
  .object({
    error: z.object({
      code: z.string(),
      message: z.string(),
      field: z.string().optional().meta({ description: 'Where in the request, as in candidates[3].' }),
    }),
    requestId: z.string(),
  })
  .meta({ id: 'ErrorReply' });
export type ErrorReply = z.infer<typeof ErrorReply>;

/** Reply of `/healthz`: the process answers. */
export const Health = z.object({ status: z.literal('ok') }).meta({ id: 'Health' });

/** Reply of `/readyz`: whether rank requests will be answered. */
export const Readiness = z
  .object({ status: z.enum(['ready', 'loading', 'stopping', 'failed']), model: ModelIdentity.optional() })
  .meta({ id: 'Readiness' });
export type Readiness = z.infer<typeof Readiness>;

/** JSON schema of a contract in the dialect that Fastify validates and serialises with. */
export function fastifySchema(schema: z.ZodType, io: 'input' | 'output'): object {
  const {
    $schema: _,
    id: __,
    ...json
  } = z.toJSONSchema(schema, { target: 'draft-7', io, reused: 'inline', override: dropId });
  return json;
}

/** Fastify resolves `$ref`s itself and takes an `id` for one: inline schemas carry none. */
function dropId({ jsonSchema }: { jsonSchema: { id?: string } }): void {
  delete jsonSchema.id;
}
