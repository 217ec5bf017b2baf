import type { ErrorReply } from './api.generated.js';

/** Base of what this package throws. */
export class LarrClientError extends Error {
  override readonly name: string = 'LarrClientError';
}

/** The server answered, and not with a success. The classes below tell the kinds apart; `code` says exactly what it was. */
export class LarrApiError extends LarrClientError {
  override readonly name: string = 'LarrApiError';
  /** the server's code, as BODY_INVALID; HTTP_<status> where something else than a LARR server answered */
  readonly code: string;
  /** where in the request, as candidates[3] */
  readonly field: string | undefined;
  /** id under which the server's log has the request */
  readonly requestId: string | undefined;

  constructor(
    readonly status: number,
    reply: ErrorReply | null,
    /** seconds after which trying again makes sense */
    readonly retryAfter: number | undefined,
  ) {
    super(reply === null ? `the server answered with status ${status}` : reply.error.message);
    this.code = reply?.error.code ?? `HTTP_${status}`;
    this.field = reply?.error.field;
    this.requestId = reply?.requestId;
  }
}

/** 400, 404, 405, 409, 413, 415: the request is wrong, and will be wrong again. */
export class LarrRequestError extends LarrApiError {
  override readonly name = 'LarrRequestError';
}
/** 401, 403: the key is missing, unknown, expired, or lacks the scope. */
export class LarrAccessError extends LarrApiError {
  override readonly name = 'LarrAccessError';
}
/** 429, 503 after all tries: the server has too much to do, or is not ready. */
export class LarrBusyError extends LarrApiError {
  override readonly name = 'LarrBusyError';
}
/** 500 and above: the server, or something before it, failed. */
export class LarrServerError extends LarrApiError {
  override readonly name = 'LarrServerError';
}
/** No answer came: no connection, or it broke. `cause` has the runtime's reason. */
export class LarrConnectionError extends LarrClientError {
  override readonly name = 'LarrConnectionError';
}
/** No answer came in time. */
export class LarrTimeoutError extends LarrClientError {
  override readonly name = 'LarrTimeoutError';
}

/** The error of an answer that is no success. */
export function apiError(status: number, reply: ErrorReply | null, retryAfter: number | undefined): LarrApiError {
  if (status === 401 || status === 403) return new LarrAccessError(status, reply, retryAfter);
  if (status === 429 || status === 503) return new LarrBusyError(status, reply, retryAfter);
  if (status >= 500) return new LarrServerError(status, reply, retryAfter);
  return new LarrRequestError(status, reply, retryAfter);
}
