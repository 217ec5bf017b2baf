// `npm test`: lint, then every test of every package, then one line of totals.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup.mjs';

const filters = process.argv.slice(2);
const report = join(root, '.cache', 'tests.json');
mkdirSync(join(root, '.cache'), { recursive: true });

const lint = spawnSync('biome', ['check', '.'], { cwd: root, stdio: 'inherit' });
const vitest = spawnSync(
  'vitest',
  ['run', ...filters, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`],
  { cwd: root, stdio: 'inherit', env: { ...process.env, CI: process.env.CI ?? 'true' } },
);

let totals = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] };
try {
  totals = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  // The run ended before it could write its report: nothing passed, which the exit code below says.
}
if (lint.status !== 0) process.stdout.write('lint failed: see above, or run `npm run format`\n');
// A file that does not load fails without a test of its own; a report that is missing, too.
const broken = totals.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
).length;
const crashed = vitest.status !== 0 && totals.numFailedTests + broken === 0 ? 1 : 0;
const failed = totals.numFailedTests + broken + crashed + (lint.status === 0 ? 0 : 1);
process.stdout.write(
  `${totals.numPassedTests} passed, ${failed} failed, ${totals.numPendingTests + totals.numTodoTests} skipped\n`,
);
process.exit(lint.status === 0 && vitest.status === 0 && totals.numPassedTests > 0 ? 0 : 1);
