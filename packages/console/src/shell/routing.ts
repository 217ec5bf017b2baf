import { useSyncExternalStore } from 'react';

/** Where the server puts the console. */
const BASE = '/console';

export type Page =
  | { name: 'explorer' }
  | { name: 'experiments' }
  | { name: 'experiment'; id: string }
  | { name: 'runs' }
  | { name: 'run'; id: string }
  | { name: 'health' }
  | { name: 'nowhere' };

/** The page of an address below the console's. */
export function pageOf(path: string): Page {
  const [first, second, ...more] = path
    .replace(/^\/console/, '')
    .split('/')
    .filter((part) => part !== '')
    .map(decoded);
  if (more.length > 0) return { name: 'nowhere' };
  if (first === undefined) return { name: 'explorer' };
  if (first === 'experiments')
    return second === undefined ? { name: 'experiments' } : { name: 'experiment', id: second };
  if (first === 'runs') return second === undefined ? { name: 'runs' } : { name: 'run', id: second };
  if (first === 'health' && second === undefined) return { name: 'health' };
  return { name: 'nowhere' };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a page. */
export function hrefOf(page: Exclude<Page, { name: 'nowhere' }>): string {
  switch (page.name) {
    case 'explorer':
      return `${BASE}/`;
    case 'experiment':
      return `${BASE}/experiments/${encodeURIComponent(page.id)}`;
    case 'run':
      return `${BASE}/runs/${encodeURIComponent(page.id)}`;
    default:
      return `${BASE}/${page.name}`;
  }
}

const listeners = new Set<() => void>();
const tell = (): void => {
  for (const listener of listeners) listener();
};
if (typeof window !== 'undefined') window.addEventListener('popstate', tell);

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

/** Path and query of the address now. */
export function useLocation(): { path: string; query: string } {
  const path = useSyncExternalStore(subscribe, () => window.location.pathname);
  const query = useSyncExternalStore(subscribe, () => window.location.search);
  return { path, query };
}

/** Goes to another page, as a link does. */
export function goTo(href: string): void {
  window.history.pushState(null, '', href);
  tell();
  window.scrollTo(0, 0);
}

/** Puts a page's state into the address; what is changed while a control is held does not fill the history. */
export function replaceQuery(query: string): void {
  const href = `${window.location.pathname}${query === '' ? '' : `?${query}`}`;
  if (href === window.location.pathname + window.location.search) return;
  window.history.replaceState(null, '', href);
  tell();
}
