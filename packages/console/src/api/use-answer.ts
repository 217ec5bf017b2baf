import { useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { keyStore } from './key';
import { ServerError } from './request';

export interface Answer<T> {
  /** the last answer; stays while the next one is on its way */
  value: T | null;
  error: ServerError | null;
  /** whether a request is on its way */
  waiting: boolean;
  again: () => void;
}

interface Timing {
  /** asks again so long after each answer, while the page is looked at */
  everyMs?: number;
  /** waits so long before asking, so that a question that changes quickly is asked once */
  delayMs?: number;
}

/** What a server answers that restarts, loads or is busy; it does not stay so. */
const PASSING = [0, 429, 502, 503, 504];
const RETRY_MS = 3000;

/**
 * Asks when `key` changes. An answer that is overtaken by a later question is dropped.
 * @param key what is asked; null asks nothing
 */
export function useAnswer<T>(
  key: string | null,
  ask: (signal: AbortSignal) => Promise<T>,
  { everyMs, delayMs = 0 }: Timing = {},
): Answer<T> {
  const [state, setState] = useState<Omit<Answer<T>, 'again'>>({ value: null, error: null, waiting: key !== null });
  const [round, setRound] = useState(0);
  const apiKey = useSyncExternalStore(keyStore.subscribe, keyStore.get);
  const latest = useRef(ask);
  latest.current = ask;

  // biome-ignore lint/correctness/useExhaustiveDependencies: asked again for another key, API key or round
  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    const { signal } = abort;
    let timer: ReturnType<typeof setTimeout>;
    const once = async (): Promise<void> => {
      let next = everyMs;
      if (document.hidden && everyMs !== undefined) {
        timer = setTimeout(once, everyMs);
        return;
      }
      setState((before) => (before.waiting ? before : { ...before, waiting: true }));
      try {
        const value = await latest.current(signal);
        if (signal.aborted) return;
        setState({ value, error: null, waiting: false });
      } catch (cause) {
        if (signal.aborted) return;
        const error = cause instanceof ServerError ? cause : new ServerError(-1, 'CONSOLE', String(cause));
        setState((before) => ({ ...before, error, waiting: false }));
        next = PASSING.includes(error.status) ? Math.max(everyMs ?? 0, RETRY_MS) : undefined;
      }
      if (next !== undefined) timer = setTimeout(once, next);
    };
    timer = setTimeout(once, delayMs);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [key, round, apiKey, everyMs, delayMs]);

  return { ...state, again: () => setRound((n) => n + 1) };
}
