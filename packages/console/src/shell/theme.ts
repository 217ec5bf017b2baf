import { useSyncExternalStore } from 'react';

export type Theme = 'system' | 'light' | 'dark';

/** As in public/theme.js, which applies it before the first picture. */
const STORED = 'larr-theme';
const listeners = new Set<() => void>();
const system = typeof window === 'undefined' ? null : window.matchMedia('(prefers-color-scheme: dark)');
const tell = (): void => {
  for (const listener of listeners) listener();
};
system?.addEventListener('change', tell);

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

const chosen = (): Theme => {
  const { theme } = document.documentElement.dataset;
  return theme === 'light' || theme === 'dark' ? theme : 'system';
};

export function setTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === 'system') localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, theme);
  } catch {
    // for this page alone then
  }
  tell();
}

export const useTheme = (): Theme => useSyncExternalStore(subscribe, chosen);

/** Whether the page is dark now, by choice or by the system. */
export const useDark = (): boolean =>
  useSyncExternalStore(subscribe, () => (chosen() === 'system' ? (system?.matches ?? false) : chosen() === 'dark'));
