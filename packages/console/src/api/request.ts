import { keyStore } from './key';

/** An answer of the server that is no success, or no answer at all. */
export class ServerError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field: string | null = null,
    readonly requestId: string | null = null,
  ) {
    super(message);
  }
}

interface RequestOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  body?: unknown;
  signal?: AbortSignal | undefined;
  /** what the key must be allowed to do, said where it is not */
  scope?: string;
  /** asks nobody for a key: the page does without what was asked for */
  quiet?: boolean;
}

async function send(
  path: string,
  { method = 'GET', body, signal, scope = 'read', quiet = false }: RequestOptions,
): Promise<Response> {
  const key = keyStore.get();
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
      cache: 'no-store',
      credentials: 'same-origin',
      referrerPolicy: 'no-referrer',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ServerError(
      0,
      'UNREACHABLE',
      'The server does not answer. It may be restarting; this page tries again by itself.',
    );
  }
  if (response.ok) return response;
  const answer = (await response.json().catch(() => null)) as {
    error?: { code?: string; message?: string; field?: string };
    requestId?: string;
  } | null;
  if (response.status === 401 && !quiet) keyStore.ask(key === null ? { reason: 'missing' } : { reason: 'refused' });
  if (response.status === 403 && !quiet) keyStore.ask({ reason: 'not enough', scope });
  throw new ServerError(
    response.status,
    answer?.error?.code ?? 'HTTP',
    answer?.error?.message ?? `The server answered with status ${response.status}.`,
    answer?.error?.field ?? null,
    answer?.requestId ?? null,
  );
}

/** Asks the server for JSON. @throws ServerError; DOMException AbortError where `signal` says so */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  return (await send(path, options)).json() as Promise<T>;
}

/** Asks the server for text. */
export async function requestText(path: string, options: RequestOptions = {}): Promise<string> {
  return (await send(path, options)).text();
}

/** An address with the fields that are there. */
export function address(path: string, fields: Record<string, string | number | undefined | readonly string[]>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined || value === '') continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
  }
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}
