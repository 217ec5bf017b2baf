import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const cpp = fileURLToPath(new URL('../cpp', import.meta.url));

/** A failure of C++, thrown where no GPU is needed for it, as the addon reports it. */
const thrown: [what: string, code: string, message: RegExp][] = [
  ['cuda::Failure(2, "CUDA, workspace: out of memory")', 'OUT_OF_MEMORY', /^not enough memory on the GPU: .*workspace/],
  ['cuda::Failure(700, "CUDA, copying: an illegal memory access")', 'KERNEL_FAILED', /^CUDA, copying/],
  ['CudaMissing("there is no CUDA device 3")', 'NO_SUCH_DEVICE', /device 3/],
  ['std::bad_alloc()', 'OUT_OF_MEMORY', /workspace/],
  ['std::invalid_argument("dim is 0")', 'BAD_ARGUMENT', /^dim is 0$/],
  ['std::out_of_range("row 9")', 'OUT_OF_RANGE', /^row 9$/],
  ['Cancelled()', 'CANCELLED', /./],
  ['std::runtime_error("odd")', 'KERNEL_FAILED', /^odd$/],
  ['7', 'KERNEL_FAILED', /unknown/],
];

test('every failure of a kernel has its own code: memory of the GPU, a GPU that is not there, and the rest', () => {
  const folder = mkdtempSync(join(tmpdir(), 'larr-failures-'));
  try {
    const program = join(folder, 'program');
    const source = `#include <cstdio>
      #include "addon/failure.h"
      using namespace larr;
      int main() {
        ${thrown.map(([what]) => `try { throw ${what}; } catch (...) { auto r = addon::report(std::current_exception()); std::printf("%s|%s\\n", r.code.c_str(), r.message.c_str()); }`).join('\n')}
      }`;
    const flags = ['-std=c++20', `-I${cpp}`, `-I${join(cpp, 'include')}`, '-x', 'c++', '-', '-o', program];
    const made = spawnSync(process.env.CXX ?? 'c++', flags, { input: source, encoding: 'utf8' });
    expect(made).toMatchObject({ status: 0, stderr: '' });
    const lines = spawnSync(program, { encoding: 'utf8' }).stdout.trim().split('\n');
    expect(lines).toHaveLength(thrown.length);
    thrown.forEach(([what, code, message], i) => {
      const [gotCode, gotMessage] = lines[i]!.split('|');
      expect(gotCode, what).toBe(code);
      expect(gotMessage, what).toMatch(message);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
