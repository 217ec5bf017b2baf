import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { larr, root, temporaryDirectory } from './larr.js';

const published = join(root, '..', 'shared', 'data', 'frappe');
const there = existsSync(join(published, 'frappe.csv'));
if (!there) process.stderr.write(`skipped: the published Frappe files are not in ${published}\n`);

test.skipIf(!there)('Frappe as published becomes the public protocol and trains', { timeout: 300_000 }, async () => {
  const folder = temporaryDirectory();
  const data = join(folder, 'data');
  const imported = await larr('import', 'frappe', '--in', published, '--out', data, '--json');
  expect(imported.code, imported.stderr).toBe(0);
  const manifest = JSON.parse(imported.stdout);
  const { random, 'cold-poi': cold } = manifest.splits;
  const rows = (split: typeof random) => split.parts.train.rows + split.parts.validation.rows + split.parts.test.rows;
  expect(rows(random)).toBe(288_609);
  expect(rows(cold)).toBe(288_609);
  expect(random.parts.test.rows / 288_609).toBeCloseTo(0.1, 1);
  expect(random.categorical.map(({ name }: { name: string }) => name)).toEqual([
    'user',
    'item',
    'daytime',
    'weekday',
    'isweekend',
    'homework',
    'cost',
    'weather',
    'country',
    'city',
  ]);
  const texts = random.scene.flatMap(({ texts }: { texts: string[] }) => texts);
  expect(texts).not.toContain('unknown');
  expect(texts).not.toContain('0');

  const config = join(folder, 'config.json');
  writeFileSync(config, JSON.stringify({ train: { epochs: 1 } }));
  const run = join(folder, 'run');
  const trained = await larr('train', '--data', data, '--model', 'ple', '--config', config, '--out', run, '--json');
  expect(trained.code, trained.stderr).toBe(0);
  const { metrics } = JSON.parse(trained.stdout);
  expect(metrics.ctrAuc).toBeGreaterThan(0.9);
  expect(metrics.ctcvrAuc).toBeNull();
  expect(JSON.parse(readFileSync(join(run, 'result.json'), 'utf8')).metrics).toEqual(metrics);
});
