import { z } from 'zod';
import { RANKER_KINDS } from '../../ranking/ranker-lane.js';
import { MAX_TEXT, ModelIdentity } from './common.js';

const Alias = z
  .string()
  .regex(/^[\w.-]{1,64}$/)
  .meta({ description: 'Name that requests and arms of experiments call a bundle by.' });

/** Request body of `POST /v1/admin/reload`. */
export const ReloadRequest = z
  .strictObject({
    bundle: z.string().min(1).max(512).optional().meta({
      description: 'Directory below the one that --bundles names; the one that the server was started with by default.',
    }),
    alias: Alias.default('current'),
  })
  .meta({ id: 'ReloadRequest' });
export type ReloadRequest = z.infer<typeof ReloadRequest>;

/** Request body of `POST /v1/admin/rollback`. */
export const RollbackRequest = z.strictObject({ alias: Alias.default('current') }).meta({ id: 'RollbackRequest' });
export type RollbackRequest = z.infer<typeof RollbackRequest>;

export const AliasParameter = z.object({ alias: Alias });

/** Reply of reload and rollback: the bundle that answers from now on. */
export const ReloadReply = z
  .object({ requestId: z.string(), alias: z.string(), model: ModelIdentity, seconds: z.number() })
  .meta({ id: 'ReloadReply' });

export const UnloadReply = z.object({ requestId: z.string(), alias: z.string() }).meta({ id: 'UnloadReply' });

/** Reply of `GET /v1/admin/state`. */
export const ServerState = z
  .object({
    requestId: z.string(),
    store: z.object({
      kind: z.enum(['lmdb', 'redis']).nullable().meta({ description: 'null where the loaded bundle has none.' }),
      reachable: z.boolean(),
    }),
    bundles: z.array(
      z.object({
        alias: z.string(),
        model: ModelIdentity,
        path: z
          .string()
          .meta({ description: 'Below the directory that --bundles names, or the last part of its path.' }),
        since: z.string().meta({ description: 'ISO 8601, UTC' }),
        inFlight: z.int().min(0),
        queuedRows: z.int().min(0),
        broken: z.boolean(),
        pois: z.int().min(0).meta({ description: 'POIs whose features are in memory.' }),
        poiBytes: z.int().min(0).meta({ description: "Memory that they take, without the bundle's own tables." }),
        ranker: z
          .object({
            kind: z.enum(RANKER_KINDS),
            bytes: z.int().min(0).meta({ description: 'Memory in which it keeps what follows from POIs alone.' }),
          })
          .meta({ description: 'What scores.' }),
        data: z.string().nullable().meta({ description: 'Name of the users and POIs in the online store.' }),
        previous: z.string().nullable().meta({ description: 'Digest of the bundle that a rollback goes back to.' }),
        failure: z
          .object({ code: z.string(), message: z.string(), at: z.string() })
          .nullable()
          .meta({ description: 'Why the bundle that was asked for last does not answer.' }),
      }),
    ),
  })
  .meta({ id: 'ServerState' });

/** Reply of `GET /v1/admin/unseen-texts`. */
export const UnseenTextsReply = z
  .object({
    requestId: z.string(),
    total: z.int().min(0),
    texts: z.array(z.object({ field: z.string(), text: z.string() })).meta({ description: 'The newest first.' }),
  })
  .meta({ id: 'UnseenTextsReply' });

export const UnseenTextsQuery = z.object({ limit: z.coerce.number().int().min(1).max(10_000).default(1000) });

const ColumnValue = z.union([
  z.string().max(4096),
  z.number(),
  z.boolean(),
  z.null(),
  z
    .array(z.union([z.string().max(MAX_TEXT), z.number()]))
    .max(1000)
    .meta({
      description:
        'Sequences, most recent first: a text is the id of a POI, a number its number in the data (poi_index + 1; 0 is none).',
    }),
]);

/** Request body of `PATCH /v1/admin/store/users` and `…/pois`. */
export const FeaturesRequest = z
  .strictObject({
    rows: z.record(z.string().min(1).max(512), z.record(z.string().min(1).max(128), ColumnValue)).meta({
      description:
        'Columns to change by id; other columns stay. Ids that are new are added. Latitudes lie between -90 and 90 degrees, longitudes ' +
        'between -360 and 360; others are refused.',
      maxProperties: 1000,
      minProperties: 1,
    }),
    alias: Alias.default('current').meta({ description: 'The bundle whose data this is.' }),
  })
  .meta({ id: 'FeaturesRequest' });
export type FeaturesRequest = z.infer<typeof FeaturesRequest>;

export const FeaturesReply = z.object({ requestId: z.string(), written: z.int().min(0) }).meta({ id: 'FeaturesReply' });
