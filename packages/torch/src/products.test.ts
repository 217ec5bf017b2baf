import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { deviceInfo } from '@larr/native-cuda';
import { expect, it } from 'vitest';

const program = fileURLToPath(new URL('../build/Release/product_tests', import.meta.url));

it("the decoder's products agree with float64 on every instruction set of this machine, and on emulated AMX tiles", () => {
  const report = JSON.parse(execFileSync(program, ['100'], { encoding: 'utf8' }));
  expect(report.failures).toBe(0);
  expect(report.sets).toContain(deviceInfo().isa);
  expect(report.sets.includes('amx (emulated)')).toBe(/^(avx512bf16|amx)$/.test(deviceInfo().isa));
  // rows of products, and as many of outer products
  if (deviceInfo().isa !== 'scalar' && deviceInfo().isa !== 'avx2') expect(report.checks).toBeGreaterThan(10_000);
});
