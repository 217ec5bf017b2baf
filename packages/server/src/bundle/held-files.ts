import { type FileHandle, open } from 'node:fs/promises';

/**
 * Files of a bundle that are read long after it was loaded, held open: an export may put another bundle in its place meanwhile, and what
 * answers goes on with its own. Linux names an open file by its number; elsewhere files are read by their path, and have to stay.
 */
export class HeldFiles {
  readonly #handles: FileHandle[] = [];

  /** @returns a path under which the file stays readable until `close`, wherever its own leads by then */
  async hold(path: string): Promise<string> {
    if (process.platform !== 'linux') return path;
    const handle = await open(path);
    this.#handles.push(handle);
    return `/proc/self/fd/${handle.fd}`;
  }

  async close(): Promise<void> {
    await Promise.all(this.#handles.splice(0).map((handle) => handle.close()));
  }
}
