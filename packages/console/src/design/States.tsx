import type { ReactNode } from 'react';
import type { ServerError } from '../api/request';

/** A failure, in words, with what to do about it. */
export function Failure({ error, what, again }: { error: ServerError; what: string; again?: () => void }) {
  return (
    <div className="notice bad" role="alert">
      <h3>{what}</h3>
      <p>{error.message}</p>
      <p className="row">
        {again !== undefined && (
          <button type="button" className="button tight" onClick={again}>
            Try again
          </button>
        )}
        <span className="quiet small">
          {error.code}
          {error.requestId !== null && ` · request ${error.requestId}`}
        </span>
      </p>
    </div>
  );
}

/** What stands where there is nothing yet, and how something comes there. */
export function Empty({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="panel empty">
      <h2>{title}</h2>
      <div className="quiet">{children}</div>
    </div>
  );
}

/** The outline of what is on its way, in its size. */
export function Bones({ height, label = 'Loading' }: { height: number; label?: string }) {
  return (
    <div className="bones" style={{ height }} role="status">
      <span className="only-heard">{label}</span>
    </div>
  );
}
