import { askDriver, askDriverSync, type DriverAnswer } from './driver.js';
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
  /** Where InfoNCE and the scene encoder run: `cpu`, or the `cuda:<index>` that `LARR_DEVICE` asked for. The ranker runs on the CPU. */
  device: string;
  /** The instruction set in use: the best supported one, or what `LARR_ISA` asked for. */
  isa: Isa;
  /** Every instruction set this machine and its operating system support. */
  isas: Isa[];
  /** Threads a call is spread over: `LARR_THREADS`, or the processors this process may run on. */
  threads: number;
  cuda: CudaInfo;
}

type Driver = Pick<CudaInfo, 'devices' | 'problem'>;

const PROBE = 'process.stdout.write(JSON.stringify(require(process.argv[1]).cudaDevices()))';

let cuda: CudaInfo | undefined;
let asked: Promise<CudaInfo> | undefined;

/** What is known without the driver. */
function withoutDriver(): CudaInfo | undefined {
  if (cuda === undefined && !native().deviceInfo().cudaCompiled) {
    const problem = 'this build has no CUDA kernels (there was no nvcc when it was made)';
    cuda = { compiled: false, devices: [], problem };
  }
  return cuda;
}

function learnt(answer: DriverAnswer<Driver>): CudaInfo {
  cuda ??= { compiled: true, ...('answer' in answer ? answer.answer : { devices: [], problem: answer.problem }) };
  return cuda;
}

function cudaInfoSync(): CudaInfo {
  return withoutDriver() ?? learnt(askDriverSync(PROBE, path));
}

function askedCuda(): Promise<CudaInfo> {
  const known = withoutDriver();
  if (known !== undefined) return Promise.resolve(known);
  asked ??= askDriver<Driver>(PROBE, path).then(learnt);
  return asked;
}

/**
 * The GPUs for the kernels, or why there are none. Asked once a thread, from a process of its own, so that a broken driver takes
 * nothing down; the event loop goes on meanwhile.
 */
export async function cudaInfo(): Promise<CudaInfo> {
  return structuredClone(await askedCuda());
}

let gpu: number | undefined;

/** The GPU that `LARR_DEVICE=cuda[:n]` names, -1 for the processor; undefined while the driver has not been asked for it. */
export function knownGpu(): number | undefined {
  if (gpu === undefined && native().deviceInfo().gpu < 0) gpu = -1;
  return gpu;
}

function choose({ devices, problem }: CudaInfo): number {
  const wanted = native().deviceInfo().gpu;
  if (!devices.some(({ index }) => index === wanted)) {
    const there = problem ?? `there is ${devices.map(({ index, name }) => `cuda:${index} (${name})`).join(', ')}`;
    throw new KernelError('NO_SUCH_DEVICE', `LARR_DEVICE=${process.env.LARR_DEVICE} is not available: ${there}`);
  }
  gpu = wanted;
  return wanted;
}

/**
 * As {@link knownGpu}, the driver asked where it has to be.
 *
 * @throws KernelError NO_SUCH_DEVICE where there is no such device (as a rejection).
 */
export async function activeGpu(): Promise<number> {
  return knownGpu() ?? choose(await askedCuda());
}

/** {@link activeGpu} for calls that can't wait; the event loop does. */
export function activeGpuSync(): number {
  return knownGpu() ?? choose(cudaInfoSync());
}

/**
 * What the kernels run on. The first call asks the CUDA driver, if the build has CUDA kernels, which takes a moment.
 *
 * @throws KernelError BAD_ARGUMENT where LARR_DEVICE, LARR_ISA or LARR_THREADS can't be read or the last two ask for what is not there,
 * NO_SUCH_DEVICE where LARR_DEVICE does.
 */
export function deviceInfo(): DeviceInfo {
  const { isa, isas, threads } = native().deviceInfo();
  const index = activeGpuSync();
  return {
    device: index < 0 ? 'cpu' : `cuda:${index}`,
    isa: isa as Isa,
    isas: isas as Isa[],
    threads,
    cuda: structuredClone(cudaInfoSync()),
  };
}
