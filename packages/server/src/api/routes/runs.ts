import type { FastifyInstance } from 'fastify';
import { RunParams, RunQuery, RunReply, RunsReply } from '../contracts/index.js';
import { ApiError } from '../errors.js';
import { route } from '../operation.js';
import type { RouteContext } from '../state.js';

/** A report has its own style and nothing else; it may not run, fetch or embed anything. */
const REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox";

/** `GET /v1/runs…`: run directories below `--runs`, for as long as the server has one. */
export async function runRoutes(app: FastifyInstance, { state: { runs } }: RouteContext): Promise<void> {
  if (runs === undefined) return;
  const missing = (id: string, what: string): ApiError =>
    new ApiError(
      404,
      'RUN_UNKNOWN',
      `there is no ${what} of the name "${id}" below the directory of runs; GET /v1/runs lists them`,
      'id',
    );

  app.get(
    '/v1/runs',
    route({
      id: 'runs',
      summary: 'The runs below the directory of runs, the latest first',
      scope: 'read',
      replies: { 200: { description: 'The runs.', schema: RunsReply } },
    }),
    async (request) => ({ requestId: request.id, runs: await runs.list() }),
  );

  app.get<{ Params: { id: string }; Querystring: { rows: number } }>(
    '/v1/runs/:id',
    route({
      id: 'run',
      summary: 'One run: its record, and its metrics row by row',
      scope: 'read',
      params: RunParams,
      query: RunQuery,
      replies: { 200: { description: 'The run.', schema: RunReply } },
    }),
    async (request) => {
      const { id } = request.params;
      const run = await runs.run(id);
      if (run === null) throw missing(id, 'run');
      return { requestId: request.id, run, metrics: await runs.metrics(id, request.query.rows) };
    },
  );

  app.get<{ Params: { id: string } }>(
    '/v1/runs/:id/report.html',
    route({
      id: 'runReport',
      summary: "The run's report, a page that needs nothing else",
      scope: 'read',
      params: RunParams,
      replies: { 200: { description: 'The report.', mediaType: 'text/html' } },
    }),
    async (request, reply) => {
      const { id } = request.params;
      const report = await runs.report(id);
      if (report === null) throw missing(id, 'report of a run');
      return reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', REPORT_POLICY)
        .header('x-frame-options', 'SAMEORIGIN')
        .send(report.createReadStream());
    },
  );
}
