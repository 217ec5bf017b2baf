import { cudaDevices } from '@larr/torch';
import { describe, expect, it } from 'vitest';
import { requireDevice } from './device.js';

describe('--device', () => {
  it('takes the CPU, and every GPU that is there', async () => {
    await requireDevice('cpu');
    for (const i of cudaDevices().keys()) await requireDevice(`cuda:${i}`);
  });

  it('refuses a GPU that is not there as wrong usage, saying what there is', async () => {
    const missing = `cuda:${cudaDevices().length}`;
    await expect(requireDevice(missing)).rejects.toMatchObject({
      name: 'UsageError',
      code: 'NO_SUCH_DEVICE',
      message: expect.stringMatching(new RegExp(`^--device ${missing}: .*(there (is|are) cuda:0|no NVIDIA GPU)`)),
    });
  });
});
