import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const program = fileURLToPath(new URL('../build/Release/kernel_tests', import.meta.url));

test('both kernels agree with their float64 references on every instruction set of this machine, for fixed and large random shapes', () => {
  const report = JSON.parse(execFileSync(program, ['60'], { encoding: 'utf8' }));
  expect(report.failures).toBe(0);
  expect(report.checks).toBeGreaterThan(10_000);
}, 300_000);

test('10,000 small cases of odd shapes and numbers each, the same every time, agree too', () => {
  const report = JSON.parse(execFileSync(program, ['--fuzz', '10000'], { encoding: 'utf8' }));
  expect(report.failures).toBe(0);
  expect(report.checks).toBeGreaterThan(500_000);
}, 300_000);
