import type { FastifyInstance } from 'fastify';
import { Health, Readiness } from '../contracts/index.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

/** Whether the process lives, whether it is ready, and its metrics. */
export async function probeRoutes(app: FastifyInstance, { state, metrics }: RouteContext): Promise<void> {
  app.get(
    '/healthz',
    route({
      id: 'health',
      summary: 'Whether the process answers',
      replies: { 200: { description: 'It does.', schema: Health } },
    }),
    async () => ({ status: 'ok' }),
  );

  app.get(
    '/readyz',
    route({
      id: 'readiness',
      summary: 'Whether rank requests will be answered',
      replies: {
        200: { description: 'They will.', schema: Readiness },
        503: { description: 'Loading, stopping, or failed.', schema: Readiness },
      },
    }),
    async (_request, reply) => {
      const model = state.models.current;
      if (state.stopping) return reply.code(503).send({ status: 'stopping' });
      if (model === null) return reply.code(503).header('retry-after', '1').send({ status: 'loading' });
      if (model.broken) return reply.code(503).send({ status: 'failed', model: model.identity });
      return { status: 'ready', model: model.identity };
    },
  );

  app.get(
    '/metrics',
    route({
      id: 'metrics',
      summary: 'Metrics in the Prometheus text format',
      scope: 'read',
      replies: { 200: { description: 'The metrics.', mediaType: 'text/plain' } },
    }),
    async (_request, reply) => {
      const model = state.models.current;
      metrics.ready.set(model === null || model.broken || state.stopping ? 0 : 1);
      metrics.queuedRows.set(model?.queuedRows ?? 0);
      // of the bundle that answers now alone
      metrics.drift.reset();
      for (const { task, psi } of model?.drift() ?? [])
        if (psi !== null) metrics.drift.set({ bundle: model!.identity.bundle, task }, psi);
      return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics());
    },
  );
}
