import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cudaDevices } from '@larr/torch';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { libTorchDevices, requireDevice } from './device.js';

afterEach(() => vi.unstubAllEnvs());

describe('--device', () => {
  it('takes the CPU, and every GPU that is there', async () => {
    await requireDevice('cpu');
    for (const i of cudaDevices().keys()) await requireDevice(`cuda:${i}`);
  }, 60_000);

  it('refuses a GPU that is not there as wrong usage, saying what there is', async () => {
    const missing = `cuda:${cudaDevices().length}`;
    const seen = /^--device \S+: .*(there (is|are) cuda:0|no NVIDIA GPU|one for the CPU)/;
    await expect(requireDevice(missing)).rejects.toMatchObject({
      name: 'UsageError',
      code: 'NO_SUCH_DEVICE',
      message: expect.stringMatching(seen),
    });
  }, 60_000);

  it('is asked of LibTorch in a process of its own, which may crash', async () => {
    expect(await libTorchDevices()).toEqual({ devices: cudaDevices() });
    const folder = mkdtempSync(join(tmpdir(), 'larr-crash-'));
    try {
      // Loaded into whatever is started, it stands for a driver that takes down the process that calls it.
      const crash = join(folder, 'crash.so');
      const made = spawnSync('c++', ['-shared', '-fPIC', '-x', 'c++', '-o', crash, '-'], {
        input: '#include <cstdlib>\nnamespace { struct Crash { Crash() { std::abort(); } } crash; }\n',
        encoding: 'utf8',
      });
      expect(made).toMatchObject({ status: 0, stderr: '' });
      vi.stubEnv('LD_PRELOAD', crash);
      expect(await libTorchDevices()).toEqual({ problem: expect.stringMatching(/driver crashed.*SIGABRT/) });
    } finally {
      rmSync(folder, { recursive: true });
    }
  }, 60_000);
});
