/** The API key, kept for as long as the tab is open and sent to this server alone. */
const STORED = 'larr-key';

let key: string | null = read();
const listeners = new Set<() => void>();

/** What the server asked for when it refused a request. */
export type Wanted = { reason: 'missing' } | { reason: 'refused' } | { reason: 'not enough'; scope: string };
let wanted: Wanted | null = null;

function read(): string | null {
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function changed(): void {
  for (const listener of listeners) listener();
}

export const keyStore = {
  get: (): string | null => key,
  wanted: (): Wanted | null => wanted,
  set(value: string | null): void {
    key = value;
    wanted = null;
    try {
      if (value === null) sessionStorage.removeItem(STORED);
      else sessionStorage.setItem(STORED, value);
    } catch {
      // kept in memory then
    }
    changed();
  },
  /** Asks the person for a key, or for one that may do more. */
  ask(what: Wanted): void {
    wanted = what;
    changed();
  },
  dismiss(): void {
    wanted = null;
    changed();
  },
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};
