import type { Metrics } from '../../observability/metrics.js';
import type { ModelRegistry } from '../../ranking/model-registry.js';
import type { Fallbacks } from '../contracts/index.js';
import { modelFailed, notReady } from '../errors.js';

/** A request that would be refused anyway should not wait for its body to be read and checked. @throws ApiError NOT_READY, MODEL_FAILED (503) */
export function ready(models: ModelRegistry): () => Promise<void> {
  return async () => {
    if (models.current === null) throw notReady();
    if (models.current.broken) throw modelFailed();
  };
}

/** Counts what was ranked through a fallback. */
export function countFallbacks(
  { user, store, pois, scene, features, missing }: Fallbacks,
  { fallbacks }: Metrics,
): void {
  if (user) fallbacks.inc({ kind: store === true ? 'store' : 'user' });
  if (pois.length > 0) fallbacks.inc({ kind: 'poi' }, pois.length);
  if (scene.length > 0) fallbacks.inc({ kind: 'scene' }, scene.length);
  if (features.length > 0) fallbacks.inc({ kind: 'feature' }, features.length);
  if (missing !== undefined) fallbacks.inc({ kind: 'missing' }, missing.length);
}
