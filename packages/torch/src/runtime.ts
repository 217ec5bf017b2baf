import { native } from './addon.js';
import type { Device } from './tensor.js';

/** Seeds the random numbers of every device. They belong to the process: threads that draw at once share one stream. */
export const manualSeed = native.manualSeed as (seed: number) => void;
/** The state of the random numbers of every device, for an exact resume. */
export const getRngState = native.getRngState as () => Uint8Array;
/** @throws TensorError TENSOR_ARGUMENT when the bytes are no state */
export const setRngState = native.setRngState as (state: Uint8Array) => void;

/** Threads that an operator may use. */
export const setNumThreads = native.setNumThreads as (threads: number) => void;
export const getNumThreads = native.getNumThreads as () => number;

/** Whether this LibTorch has CUDA and sees a device. */
export const cudaAvailable = native.cudaAvailable as () => boolean;

const nativeCudaDevices = native.cudaDevices as () => [name: string, bytes: number][];
/** The CUDA devices that this LibTorch sees, `cuda:0` first: the name and the memory in bytes of each. */
export function cudaDevices(): { name: string; memory: number }[] {
  return nativeCudaDevices().map(([name, memory]) => ({ name, memory }));
}

/** Memory of a CUDA device as LibTorch's allocator has it, in bytes: all threads of the process together. */
export interface CudaMemory {
  /** Of live tensors. */
  allocated: number;
  /** The most that `allocated` ever was. */
  peak: number;
  /** Held from the device: `allocated`, and what is kept for reuse. */
  reserved: number;
}
const nativeCudaMemory = native.cudaMemory as (device: Device) => [number, number, number];
/** @throws TensorError TENSOR_DEVICE when there is no such device */
export function cudaMemory(device: Device = 'cuda'): CudaMemory {
  const [allocated, peak, reserved] = nativeCudaMemory(device);
  return { allocated, peak, reserved };
}

/** Waits until all work queued on a device is done: operators on CUDA return before it is. For measuring times. */
export const synchronize = native.synchronize as (device: Device) => void;

/** What this LibTorch is, whatever devices there are. */
export interface Versions {
  libtorch: string;
  /** The CUDA runtime's version, or null without CUDA. */
  cuda: string | null;
  /** The instruction set that its kernels chose: DEFAULT, AVX2, AVX512. */
  cpuCapability: string;
  /** Its build configuration, in lines. */
  build: string;
}
export const versions = native.versions as () => Versions;
