import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { vectorsDigest } from '../training/vectors-digest.js';

/**
 * The directory of the vectors that a model was trained with, by its run record (run.json); null where it names none. Null, too, and said,
 * where they are no longer there or no longer the same: recall would search with other vectors than the model knows.
 */
export async function trainedVectors(run: string, onNotice?: (message: string) => void): Promise<string | null> {
  const record = await readFile(join(run, 'run.json'), 'utf8').then(JSON.parse, () => null);
  const found = (record as { inputs?: { vectors?: { path?: unknown; sha256?: unknown } } } | null)?.inputs?.vectors;
  const path = found?.path;
  if (typeof path !== 'string') return null;
  const leaveOut = (why: string): null => {
    onNotice?.(`${path}: ${why}, so the bundle has no recall. Give --vectors to have it search with others`);
    return null;
  };
  if (!existsSync(join(path, 'vectors.json'))) return leaveOut('the vectors that the model was trained with are gone');
  if ((await vectorsDigest(path)) !== found?.sha256)
    return leaveOut('the vectors are not those that the model was trained with');
  return path;
}
