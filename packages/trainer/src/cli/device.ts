import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { UsageError } from '@larr/core';
import type { Job } from '@larr/torch';

/** Loading a LibTorch with CUDA from a cold disk takes its time. */
const SECONDS = 120;
const ASK_LIBTORCH =
  'import(process.argv[1]).then(({ cudaDevices }) => process.stdout.write(JSON.stringify(cudaDevices())))';

/**
 * The GPUs that LibTorch sees, `cuda:0` first, or why it can't be asked. It is asked in a process of its own: a broken driver takes
 * down or holds up what first calls it, and other drivers suit LibTorch than suit the kernels.
 */
export async function libTorchDevices(): Promise<{ devices: { name: string }[] } | { problem: string }> {
  const { askDriver } = await import('@larr/native-cuda');
  const torch = pathToFileURL(createRequire(import.meta.url).resolve('@larr/torch')).href;
  const asked = await askDriver<{ name: string }[]>(ASK_LIBTORCH, torch, SECONDS);
  return 'answer' in asked ? { devices: asked.answer } : asked;
}

/**
 * Makes sure that the device named by `--device` is there, before a command does anything.
 * @throws UsageError `NO_SUCH_DEVICE` telling what there is
 */
export async function requireDevice(device: string): Promise<void> {
  if (device === 'cpu') return;
  const refuse = (seen: string) =>
    new UsageError('NO_SUCH_DEVICE', `--device ${device}: ${seen}. Leave --device out to compute on the CPU`);
  const { versions } = await import('@larr/torch');
  const { libtorch, cuda } = versions();
  if (cuda === null) throw refuse(`LibTorch ${libtorch} is one for the CPU`);
  const found = await libTorchDevices();
  if ('problem' in found) throw refuse(found.problem);
  const { devices } = found;
  const number = device === 'cuda' ? 0 : Number(device.slice('cuda:'.length));
  if (number < devices.length) return;
  throw refuse(
    devices.length > 0
      ? `there ${devices.length === 1 ? 'is' : 'are'} ${devices.map(({ name }, i) => `cuda:${i} (${name})`).join(', ')}`
      : `LibTorch ${libtorch} finds no NVIDIA GPU here`,
  );
}

/** The device of one of several processes: of `cuda`, each takes one of its machine's GPUs by its number there. */
export async function deviceOfRank(device: string, { localRank }: Job): Promise<string> {
  if (device !== 'cuda') return device;
  const { cudaDevices } = await import('@larr/torch');
  return `cuda:${localRank % cudaDevices().length}`;
}
