import { closeSync, openSync, readFileSync, renameSync, rmdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { UsageError } from '../errors.js';
import { makeDirectory } from './make-directory.js';

/** Held by one process at a time; `release` gives it back, and may be called twice. */
export interface DirectoryLock {
  release(): void;
}

const FILE = '.larr.lock';

/** Who holds a lock. A process id alone is used again, in a container after every restart: with its start it is not. */
interface Holder {
  pid: number;
  /** when the process started, in ticks since the machine did; null where the system does not say */
  started: string | null;
}

/**
 * Keeps a directory, which is made if it is not there, to this process: two that write the same files at once would mix their lines.
 * A lock that a killed process left behind counts for nothing. It is a file with the holder's process id.
 * @param purpose what the directory is to this program, for the message: "the event log"
 * @throws UsageError `OUT_NOT_WRITABLE`, `IN_USE` naming the other process
 */
export function lockDirectory(directory: string, purpose: string): DirectoryLock {
  const path = join(directory, FILE);
  const made = makeDirectory(directory);
  // Whoever finds a dead one's lock tries again; another may be quicker every time, but not for ever.
  for (let attempt = 0; attempt < 10; attempt++) {
    if (take(path)) {
      let held = true;
      return {
        release() {
          if (!held) return;
          held = false;
          rmSync(path, { force: true });
          if (made !== undefined) removeEmpty(resolve(directory), resolve(made));
        },
      };
    }
    const found = holderOf(path);
    if (found !== null && alive(found)) {
      throw new UsageError(
        'IN_USE',
        found.pid === process.pid
          ? `${purpose} ${directory} is in use by this process already. Name another directory`
          : `${purpose} ${directory} is in use by process ${found.pid} of LARR${since(path)}. Stop it (kill ${found.pid}) or wait for it to end, or name another directory`,
        { file: path },
      );
    }
    discard(path, found);
  }
  throw new UsageError('IN_USE', `${purpose} ${directory} is being taken by several processes at once; try again`);
}

/** Since when a lock is held: its file is written once. Nothing where it was given back just now. */
function since(path: string): string {
  const at = statSync(path, { throwIfNoEntry: false })?.mtime;
  return at === undefined ? '' : ` since ${at.toISOString().slice(0, 19)}Z`;
}

function take(path: string): boolean {
  let file: number;
  try {
    file = openSync(path, 'wx');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  try {
    writeSync(file, `${JSON.stringify({ pid: process.pid, started: startOf(process.pid) } satisfies Holder)}\n`);
  } finally {
    closeSync(file);
  }
  return true;
}

/** Null where the file is gone or says nothing. Between its making and its first line it is empty for a moment. */
function holderOf(path: string): Holder | null {
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      const { pid, started } = JSON.parse(readFileSync(path, 'utf8')) as Holder;
      if (Number.isSafeInteger(pid) && pid > 0) return { pid, started };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
  return null;
}

/** Takes a dead process's lock away, unless it has become another's meanwhile. */
function discard(path: string, seen: Holder | null): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // another took it away
  }
  const taken = holderOf(aside);
  if (taken !== null && taken.pid !== seen?.pid && alive(taken)) renameSync(aside, path);
  else rmSync(aside, { force: true });
}

function alive({ pid, started }: Holder): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startOf(pid);
  return now !== ENDED && (started === null || now === null || started === now);
}

/** Of a process that has ended, and that its parent has not asked about yet. */
const ENDED = 'ended';

/** Field 22 of /proc/<pid>/stat (proc(5)); the second, the name, may hold blanks and brackets. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? ENDED : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Removes the directories from `from` up to `to` that hold nothing. */
function removeEmpty(from: string, to: string): void {
  for (let path = from; path.startsWith(to); path = dirname(path)) {
    try {
      rmdirSync(path);
    } catch {
      return; // something is in it
    }
  }
}
