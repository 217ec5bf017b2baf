import { execFile, spawnSync } from 'node:child_process';

/** What a script that asks the CUDA driver printed, parsed; or why it printed nothing. */
export type DriverAnswer<T> = { answer: T } | { problem: string };

interface Ended {
  error: Error | null;
  timedOut: boolean;
  signal: NodeJS.Signals | null;
  status: number | null;
  stdout: string;
  stderr: string;
}

const SECONDS = 30;

function settings(seconds: number) {
  const { NODE_OPTIONS: _, ...env } = process.env; // an inspector's port, a hook: none of the child's business
  // What hangs in a driver need not listen to anything milder.
  return { encoding: 'utf8' as const, timeout: 1000 * seconds, killSignal: 'SIGKILL' as const, env };
}

function answerOf<T>({ error, timedOut, signal, status, stdout, stderr }: Ended, seconds: number): DriverAnswer<T> {
  if (timedOut) return { problem: `the CUDA driver did not answer within ${seconds} s` };
  if (signal !== null) return { problem: `the CUDA driver crashed when it was asked for its devices (${signal})` };
  if (status === null) return { problem: `the CUDA driver could not be asked: ${error?.message}` };
  if (status !== 0) {
    const said = /^\w*Error: .*$/m.exec(stderr)?.[0] ?? `exit status ${status}`;
    return { problem: `the CUDA driver could not be asked for its devices: ${said}` };
  }
  return { answer: JSON.parse(stdout) as T };
}

/**
 * Runs a script that asks the CUDA driver, in a process of its own: a broken driver may crash or hang what first calls it.
 * @param script what `node -e` runs; it prints one JSON document. `argument` is its process.argv[1]
 */
export function askDriver<T>(script: string, argument: string, seconds = SECONDS): Promise<DriverAnswer<T>> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['-e', script, argument], settings(seconds), (error, stdout, stderr) => {
      const { code = 0, killed: timedOut = false, signal = null } = error ?? {};
      // `code` is the exit status, or the name of what kept the child from starting.
      const status = typeof code === 'number' ? code : null;
      resolve(answerOf({ error, timedOut, signal: signal ?? null, status, stdout, stderr }, seconds));
    });
  });
}

/** {@link askDriver} for calls that can't wait; the event loop does. */
export function askDriverSync<T>(script: string, argument: string): DriverAnswer<T> {
  const ended = spawnSync(process.execPath, ['-e', script, argument], settings(SECONDS));
  const error: NodeJS.ErrnoException | null = ended.error ?? null;
  return answerOf<T>({ ...ended, error, timedOut: error?.code === 'ETIMEDOUT' }, SECONDS);
}
