import { spawnSync } from 'node:child_process';
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { DeviceInfo } from '@larr/native-cuda';
import type { Command } from 'commander';
import { action, type OptionsOf, withOptions } from '../command-context.js';
import { libTorchDevices } from '../device.js';
import { textTable } from '../text-table.js';

interface Finding {
  name: string;
  found: string | null;
  /** What to do where something is missing or broken. */
  advice?: string;
}

function firstLine(program: string, args: string[]): string | null {
  const done = spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 });
  return done.error || done.status !== 0 ? null : (done.stdout.trim().split('\n')[0] ?? '');
}

/** What is wrong with a native addon, and how it is built. */
function buildAdvice(error: unknown, folder: string, more = ''): string {
  const { code, message } = error as { code?: string; message: string };
  const built = !/is not built|is missing/.test(message) && code !== 'ERR_MODULE_NOT_FOUND';
  const what = built ? message.split('\n')[0]!.replace(/\.$/, '') : `the native addon of ${folder} is not built`;
  return `${what}: run \`npm run setup\`${more} (or \`pnpm -C ${folder} build:native\` alone)`;
}

async function libTorch(): Promise<Finding> {
  try {
    const { versions } = await import('@larr/torch');
    const { libtorch, cuda } = versions();
    return {
      name: 'LibTorch',
      found: `${libtorch} (${cuda === null ? 'CPU' : `CUDA ${cuda}; ${await trainingDevices()}`})`,
    };
  } catch (error) {
    return {
      name: 'LibTorch',
      found: null,
      advice: buildAdvice(error, 'packages/torch', ', with LIBTORCH set where LibTorch lies elsewhere'),
    };
  }
}

/** What joins the processes that mpirun or srun starts; missing, it is missed by nobody who trains on one machine. */
async function processes(): Promise<Finding[]> {
  const name = 'several processes';
  try {
    const { mpiLibrary } = await import('@larr/torch');
    const found =
      mpiLibrary() ?? 'not possible without MPI (apt-get install libopenmpi-dev openmpi-bin, `npm run setup`)';
    return [{ name, found }];
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return code === 'TENSOR_JOB' ? [{ name, found: `not possible: ${message}` }] : [];
  }
}

/** Where `--device` can send training. */
async function trainingDevices(): Promise<string> {
  const found = await libTorchDevices();
  if ('problem' in found) return `not usable: ${found.problem}`;
  return found.devices.map(({ name }, i) => `cuda:${i} ${name}`).join(', ') || 'it finds no GPU';
}

/** What the kernels of the server and of `@larr/native-cuda` run on; in training they go where the tensors are. */
export function kernelFindings({ device, isa, isas, threads, cuda }: DeviceInfo): Finding[] {
  const devices = cuda.devices.map(
    ({ index, name, computeCapability, memory }) =>
      `cuda:${index} ${name} (${computeCapability}, ${(memory / 2 ** 30).toFixed(0)} GiB)`,
  );
  const place = device === 'cpu' ? `CPU, ${isa}, ${threads} threads` : `${device} (LARR_DEVICE)`;
  return [
    { name: 'InfoNCE kernel', found: place },
    { name: 'scene encoder', found: place },
    { name: 'instruction sets', found: isas.join(' ') },
    { name: 'CUDA kernels', found: devices.join(', ') || `not in use: ${cuda.problem}` },
  ];
}

async function kernels(): Promise<Finding[]> {
  try {
    const { deviceInfo } = await import('@larr/native-cuda');
    return kernelFindings(deviceInfo());
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    const asked = code === 'BAD_ARGUMENT' || code === 'NO_SUCH_DEVICE';
    const advice = asked ? message.split('\n')[0]! : buildAdvice(error, 'packages/native-cuda');
    return [{ name: 'kernels', found: null, advice }];
  }
}

/** Looks for everything LARR builds with and runs on. Nothing is changed. */
export async function examine(): Promise<{ ok: boolean; findings: Finding[] }> {
  const compiler = process.env.CXX ?? 'c++';
  const gpu = firstLine('nvidia-smi', ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']);
  const nvcc = spawnSync(process.env.CUDACXX ?? 'nvcc', ['--version'], { encoding: 'utf8' });
  const findings: Finding[] = [
    { name: 'Node', found: process.version },
    {
      name: 'C++ compiler',
      found: firstLine(compiler, ['--version']),
      advice: 'install g++ 11 or newer (Debian, Ubuntu: apt-get install g++) or set CXX',
    },
    {
      name: 'CMake',
      found: firstLine('cmake', ['--version']),
      advice: 'install CMake 3.24 or newer (Debian, Ubuntu: apt-get install cmake)',
    },
    await libTorch(),
    ...(await processes()),
    ...(await kernels()),
    {
      name: 'CUDA compiler',
      found: nvcc.error ? 'none (only needed for GPU kernels)' : (/release [\d.]+/.exec(nvcc.stdout)?.[0] ?? 'found'),
    },
    { name: 'GPU', found: gpu ?? 'none (everything runs on the CPU)' },
    { name: 'processor', found: `${cpus()[0]?.model.trim() ?? 'unknown'}, ${availableParallelism()} threads` },
    { name: 'memory', found: `${(totalmem() / 2 ** 30).toFixed(1)} GiB` },
  ];
  for (const finding of findings) if (finding.found !== null) delete finding.advice;
  return { ok: findings.every((finding) => finding.found !== null), findings };
}

export function registerDoctor(program: Command): void {
  withOptions(
    program.command('doctor').description('say what was found: compilers, LibTorch, GPU, instruction sets'),
  ).action(
    action<OptionsOf, Awaited<ReturnType<typeof examine>>>(
      async () => {
        const result = await examine();
        if (!result.ok) process.exitCode = 1;
        return result;
      },
      (result) =>
        textTable(
          ['part', 'found'],
          result.findings.map((finding) => [finding.name, finding.found ?? `MISSING: ${finding.advice}`]),
          'left',
        ),
    ),
  );
}
