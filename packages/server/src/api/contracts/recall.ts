import { z } from 'zod';
import { Id, ModelIdentity, Scene } from './common.js';

const RecallText = z.string().min(1).max(512).meta({
  description:
    "What to look for, in words. No language model reads them: known terms of POIs' and scenes' texts are found in them, and the answer says which.",
});

/** The candidates of a ranking, recalled. */
export function recallOf(maxCandidates: number) {
  return z.strictObject({
    text: RecallText.optional(),
    k: z.int().min(1).max(maxCandidates).default(Math.min(500, maxCandidates)),
  });
}

/** Request body of `POST /v1/recall`. */
export function recallRequest(maxCandidates: number) {
  return z
    .strictObject({
      text: RecallText.optional(),
      user: Id.optional().meta({ description: 'POIs like those of their history.' }),
      scene: Scene.default({}),
      k: z.int().min(1).max(maxCandidates).default(Math.min(10, maxCandidates)),
      within: z.record(z.string().min(1).max(128), z.string().max(512)).default({}).meta({
        description: "Columns of POIs, and the value each must have, as in {city: 'london'}.",
        maxProperties: 8,
      }),
      bundle: z.string().max(64).optional().meta({ description: 'Alias of a loaded bundle that shall answer.' }),
    })
    .meta({ id: 'RecallRequest' });
}
export type RecallBody = z.infer<ReturnType<typeof recallRequest>>;

/** What a recall understood. */
export const RecallMatch = z.object({
  matched: z
    .array(z.object({ field: z.string(), text: z.string() }))
    .meta({ description: 'Known terms and scene texts that were looked for, with the keyword that has them.' }),
  common: z.array(z.string()).meta({
    description:
      'Terms that so many POIs have that they tell little: looked for only where nothing else of the text is known.',
  }),
  unmatched: z.array(z.string()).meta({ description: 'Words and texts that nothing is known of.' }),
});

/** Reply of `POST /v1/recall`. */
export const RecallReply = z
  .object({
    requestId: z.string(),
    model: ModelIdentity,
    pois: z.array(
      z.object({ poi: z.string(), similarity: z.number().meta({ description: 'Cosine with what was looked for.' }) }),
    ),
    ...RecallMatch.shape,
  })
  .meta({ id: 'RecallReply' });
