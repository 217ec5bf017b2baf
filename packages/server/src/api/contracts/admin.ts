import { z } from 'zod';
import { ModelIdentity } from './common.js';

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
        previous: z.string().nullable().meta({ description: 'Digest of the bundle that a rollback goes back to.' }),
        failure: z
          .object({ code: z.string(), message: z.string(), at: z.string() })
          .nullable()
          .meta({ description: 'Why the bundle that was asked for last does not answer.' }),
      }),
    ),
  })
  .meta({ id: 'ServerState' });
