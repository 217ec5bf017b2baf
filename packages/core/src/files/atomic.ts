import { randomBytes } from 'node:crypto';
import { open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeDirectory } from './make-directory.js';
import { explainNoRoom } from './no-room.js';
import { mustBeDirectory, mustBeReplaceable } from './output-directory.js';

/**
 * Writes a file so that other processes, and a later run after a crash, see either the old content or all of the new.
 * The parent directory is made if needed.
 * @param content whole, or in pieces that are written one after another
 * @param mode permissions of the file, less the process's mask
 */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array | Generator<Uint8Array>,
  mode = 0o666,
): Promise<void> {
  makeDirectory(dirname(path));
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    const handle = await open(temporary, 'w', mode);
    try {
      await writeFile(handle, content);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/**
 * Builds a directory beside its final place and swaps it in once `build` has finished, so `path` is never half-written:
 * on an error nothing changes there. An empty directory, or a dataset or bundle, is replaced. Left-overs of killed runs are
 * removed.
 * @param build fills the (empty) directory it is given
 * @throws UsageError `OUT_NOT_OURS`, `OUT_NOT_A_DIRECTORY` where something else is in that place, `OUT_NOT_WRITABLE`; LarrError `SYSTEM` where there is no room
 */
export async function buildDirectoryAtomic<T>(path: string, build: (directory: string) => Promise<T>): Promise<T> {
  const target = resolve(path);
  const parent = dirname(target);
  await mustBeDirectory(target);
  makeDirectory(parent);
  await removeLeftovers(parent, basename(target));
  await mustBeReplaceable(target);
  const token = `${process.pid}-${randomBytes(3).toString('hex')}`;
  const building = join(parent, `.${basename(target)}.building-${token}`);
  makeDirectory(building);
  try {
    const result = await build(building);
    const retired = join(parent, `.${basename(target)}.retired-${token}`);
    const replaces = await exists(target);
    // Somebody may have put something there while this was built.
    if (replaces) await mustBeReplaceable(target);
    if (replaces) await rename(target, retired);
    try {
      await rename(building, target);
    } catch (error) {
      if (replaces) await rename(retired, target);
      throw error;
    }
    if (replaces) await rm(retired, { recursive: true, force: true });
    return result;
  } catch (error) {
    await rm(building, { recursive: true, force: true });
    throw explainNoRoom(
      error,
      path,
      'Make room there, or name another output directory; nothing was written, and what was there before is as it was.',
    );
  }
}

async function removeLeftovers(parent: string, name: string): Promise<void> {
  for (const entry of await readdir(parent)) {
    const match = /^\.(.+)\.(building|retired)-(\d+)-[0-9a-f]+$/.exec(entry);
    if (match === null || match[1] !== name || running(Number(match[3]))) continue;
    // A run killed between its two renames leaves the old directory retired and nothing in place: put it back.
    if (match[2] === 'retired' && !(await exists(join(parent, name))))
      await rename(join(parent, entry), join(parent, name));
    else await rm(join(parent, entry), { recursive: true, force: true });
  }
}

function running(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
