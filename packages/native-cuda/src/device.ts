import { native } from './native.js';

/** Instruction sets of the CPU paths, weakest first; `scalar` is the plain C++ path that runs anywhere. */
export type Isa = 'scalar' | 'avx2' | 'avx512' | 'avx512bf16' | 'amx';

export interface DeviceInfo {
  /** Where the kernels run: `cpu`, or what `LARR_DEVICE` asked for. */
  device: string;
  /** The instruction set in use: the best supported one, or what `LARR_ISA` asked for. */
  isa: Isa;
  /** Every instruction set this machine and its operating system support. */
  isas: Isa[];
  /** Threads a call is spread over: `LARR_THREADS`, or the processors this process may run on. */
  threads: number;
  /** The CUDA kernels in this build; null where there are none. */
  cuda: { compiled: boolean; runtime?: string } | null;
}

/** @throws KernelError BAD_ARGUMENT where LARR_DEVICE, LARR_ISA or LARR_THREADS ask for what is not there. */
export function deviceInfo(): DeviceInfo {
  const info = native().deviceInfo();
  return { ...info, isa: info.isa as Isa, isas: info.isas as Isa[], cuda: null };
}
