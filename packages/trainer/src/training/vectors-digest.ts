import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

/** sha256 over the vectors that stage 3 reads, by which a run knows them again. Files are streamed: they may be of any size. */
export async function vectorsDigest(dir: string): Promise<string> {
  const hash = createHash('sha256');
  for (const file of ['scene.json', 'scene.safetensors', 'pois.safetensors']) {
    const path = join(dir, file);
    if (!existsSync(path)) continue;
    hash.update(file);
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, { end: false });
  }
  return hash.digest('hex');
}
