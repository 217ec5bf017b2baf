import { createMetrics } from '../observability/metrics.js';
import { ModelRegistry } from '../ranking/model-registry.js';
import { createApp } from './app.js';
import { type AppState, DEFAULT_LIMITS } from './state.js';

/**
 * The OpenAPI document of a server that has everything switched on: what clients are written against. A route module only asks whether its part is
 * there before it registers, so nothing is opened or loaded for this.
 */
export async function wholeApi(): Promise<object> {
  const state = {
    models: new ModelRegistry({
      load: () => Promise.reject(new Error('nothing is loaded here')),
      home: '.',
      root: null,
      onEvent: () => {},
    }),
    events: {},
    experiments: {},
    unseen: { texts: [] },
    runs: {},
    console: false,
    stopping: false,
  } as unknown as AppState;
  const app = createApp(
    { state, metrics: createMetrics(), limits: DEFAULT_LIMITS },
    { log: { level: 'silent', requests: 0 } },
  );
  try {
    return (await app.inject('/openapi.json')).json();
  } finally {
    await app.close();
  }
}
