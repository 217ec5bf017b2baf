// How a process learns that it is one of several of a launch. Plain: it is asked by commands that need nothing native.

/** A process's number among those of one launch, by what launches them: Open MPI, MPICH and Intel MPI, Slurm, torchrun. */
const RANKS = [
  ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'],
  ['PMI_RANK', 'PMI_SIZE'],
  ['SLURM_PROCID', 'SLURM_NTASKS'],
  ['RANK', 'WORLD_SIZE'],
] as const;

/** The variables that `launchRank` reads. */
export const rankVariables: readonly string[] = RANKS.map(([rank]) => rank);

/** The process's number and how many there are, as any launcher says it; null where none does. They need not be numbers. */
export function launchRank(env: NodeJS.ProcessEnv = process.env): { index: number; count: number } | null {
  const names = RANKS.find(([rank]) => env[rank] !== undefined);
  return names === undefined ? null : { index: Number(env[names[0]]), count: Number(env[names[1]]) };
}

/** A launch of several processes that are to work together. */
export interface Launch {
  rank: number;
  size: number;
  /** Those on this machine; 1 where the launcher does not say. */
  localSize: number;
  /** The variable that tells `size`. */
  variable: string;
}

/** How many processes a launcher says there are on this machine. Slurm writes a list, "4(x2),3", of which the first is taken. */
function localSizeOf(env: NodeJS.ProcessEnv): number {
  const told = env.OMPI_COMM_WORLD_LOCAL_SIZE ?? env.MPI_LOCALNRANKS ?? env.SLURM_STEP_TASKS_PER_NODE ?? '';
  return Math.max(1, Number.parseInt(told, 10) || 1);
}

/**
 * The launch by mpirun, mpiexec or srun that this process is one of several of; null where it is alone. Slurm counts by its step:
 * a batch script that has many tasks allotted is one process. torchrun is no launcher of MPI's.
 */
export function launchOf(env: NodeJS.ProcessEnv = process.env): Launch | null {
  const launchers = [
    ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'],
    ['PMI_RANK', 'PMI_SIZE'],
    ['SLURM_PROCID', 'SLURM_STEP_NUM_TASKS'],
  ] as const;
  for (const [rank, variable] of launchers) {
    const size = Number(env[variable] ?? 1);
    if (env[rank] !== undefined && Number.isSafeInteger(size) && size > 1)
      return { rank: Number(env[rank]), size, localSize: localSizeOf(env), variable };
  }
  return null;
}
