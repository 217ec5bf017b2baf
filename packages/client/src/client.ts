import { type ErrorReply, OPERATIONS, type Operations } from './api.generated.js';
import { apiError, LarrApiError, LarrConnectionError, LarrTimeoutError } from './errors.js';

export interface ClientOptions {
  /** Where the server is, as http://127.0.0.1:8080; a path is kept. */
  url: string;
  /** A key of `larr-server keys add`, where the server asks for one. */
  key?: string;
  /** Longest wait for one answer, milliseconds. */
  timeoutMs?: number;
  /** Tries after the first one, of what may be tried again. */
  retries?: number;
  /** Longest wait for all tries together, milliseconds. */
  deadlineMs?: number;
  /** In place of the runtime's own. */
  fetch?: typeof fetch;
}

export interface CallOptions {
  /** Ends the call, and its later tries. */
  signal?: AbortSignal;
  timeoutMs?: number;
  deadlineMs?: number;
  /** An id for the server's log; letters, digits, `_.:-`, at most 128. */
  requestId?: string;
}

/** What an operation takes: the parts that it has. */
export type Input<K extends keyof Operations> = Given<'params', Operations[K]['params']> &
  Given<'query', Operations[K]['query']> &
  Given<'body', Operations[K]['body']>;
type Given<Name extends string, Value> = Value extends undefined ? unknown : { [name in Name]: Value };

/** May be done twice without doing more: a connection that broke says not whether the request arrived. */
const REPEATABLE: ReadonlySet<string> = new Set(['rank', 'score', 'recall', 'catalogueMoment', 'events']);
/** What was not done, or not by the server: these may be tried again whatever they are. */
const NOT_DONE = new Set([429, 503]);
const GATEWAY = new Set([502, 504]);

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5000;

/**
 * A LARR server over HTTP. Every method resolves with the server's reply and rejects with one of errors.ts; answers 429 and 503 are waited for as
 * long as the server says, connections that break are tried again where that is safe, each wait is longer than the one before and partly random.
 */
export class LarrClient {
  readonly #url: string;
  readonly #options: Required<Pick<ClientOptions, 'timeoutMs' | 'retries' | 'deadlineMs' | 'fetch'>>;
  readonly #headers: Record<string, string>;

  constructor({
    url,
    key,
    timeoutMs = 2000,
    retries = 3,
    deadlineMs = 10_000,
    fetch = globalThis.fetch,
  }: ClientOptions) {
    this.#url = new URL(url).href.replace(/\/+$/, '');
    this.#headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
    this.#options = { timeoutMs, retries, deadlineMs, fetch };
  }

  /** Ranks candidates for a user in a scene, best first. */
  rank(body: Operations['rank']['body'], options?: CallOptions): Promise<Operations['rank']['reply']> {
    return this.call('rank', { body }, options);
  }

  /** Scores candidates of several users or scenes, in the order they were given. */
  score(body: Operations['score']['body'], options?: CallOptions): Promise<Operations['score']['reply']> {
    return this.call('score', { body }, options);
  }

  /** Finds POIs that suit a text, a scene or a user, nearest first. */
  recall(body: Operations['recall']['body'], options?: CallOptions): Promise<Operations['recall']['reply']> {
    return this.call('recall', { body }, options);
  }

  /** Sends events; resolves when they are on the server's disk. Sent again under the same ids they are written once. */
  events(body: Operations['events']['body'], options?: CallOptions): Promise<Operations['events']['reply']> {
    return this.call('events', { body }, options);
  }

  /** Any operation of the API, by its operationId. */
  async call<K extends keyof Operations>(
    operation: K,
    input: Input<K>,
    options: CallOptions = {},
  ): Promise<Operations[K]['reply']> {
    const { method, path } = OPERATIONS[operation];
    const { params, query, body } = input as { params?: object; query?: object; body?: unknown };
    const target = this.#url + fill(path, params) + search(query);
    const request: RequestInit = {
      method,
      headers: {
        ...this.#headers,
        ...(options.requestId === undefined ? {} : { 'x-request-id': options.requestId }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    const repeatable = method !== 'POST' || REPEATABLE.has(operation);
    const end = performance.now() + (options.deadlineMs ?? this.#options.deadlineMs);
    for (let attempt = 0; ; attempt++) {
      let error: Error;
      try {
        return (await this.#once(target, request, options, end)) as Operations[K]['reply'];
      } catch (caught) {
        error = caught as Error;
      }
      const again =
        error instanceof LarrApiError
          ? NOT_DONE.has(error.status) || (repeatable && GATEWAY.has(error.status))
          : repeatable && (error instanceof LarrConnectionError || error instanceof LarrTimeoutError);
      if (!again || attempt >= this.#options.retries) throw error;
      const wait = waitBefore(attempt, error instanceof LarrApiError ? error.retryAfter : undefined);
      if (performance.now() + wait >= end) throw error;
      await pause(wait, options.signal);
    }
  }

  async #once(target: string, request: RequestInit, options: CallOptions, end: number): Promise<unknown> {
    const left = Math.ceil(
      Math.max(1, Math.min(options.timeoutMs ?? this.#options.timeoutMs, end - performance.now())),
    );
    const timeout = AbortSignal.timeout(left);
    const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
    let response: Response;
    let text: string;
    try {
      response = await this.#options.fetch(target, { ...request, signal });
      text = await response.text();
    } catch (cause) {
      options.signal?.throwIfAborted();
      if (timeout.aborted) throw new LarrTimeoutError(`no answer from ${target} in ${left} ms`, { cause });
      throw new LarrConnectionError(`no answer from ${target}: ${reason(cause)}`, { cause });
    }
    const json = /\bjson\b/.test(response.headers.get('content-type') ?? '');
    if (!response.ok) throw apiError(response.status, json ? errorReply(text) : null, retryAfter(response.headers));
    return json ? JSON.parse(text) : text === '' ? undefined : text;
  }
}

function fill(path: string, params: object = {}): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = (params as Record<string, unknown>)[name];
    if (value === undefined) throw new TypeError(`${path} needs params.${name}`);
    return encodeURIComponent(String(value));
  });
}

function search(query: object = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(Object.fromEntries(given.map(([name, value]) => [name, String(value)])))}`;
}

/** Full jitter, doubling from 100 ms; never less than the server asks for, and a little more, so that all who wait do not come together. */
function waitBefore(attempt: number, retryAfter: number | undefined): number {
  const backoff = Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (attempt + 1));
  return retryAfter === undefined ? backoff : retryAfter * 1000 * (1 + 0.1 * Math.random()) + backoff;
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal!.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

function reason(cause: unknown): string {
  const inner = (cause as Error).cause as { code?: string; message?: string } | undefined;
  return inner?.code ?? inner?.message ?? (cause as Error).message;
}

/** Seconds, or a date (RFC 9110, 10.2.3). */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

function errorReply(text: string): ErrorReply | null {
  try {
    const { error, requestId } = JSON.parse(text) as Partial<ErrorReply>;
    if (typeof error?.code === 'string' && typeof error.message === 'string')
      return { error, requestId: String(requestId) };
  } catch {
    // a proxy's answer: the status has to do
  }
  return null;
}
