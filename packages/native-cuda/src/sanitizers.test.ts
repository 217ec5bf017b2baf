import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../scripts/sanitize.sh', import.meta.url));

/** Whether this machine's compiler comes with a sanitizer and its library, and this system runs what it makes. */
function has(sanitizer: string): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'larr-sanitizer-'));
  try {
    const program = join(folder, 'program');
    const flags = [`-fsanitize=${sanitizer}`, '-x', 'c++', '-', '-o', program];
    const made = spawnSync(process.env.CXX ?? 'c++', flags, { input: 'int main() { return 0; }', encoding: 'utf8' });
    return made.status === 0 && spawnSync('sh', ['-c', `setarch -R "${program}" || "${program}"`]).status === 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const sanitizer of ['address,undefined', 'thread']) {
  test.runIf(has(sanitizer))(
    `the kernels, their threads and the addon's run clean under -fsanitize=${sanitizer}`,
    () => {
      const ended = spawnSync('sh', [script, sanitizer], { encoding: 'utf8' });
      expect(ended.stderr).toBe('');
      expect(ended.status).toBe(0);
      const report = JSON.parse(ended.stdout.trim().split('\n').at(-1) as string);
      expect(report.failures).toBe(0);
      expect(report.checks).toBeGreaterThan(2000);
    },
    300_000,
  );
}
