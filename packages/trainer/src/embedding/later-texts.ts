import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type Dataset, didYouMean } from '@larr/core';
import type { SceneEntry } from './vectors.js';

/** Beside scene.json and scene.safetensors: scene texts that the dataset does not have, in the same form. */
export const LATER_TEXTS = 'later.json';
export const LATER_VECTORS = 'later.safetensors';

/**
 * Scene texts beyond the dataset's own: those that a vectors directory holds already, and those of `file`, as a server lists texts that requests
 * had and nobody has embedded (JSON lines of {"field", "text"}). Each once; those that the dataset has by now are left out.
 * @throws DataError `BAD_TEXTS` naming the line, `UNKNOWN_FIELD`, `MISSING_FILE`
 */
export async function laterTexts(output: string, file: string | undefined, dataset: Dataset): Promise<SceneEntry[]> {
  const known = new Map(dataset.split.scene.map(({ field, texts }) => [field, new Set(texts)]));
  const before = await readFile(join(output, LATER_TEXTS), 'utf8').then(
    (text) => JSON.parse(text) as SceneEntry[],
    () => [],
  );
  const later: SceneEntry[] = [];
  const add = ({ field, text }: SceneEntry): void => {
    const texts = known.get(field);
    if (texts === undefined || text === '' || texts.has(text)) return;
    texts.add(text);
    later.push({ field, text });
  };
  before.forEach(add);
  if (file === undefined) return later;
  const content = await readFile(file, 'utf8').catch((cause) => {
    throw new DataError(
      'MISSING_FILE',
      `${file} cannot be read: it should list scene texts, as larr-server --unseen does`,
      {
        file,
        cause,
      },
    );
  });
  content.split('\n').forEach((line, i) => {
    if (line.trim() === '') return;
    const entry = parsed(line);
    if (entry === null) {
      const wanted = '{"field": "weather", "text": "hail"}';
      throw new DataError('BAD_TEXTS', `${file}:${i + 1} is not a scene text; ${wanted} is expected`, {
        file,
        row: i + 1,
      });
    }
    if (!known.has(entry.field)) {
      const fields = [...known.keys()];
      const message = `${file}:${i + 1}: the dataset has no scene field "${entry.field}".${didYouMean(entry.field, fields)}`;
      throw new DataError('UNKNOWN_FIELD', message, { file, row: i + 1, field: entry.field });
    }
    add(entry);
  });
  return later;
}

function parsed(line: string): SceneEntry | null {
  try {
    const { field, text } = JSON.parse(line) as Partial<SceneEntry>;
    return typeof field === 'string' && typeof text === 'string' ? { field, text } : null;
  } catch {
    return null;
  }
}
