import { UsageError } from '@larr/core';

/**
 * Makes sure that the device named by `--device` is there, before a command does anything.
 * @throws UsageError `NO_SUCH_DEVICE` telling what there is
 */
export async function requireDevice(device: string): Promise<void> {
  if (device === 'cpu') return;
  const { cudaDevices, versions } = await import('@larr/torch');
  const found = cudaDevices();
  const number = device === 'cuda' ? 0 : Number(device.slice('cuda:'.length));
  if (number < found.length) return;
  const { libtorch, cuda } = versions();
  const seen =
    found.length > 0
      ? `there ${found.length === 1 ? 'is' : 'are'} ${found.map(({ name }, i) => `cuda:${i} (${name})`).join(', ')}`
      : `LibTorch ${libtorch}${cuda === null ? ' is one for the CPU, or' : ''} finds no NVIDIA GPU here`;
  throw new UsageError('NO_SUCH_DEVICE', `--device ${device}: ${seen}. Leave --device out to compute on the CPU`);
}
