import { spawnSync } from 'node:child_process';
import { KernelError } from './errors.js';
import { native, path } from './native.js';

/** Instruction sets of the CPU paths, weakest first; `scalar` is the plain C++ path that runs anywhere. */
export type Isa = 'scalar' | 'avx2' | 'avx512' | 'avx512bf16' | 'amx';

export interface CudaDevice {
  /** `cuda:<index>`. */
  index: number;
  name: string;
  /** Major and minor, as `9.0`. */
  computeCapability: string;
  multiprocessors: number;
  /** Bytes. */
  memory: number;
}

export interface CudaInfo {
  /** Whether this build has the CUDA kernels. */
  compiled: boolean;
  /** The GPUs that the driver names. */
  devices: CudaDevice[];
  /** Why there are none. */
  problem?: string;
}

export interface DeviceInfo {
  /** Where InfoNCE runs: `cpu`, or the `cuda:<index>` that `LARR_DEVICE` asked for. */
  device: string;
  /** The instruction set in use: the best supported one, or what `LARR_ISA` asked for. */
  isa: Isa;
  /** Every instruction set this machine and its operating system support. */
  isas: Isa[];
  /** Threads a call is spread over: `LARR_THREADS`, or the processors this process may run on. */
  threads: number;
  cuda: CudaInfo;
}

const PROBE = 'process.stdout.write(JSON.stringify(require(process.argv[1]).cudaDevices()))';
const PROBE_MS = 30_000;

/** Asks the driver from a process of its own: a broken one may crash or hang what first calls it. */
function probe(): Pick<CudaInfo, 'devices' | 'problem'> {
  const { NODE_OPTIONS: _, ...env } = process.env; // an inspector's port, a hook: none of the probe's business
  const ended = spawnSync(process.execPath, ['-e', PROBE, path], { encoding: 'utf8', timeout: PROBE_MS, env });
  const none = (problem: string) => ({ devices: [], problem });
  if (ended.error) {
    const hung = (ended.error as NodeJS.ErrnoException).code === 'ETIMEDOUT';
    return none(
      hung
        ? `the CUDA driver did not answer within ${PROBE_MS / 1000} s`
        : `the driver could not be asked: ${ended.error.message}`,
    );
  }
  if (ended.signal) return none(`the CUDA driver crashed when it was asked for its devices (${ended.signal})`);
  if (ended.status !== 0) {
    const said = /^\w*Error: .*$/m.exec(ended.stderr)?.[0] ?? `exit status ${ended.status}`;
    return none(`the CUDA driver could not be asked for its devices: ${said}`);
  }
  return JSON.parse(ended.stdout);
}

let cuda: CudaInfo | undefined;

function cudaInfo(): CudaInfo {
  cuda ??= native().deviceInfo().cudaCompiled
    ? { compiled: true, ...probe() }
    : { compiled: false, devices: [], problem: 'this build has no CUDA kernels (there was no nvcc when it was made)' };
  return cuda;
}

let gpu: number | undefined;

/**
 * The GPU that `LARR_DEVICE=cuda[:n]` names, -1 for the processor. Looked up once.
 *
 * @throws KernelError BAD_ARGUMENT where there is no such device.
 */
export function activeGpu(): number {
  if (gpu !== undefined) return gpu;
  const wanted = native().deviceInfo().gpu;
  if (wanted >= 0) {
    const { devices, problem } = cudaInfo();
    if (!devices.some(({ index }) => index === wanted)) {
      const there = problem ?? `there is ${devices.map(({ index, name }) => `cuda:${index} (${name})`).join(', ')}`;
      throw new KernelError('BAD_ARGUMENT', `LARR_DEVICE=${process.env.LARR_DEVICE} is not available: ${there}`);
    }
  }
  gpu = wanted;
  return gpu;
}

/**
 * What the kernels run on. The first call asks the CUDA driver, if the build has CUDA kernels, which takes a moment.
 *
 * @throws KernelError BAD_ARGUMENT where LARR_DEVICE, LARR_ISA or LARR_THREADS ask for what is not there.
 */
export function deviceInfo(): DeviceInfo {
  const { isa, isas, threads } = native().deviceInfo();
  const index = activeGpu();
  return {
    device: index < 0 ? 'cpu' : `cuda:${index}`,
    isa: isa as Isa,
    isas: isas as Isa[],
    threads,
    cuda: structuredClone(cudaInfo()),
  };
}
