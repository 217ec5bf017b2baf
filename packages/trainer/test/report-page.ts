import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';

/** The report of a run directory, which must need nothing else: no script, no style or picture from elsewhere. */
export function reportPage(directory: string): string {
  const page = readFileSync(join(directory, 'report.html'), 'utf8');
  expect(page).not.toMatch(/https?:|src=|href=|@import|url\(|<script|NaN|undefined/);
  expect(page).toContain('prefers-color-scheme:dark');
  expect(page).toContain('@media print');
  return page;
}
