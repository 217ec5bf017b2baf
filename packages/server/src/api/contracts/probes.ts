import { z } from 'zod';
import { ModelIdentity } from './common.js';

/** Reply of `/healthz`: the process answers. */
export const Health = z.object({ status: z.literal('ok') }).meta({ id: 'Health' });

/** Reply of `/readyz`: whether rank requests will be answered. */
export const Readiness = z
  .object({ status: z.enum(['ready', 'loading', 'stopping', 'failed']), model: ModelIdentity.optional() })
  .meta({ id: 'Readiness' });
export type Readiness = z.infer<typeof Readiness>;
