import type { EventLog } from '../events/event-log.js';
import type { Experiments } from '../experiments/experiments.js';
import type { Metrics } from '../observability/metrics.js';
import type { ModelRegistry } from '../ranking/model-registry.js';
import type { RunDirectory } from '../run-directories/run-directory.js';
import type { UnseenTexts } from '../scene/unseen-texts.js';

export interface Limits {
  /** Largest request body, bytes. */
  bodyBytes: number;
  /** Deepest nesting of a JSON body. */
  bodyDepth: number;
  /** Most candidates in one request. */
  candidates: number;
}

export const DEFAULT_LIMITS: Limits = { bodyBytes: 1 << 20, bodyDepth: 8, candidates: 2000 };

/** What the routes look at: models come when they have loaded and go when the server stops. */
export interface AppState {
  readonly models: ModelRegistry;
  /** where events go; null where none are taken */
  readonly events: EventLog | null;
  /** null where no experiments run */
  readonly experiments: Experiments | null;
  /** scene texts that no bundle has an embedding for; null where they are not kept */
  readonly unseen?: UnseenTexts | null;
  /** run directories that may be looked at, where the server was given any */
  readonly runs?: RunDirectory;
  /** whether the console is served */
  readonly console?: boolean;
  stopping: boolean;
}

/** What every route module is given. */
export interface RouteContext {
  state: AppState;
  metrics: Metrics;
  limits: Limits;
}
