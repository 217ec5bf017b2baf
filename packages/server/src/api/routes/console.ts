import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type ConsoleFile, consoleDirectory, ENCODINGS, readConsole } from '../../console/console-files.js';
import { ApiError } from '../errors.js';
import type { RouteContext } from '../state.js';

/** Everything comes from this server, nothing is written into the page, and nobody may frame it. */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; frame-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** The page that a report is shown in: cut off from the server and from the console, which hands it the report as text. */
const FRAME = 'report-frame.html';
const FRAME_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'self'; sandbox allow-scripts";

/** `/console/…`: the console's files, open to whoever reaches the server; what they show, they ask the API for. */
export async function consoleRoutes(app: FastifyInstance, { state }: RouteContext): Promise<void> {
  if (state.console !== true) return;
  const directory = consoleDirectory();
  if (directory === null) {
    app.log.warn(
      'the console is not built, so /console/ says so: build it with "npm run setup", or serve without it (--no-console)',
    );
  }
  const files = directory === null ? null : await readConsole(directory);

  app.get('/', async (_request, reply) => reply.redirect('/console/', 302));
  const serve = async (request: FastifyRequest, reply: FastifyReply, path: string): Promise<FastifyReply> => {
    if (files === null) {
      throw new ApiError(
        503,
        'CONSOLE_NOT_BUILT',
        'the console has not been built on this machine: "npm run setup" builds it; the API works without it',
      );
    }
    // A page of the console has a name without an ending, and is drawn by the same index.html.
    const name = path === '' || !/\.[^/]+$/.test(path) ? 'index.html' : path;
    const file = files.get(name);
    if (file === undefined) throw new ApiError(404, 'NOT_FOUND', 'the console has no such file');
    return send(request, reply, file, name);
  };
  app.get('/console/', (request, reply) => serve(request, reply, ''));
  app.get<{ Params: { '*': string } }>('/console/*', (request, reply) => serve(request, reply, request.params['*']));
}

async function send(
  request: FastifyRequest,
  reply: FastifyReply,
  file: ConsoleFile,
  name: string,
): Promise<FastifyReply> {
  const framed = name === FRAME;
  reply
    .header('cache-control', file.immutable ? 'public, max-age=31536000, immutable' : 'no-cache')
    .header('content-security-policy', framed ? FRAME_POLICY : PAGE_POLICY)
    .header('x-frame-options', framed ? 'SAMEORIGIN' : 'DENY')
    .header('vary', 'accept-encoding')
    .header('etag', file.etag);
  if (request.headers['if-none-match'] === file.etag) return reply.code(304).send();
  const accepted = String(request.headers['accept-encoding'] ?? '');
  const encoding = ENCODINGS.find((one) => new RegExp(`\\b${one}\\b`).test(accepted));
  const packed = encoding === undefined ? null : await file.packed(encoding);
  if (packed !== null) reply.header('content-encoding', encoding);
  return reply.type(file.type).send(packed ?? file.body);
}
