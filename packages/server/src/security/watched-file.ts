import { stat } from 'node:fs/promises';

/** How often a file is looked at. By its state, not by notices of the system: mounted secrets change by a link that points elsewhere. */
const EVERY_MS = 1000;

export interface Watch {
  close(): void;
}

/**
 * Calls `changed` when one of the files is another than before: its time, size or place on the disk. One call at a time; a failing one is its own
 * business. A file that is gone is no change: who replaces one by hand removes it first.
 */
export function watchFiles(files: readonly string[], changed: () => Promise<void>, everyMs = EVERY_MS): Watch {
  let closed = false;
  let known: string | null = null;
  let timer: NodeJS.Timeout;
  const look = async (): Promise<void> => {
    try {
      const states = await Promise.all(files.map((file) => stat(file, { bigint: true })));
      const now = states.map(({ mtimeNs, ctimeNs, size, ino }) => `${mtimeNs} ${ctimeNs} ${size} ${ino}`).join();
      const differs = known !== null && now !== known;
      known = now;
      if (differs && !closed) await changed();
    } catch {
      // gone for now: the next look will find it
    }
    if (!closed) timer = setTimeout(look, everyMs).unref();
  };
  timer = setTimeout(() => {}, 0);
  void look();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
