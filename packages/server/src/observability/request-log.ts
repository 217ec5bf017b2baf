import type { FastifyInstance, FastifyServerOptions } from 'fastify';

export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;

export interface LogOptions {
  level: (typeof LOG_LEVELS)[number];
  /** share of the requests that get a line, 0 to 1 */
  requests: number;
}

export const DEFAULT_LOG: LogOptions = { level: 'info', requests: 0 };

/** JSON lines on standard error: standard output belongs to the programs that start a server. */
export function logger({ level }: LogOptions): FastifyServerOptions['logger'] {
  return {
    level,
    stream: process.stderr,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
  };
}

/**
 * One line a request, at level info, of the share that is asked for; of what only an admin's key may change, always, done or
 * refused. They say neither user nor body: who may read a log need not be who may read those.
 */
export function logRequests(app: FastifyInstance, { requests }: LogOptions, random: () => number = Math.random): void {
  app.addHook('onResponse', async (request, reply) => {
    const { url: route, config } = request.routeOptions;
    const audit = config?.scope === 'admin' && request.method !== 'GET' && request.method !== 'HEAD';
    if (!audit && random() >= requests) return;
    request.log.info(
      {
        ...(audit ? { audit, path: request.url.split('?', 1)[0] } : {}),
        method: request.method,
        route: route ?? null,
        status: reply.statusCode,
        milliseconds: Math.round(reply.elapsedTime * 100) / 100,
        key: request.grant?.id ?? null,
        address: request.ip,
      },
      !audit ? 'answered' : reply.statusCode < 400 ? 'changed by an admin' : 'refused',
    );
  });
}
