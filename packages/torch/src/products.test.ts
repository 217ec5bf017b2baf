import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const built = (path: string) => fileURLToPath(new URL(`../build/${path}`, import.meta.url));

it("the decoder's products agree with float64 on every instruction set of this machine, and on emulated AMX tiles", () => {
  const { stdout, stderr } = spawnSync(built('Release/product_tests'), ['100'], { encoding: 'utf8' });
  expect(stderr).toBe('');
  const report = JSON.parse(stdout);
  expect(report.failures).toBe(0);
  expect(report.sets).toContain('scalar');
  expect(report.sets.includes('amx (emulated)')).toBe(report.sets.includes('avx512bf16'));
  if (report.sets.includes('avx512')) expect(report.checks).toBeGreaterThan(10_000);
});

it('what is built for one instruction set does not run at the start of the program, on processors without it', () => {
  const kernels = fileURLToPath(new URL('../../native-cuda/build/CMakeFiles/larr_kernels.dir/', import.meta.url));
  const objects = [kernels, built('CMakeFiles/larr_decoder.dir/')].flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => /_(avx2|avx512|avx512bf16|amx)\.cpp\.o$/.test(path))
      .map((path) => join(folder, path)),
  );
  if (process.arch === 'x64') expect(objects.length).toBeGreaterThan(8);
  // the section of a program's initialisers, by its name
  for (const path of objects) expect(readFileSync(path).includes('.init_array'), path).toBe(false);
});
