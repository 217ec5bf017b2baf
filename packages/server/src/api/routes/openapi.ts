import type { FastifyInstance } from 'fastify';
import { openApiDocument, type PublishedOperation } from '../openapi.js';

/** `GET /openapi.json`: every operation that the server has, as it is now. */
export async function openApiRoutes(app: FastifyInstance, operations: readonly PublishedOperation[]): Promise<void> {
  app.get('/openapi.json', async () => openApiDocument(operations));
}
