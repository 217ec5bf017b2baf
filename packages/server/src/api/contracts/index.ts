/** The shapes of every request and reply, one file a group of routes. */
export * from './admin.js';
export * from './catalogue.js';
export * from './common.js';
export * from './events.js';
export * from './experiments.js';
export * from './fastify-schema.js';
export * from './health.js';
export * from './probes.js';
export * from './rank.js';
export * from './recall.js';
export * from './runs.js';
export * from './score.js';
