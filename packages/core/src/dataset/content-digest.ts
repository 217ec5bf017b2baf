import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** What the digest covers: all that `prepare` writes but the manifest itself, and what a world adds. Source tables are not read again. */
const covered = new Set(['controls', 'corpus', 'schema.json', 'splits', 'store', 'texts']);

/**
 * sha256 over a dataset's files, whatever their dates: samples, vocabularies, texts, pairs, store, schema, and the corpus and
 * controls where there are. Two datasets with the same digest train the same models. Files are read as streams, in the order of
 * their paths' code units.
 * @returns 64 hexadecimal digits
 */
export async function contentDigest(directory: string, signal?: AbortSignal): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(directory, '/').length).replaceAll('\\', '/'))
    .filter((path) => covered.has(path.split('/', 1)[0]!))
    .sort((a, b) => (a < b ? -1 : 1));
  const whole = createHash('sha256');
  for (const path of paths) {
    signal?.throwIfAborted();
    const file = createHash('sha256');
    for await (const chunk of createReadStream(join(directory, path), { highWaterMark: 1 << 20 }))
      file.update(chunk as Buffer);
    whole.update(`${path}\0${file.digest('hex')}\n`);
  }
  return whole.digest('hex');
}
