/**
 * What several contracts share. Every contract is a zod schema; Fastify's validators, the OpenAPI document and the TypeScript types all
 * come from these, so they cannot disagree.
 */
import { z } from 'zod';

/** Longest id or text accepted anywhere; longer ones are mistakes or attacks. */
export const MAX_TEXT = 512;

/** An id: of a user, a POI, an event, a request. */
export const Id = z.string().min(1).max(MAX_TEXT);

const SceneValue = z.union([z.string().max(MAX_TEXT), z.number(), z.boolean(), z.null()]);

/** The moment a ranking is for: event columns of the dataset's schema, or texts of scene keywords, by name. */
export const Scene = z.record(z.string().min(1).max(128), SceneValue).meta({
  description:
    'The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene ' +
    'keyword gives that keyword its text directly. A list column is one text, its values joined with ", " as in training. What is left out is missing, not guessed. Latitudes lie between -90 and 90 degrees, ' +
    'longitudes between -360 and 360; others are refused.',
  maxProperties: 64,
});

export const Probability = z.number().min(0).max(1);

/** Which model answered. */
export const ModelIdentity = z
  .object({
    name: z.string(),
    bundle: z.string().meta({ description: "First 12 hex digits of the SHA-256 of the bundle's manifest." }),
  })
  .meta({ id: 'ModelIdentity' });
export type ModelIdentity = z.infer<typeof ModelIdentity>;

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
