import { z } from 'zod';
import { Id, ModelIdentity, Scene } from './common.js';

/** Alias of a loaded bundle; the current one where it is left out. */
const Bundle = z.string().min(1).max(64).optional().meta({
  description: 'Alias of a loaded bundle; the current one where it is left out.',
});

const Values = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]));

/** One user or POI as people look at it. */
export const CatalogueEntry = z
  .object({
    id: z.string(),
    texts: z.record(z.string(), z.string()).meta({ description: 'Texts by keyword, those that it has.' }),
    columns: Values.meta({ description: 'Raw columns that the bundle keeps, those that have a value.' }),
  })
  .meta({ id: 'CatalogueEntry' });
export type CatalogueEntry = z.infer<typeof CatalogueEntry>;

/** Fields of `GET /v1/catalogue/users`. */
export const CatalogueUsersQuery = z.strictObject({
  query: z.string().max(512).default('').meta({ description: 'An id, or beginnings of words in the columns.' }),
  limit: z.coerce.number().int().min(1).max(100).default(20),
  bundle: Bundle,
});

/** Fields of `GET /v1/catalogue/pois`: ids, or a search, or a group, or simply the first ones. */
export const CataloguePoisQuery = z.strictObject({
  ids: z.string().max(16_384).optional().meta({
    description:
      'Ids with commas between them; each written as in an address, so that a comma of its own is %2C twice encoded.',
  }),
  query: z.string().max(512).default('').meta({ description: 'An id, or beginnings of words of name and place.' }),
  within: z
    .union([z.string().max(640), z.array(z.string().max(640)).max(8)])
    .optional()
    .meta({ description: 'column:value, the value that a column must have; may be given several times.' }),
  limit: z.coerce.number().int().min(1).max(1000).default(20),
  bundle: Bundle,
});

/** Reply of both searches. */
export const CatalogueEntriesReply = z
  .object({ requestId: z.string(), model: ModelIdentity, entries: z.array(CatalogueEntry) })
  .meta({ id: 'CatalogueEntriesReply' });
export type CatalogueEntriesReply = z.infer<typeof CatalogueEntriesReply>;

/** Fields of `GET /v1/catalogue/scene`. */
export const CatalogueSceneQuery = z.strictObject({ bundle: Bundle });

const SceneFieldShape = z
  .object({
    name: z.string(),
    kind: z.enum(['time', 'number', 'text', 'keyword']).meta({
      description: 'How the field is read; "keyword" is the text of a scene keyword itself.',
    }),
    values: z
      .array(z.object({ value: z.string(), label: z.string().optional() }))
      .meta({ description: 'Values that the model knows; empty where the bundle does not list them.' }),
    range: z
      .object({ low: z.number(), high: z.number(), typical: z.number() })
      .optional()
      .meta({ description: 'Of numbers: where training values lie.' }),
    keywords: z.array(z.string()).meta({ description: 'Scene keywords that follow from this field.' }),
  })
  .meta({ id: 'CatalogueSceneField' });

const PositionColumns = z.object({ latitude: z.string(), longitude: z.string() });

/** Reply of `GET /v1/catalogue/scene`: what a scene may say to this model, and by what its POIs can be chosen. */
export const CatalogueSceneReply = z
  .object({
    requestId: z.string(),
    model: ModelIdentity,
    explainable: z.boolean().meta({ description: 'Whether rank can tell the attention per scene keyword.' }),
    fields: z.array(SceneFieldShape),
    keywords: z.array(z.string()).meta({ description: "The scene keywords, in the model's order." }),
    position: z.object({ fields: PositionColumns, columns: PositionColumns }).nullable().meta({
      description: 'Fields of a scene that say where it is, and the columns of a POI that say where that is.',
    }),
    poi: z.object({
      keywords: z.array(z.string()),
      name: z.string().nullable().meta({ description: 'Keyword that a POI is called by.' }),
      place: z.string().nullable().meta({ description: 'Keyword that says where it is.' }),
    }),
    facets: z.array(
      z.object({
        column: z.string(),
        groups: z.array(
          z.object({
            value: z.string(),
            count: z.int(),
            latitude: z.number().optional(),
            longitude: z.number().optional(),
          }),
        ),
        follows: z.string().nullable().meta({ description: 'Scene field with the same values.' }),
      }),
    ),
    users: z.int(),
    pois: z.int(),
    candidates: z.int().meta({ description: 'Most candidates in one request.' }),
    example: z.object({ user: z.string(), scene: Scene }).nullable(),
  })
  .meta({ id: 'CatalogueSceneReply' });
export type CatalogueSceneReply = z.infer<typeof CatalogueSceneReply>;

/** Request body of `POST /v1/catalogue/moment`. */
export const MomentRequest = z
  .strictObject({ user: Id, scene: Scene.default({}), bundle: Bundle })
  .meta({ id: 'MomentRequest' });
export type MomentRequest = z.infer<typeof MomentRequest>;

/** Reply of `POST /v1/catalogue/moment`: the scene as the model reads it. */
export const MomentReply = z
  .object({
    requestId: z.string(),
    model: ModelIdentity,
    user: CatalogueEntry.nullable().meta({ description: 'null for a user that the bundle does not know.' }),
    keywords: z.array(
      z.object({
        field: z.string(),
        text: z.string().nullable().meta({ description: 'null where it is missing, or depends on the POI.' }),
        known: z.boolean().meta({
          description:
            'Whether the model has an embedding of the text; true of every text where the model reads no texts.',
        }),
      }),
    ),
  })
  .meta({ id: 'MomentReply' });
export type MomentReply = z.infer<typeof MomentReply>;
