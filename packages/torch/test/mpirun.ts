// Starts several processes as mpirun does, for tests; here and in @larr/trainer.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Why several processes can't be started here; null where they can. */
export const noMpirun = !existsSync(new URL('../build/Release/larr_mpi.so', import.meta.url))
  ? 'LARR was built without MPI'
  : spawnSync('mpirun', ['--version']).status === 0
    ? null
    : 'there is no mpirun';

export interface Launched {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** A name for a suite that needs `mpirun`: says why, where it is skipped. */
export const launchedBy = (name: string) => (noMpirun === null ? name : `${name} (skipped: ${noMpirun})`);

/** Also as root, in containers that may not read each other's memory, and on fewer processors than processes. */
const anywhere = {
  OMPI_MCA_btl_vader_single_copy_mechanism: 'none',
  OMPI_MCA_mpi_yield_when_idle: '1',
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
  OMPI_MCA_hwloc_base_binding_policy: 'none',
  OMP_NUM_THREADS: '1',
};

/** Runs `node …args` in `processes` processes, with `env` besides this process's. `onOutput` is told what they have printed so far. */
export function mpirun(
  processes: number,
  args: string[],
  onOutput: (stdout: string, stderr: string) => void = () => {},
  env: NodeJS.ProcessEnv = {},
): Promise<Launched> {
  return new Promise((resolve, reject) => {
    const child = spawn('mpirun', ['-n', String(processes), process.execPath, ...args], {
      env: { ...process.env, ...anywhere, ...env },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => {
      stdout += data;
    });
    child.stderr.on('data', (data) => {
      stderr += data;
      onOutput(stdout, stderr);
    });
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

/** The lines of JSON that the ranks printed, by `rank`. */
export function byRank<T extends { rank: number }>({ stdout }: Pick<Launched, 'stdout'>): T[] {
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  return lines.map((line) => JSON.parse(line) as T).sort((a, b) => a.rank - b.rank);
}
