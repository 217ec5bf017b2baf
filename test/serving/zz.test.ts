import { mkdtempSync } from 'node:fs';
import { expect, it } from 'vitest';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset } from './tiny-dataset.js';

it('exports', async () => {
  const dir = mkdtempSync('/tmp/larr/tiny-');
  await prepareTinyDataset(dir, { history: true });
  for (const m of ['larr', 'ple', 'deepfm', 'wide-deep', 'dnn', 'larr-no-al'])
    console.log(await exportTinyBundle(dir, m));
  expect(1).toBe(1);
});
