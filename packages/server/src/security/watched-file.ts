import { stat } from 'node:fs/promises';

/** How often a file is looked at. By its state, not by notices of the system: mounted secrets change by a link that points elsewhere. */
const EVERY_MS = 1000;

export interface Watch {
  close(): void;
}

/**
 * Calls `changed` when one of the files is another than when this was called: its time, size or place on the disk. One call at a time; what it does
 * about a failure is its own business. A file that is gone is no change: who replaces one by hand removes it first.
 */
export async function watchFiles(
  files: readonly string[],
  changed: () => Promise<void>,
  everyMs = EVERY_MS,
): Promise<Watch> {
  const state = async (): Promise<string | null> => {
    try {
      const all = await Promise.all(files.map((file) => stat(file, { bigint: true })));
      return all.map(({ mtimeNs, ctimeNs, size, ino }) => `${mtimeNs} ${ctimeNs} ${size} ${ino}`).join();
    } catch {
      return null;
    }
  };
  let known = await state();
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  const later = (): void => {
    timer = setTimeout(async () => {
      const now = await state();
      if (!closed && now !== null && now !== known) {
        known = now;
        await changed().catch(() => {});
      }
      if (!closed) later();
    }, everyMs).unref();
  };
  later();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
