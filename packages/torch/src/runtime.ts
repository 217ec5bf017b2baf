import { native } from './addon.js';

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

/** What this LibTorch is. */
export interface Versions {
  libtorch: string;
  /** The CUDA runtime's version, or null without CUDA. */
  cuda: string | null;
  cudaDevices: number;
  /** The instruction set that its kernels chose: DEFAULT, AVX2, AVX512. */
  cpuCapability: string;
  /** Its build configuration, in lines. */
  build: string;
}
export const versions = native.versions as () => Versions;
