import { type ReactNode, useEffect, useRef, useSyncExternalStore } from 'react';
import { keyStore } from '../api/key';
import { ServerError } from '../api/request';
import type { Readiness } from '../api/types';
import { useAnswer } from '../api/use-answer';
import { KeyDialog } from './KeyDialog';
import { Link } from './Link';
import { hrefOf, type Page } from './routing';
import './shell.css';
import { setTheme, type Theme, useTheme } from './theme';

const PLACES = [
  { name: 'explorer', label: 'Explore', icon: 'M3 5h14M3 10h9M3 15h5' },
  { name: 'experiments', label: 'Experiments', icon: 'M4 16V9M10 16V4M16 16v-5' },
  { name: 'runs', label: 'Runs', icon: 'M3 15c3 0 3-9 6-9s3 6 8 6' },
  { name: 'health', label: 'Health', icon: 'M2 10h4l2-5 4 10 2-5h4' },
] as const;

const BELONGS: Record<Page['name'], (typeof PLACES)[number]['name'] | null> = {
  explorer: 'explorer',
  experiments: 'experiments',
  experiment: 'experiments',
  runs: 'runs',
  run: 'runs',
  health: 'health',
  nowhere: null,
};

/** What every page stands in: where one is, which model answers, how it looks. */
export function Shell({ page, children }: { page: Page; children: ReactNode }) {
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const here = BELONGS[page.name];
  const place = `${page.name} ${'id' in page ? page.id : ''}`;
  // Who moves by keyboard or ear is taken to the new page's beginning, as a page load does.
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when the page changes
  useEffect(() => {
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
  }, [place]);
  return (
    <>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="top">
        <Link href={hrefOf({ name: 'explorer' })} className="mark" aria-label="LARR, scene explorer">
          <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
            <rect className="mark-ground" width="32" height="32" rx="8" />
            <rect className="mark-bar" x="8" y="8" width="16" height="4" rx="2" />
            <rect className="mark-bar second" x="8" y="14" width="11" height="4" rx="2" />
            <rect className="mark-bar third" x="8" y="20" width="6.5" height="4" rx="2" />
          </svg>
          <span>LARR</span>
        </Link>
        <nav aria-label="Console">
          <ul>
            {PLACES.map(({ name, label, icon }) => (
              <li key={name}>
                <Link href={hrefOf({ name })} aria-current={here === name ? 'page' : undefined}>
                  <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
                    <path d={icon} />
                  </svg>
                  {label}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <div className="top-end">
          <ModelState />
          <ThemeSwitch />
          <ForgetKey />
        </div>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {children}
      </main>
      <KeyDialog />
    </>
  );
}

/** Which model answers, or why none does. */
function ModelState() {
  const { value, error } = useAnswer<Readiness>(
    'ready',
    async (signal) => {
      // 503 is an answer here: it says why.
      const response = await fetch('/readyz', { signal, cache: 'no-store' }).catch(() => null);
      const body = response?.headers.get('content-type')?.includes('json')
        ? ((await response.json()) as Readiness)
        : null;
      if (body === null || !('status' in body)) throw new ServerError(0, 'UNREACHABLE', 'no answer');
      return body;
    },
    { everyMs: 10_000 },
  );
  const state = error !== null ? 'unreachable' : (value?.status ?? 'loading');
  const good = state === 'ready';
  return (
    <p
      className={`ready ${good ? 'good' : 'bad'}`}
      title={value?.model === undefined ? undefined : `Bundle ${value.model.bundle}`}
    >
      <span className="ready-dot" aria-hidden="true" />
      <span className="only-heard">Model </span>
      <span className="ready-name">{good ? value?.model?.name : state}</span>
      {good && <code className="quiet small ready-digest">{value?.model?.bundle.slice(0, 8)}</code>}
    </p>
  );
}

const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const THEME_NAMES: Record<Theme, string> = { system: 'as the system', light: 'light', dark: 'dark' };

function ThemeSwitch() {
  const theme = useTheme();
  return (
    <button
      type="button"
      className="button plain theme"
      onClick={() => setTheme(NEXT[theme])}
      aria-label={`Theme: ${THEME_NAMES[theme]}. Change to ${THEME_NAMES[NEXT[theme]]}`}
      title={`Theme: ${THEME_NAMES[theme]}`}
    >
      <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
        {theme === 'light' && (
          <g className="drawn">
            <circle cx="10" cy="10" r="3.5" />
            <path d="M10 2v2M10 16v2M2 10h2M16 10h2M4.3 4.3l1.4 1.4M14.3 14.3l1.4 1.4M4.3 15.7l1.4-1.4M14.3 5.7l1.4-1.4" />
          </g>
        )}
        {theme === 'dark' && <path className="drawn" d="M16 12.2A6.5 6.5 0 0 1 7.8 4a6.5 6.5 0 1 0 8.2 8.2Z" />}
        {theme === 'system' && (
          <g className="drawn">
            <circle cx="10" cy="10" r="6.5" />
            <path className="filled" d="M10 3.5a6.5 6.5 0 0 1 0 13Z" />
          </g>
        )}
      </svg>
    </button>
  );
}

function ForgetKey() {
  const key = useSyncExternalStore(keyStore.subscribe, keyStore.get);
  if (key === null) return null;
  return (
    <button type="button" className="button tight" onClick={() => keyStore.set(null)}>
      Forget key
    </button>
  );
}
