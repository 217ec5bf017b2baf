// What the stages of the language model hold of a dataset's texts, against what JavaScript's heap may hold: better told at once than
// by a process that ends after hours.
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { getHeapStatistics } from 'node:v8';
import { DataError, type Dataset, DuckdbSession, ident, literal } from '@larr/core';

/** Bytes of heap that a stage holds of each POI and user, beside its texts (docs/scale.md says how they were measured). */
const HELD = { pretrain: 0, finetune: 2100, embed: 500 } as const;
/** Bytes of heap of a keyword's text, beside its characters. */
const TEXT = 90;
/** What one map of JavaScript may hold is 2^24, and a list of digests is one string of less than 2^29 characters. */
const MOST_TEXTS = 16_000_000;

export type TextStage = keyof typeof HELD;

/**
 * Makes sure that a stage can hold a dataset's texts.
 * @param of whose texts it reads
 * @param limit bytes that the heap may grow to
 * @throws DataError `TOO_MANY_TEXTS` with what they take, the limit, and how to raise it
 */
export async function requireRoomForTexts(
  stage: TextStage,
  dataset: Pick<Dataset, 'directory' | 'manifest' | 'splitName'>,
  of: readonly ('pois' | 'users')[],
  limit = getHeapStatistics().heap_size_limit,
): Promise<void> {
  const { directory, manifest, splitName } = dataset;
  let bytes = 0;
  using db = await DuckdbSession.open();
  for (const items of of) {
    const count = manifest[items];
    if (stage === 'embed' && count > MOST_TEXTS) {
      throw new DataError(
        'TOO_MANY_TEXTS',
        `${directory} has ${told(count)} ${items}: at most ${told(MOST_TEXTS)} are embedded into one directory. Leave out those that nobody is shown, or prepare the data in parts.`,
      );
    }
    const file =
      items === 'pois'
        ? join(directory, 'texts', 'pois.parquet')
        : join(directory, 'splits', splitName, 'texts', 'users.parquet');
    const columns = manifest.keywords[items === 'pois' ? 'poi' : 'user'].map(({ column }) => ident(column));
    if (columns.length === 0) continue;
    const sum = (each: (column: string) => string) => columns.map(each).join(' + ');
    const [found] = await db.rows<{ texts: bigint; characters: bigint | null }>(
      `SELECT (${sum((column) => `count(${column})`)})::BIGINT AS texts,
              (${sum((column) => `coalesce(sum(length(${column})), 0)`)})::BIGINT AS characters
       FROM read_parquet(${literal(file)})`,
    );
    bytes += TEXT * Number(found!.texts) + Number(found!.characters ?? 0) + HELD[stage] * count;
  }
  refuseBeyond(
    limit,
    bytes,
    `The texts of ${of.map((items) => `${told(manifest[items])} ${items}`).join(' and ')} in ${directory}`,
  );
}

/** Makes sure that a file of text can be held. @throws DataError `TOO_MANY_TEXTS` */
export function requireRoomForFile(path: string, limit = getHeapStatistics().heap_size_limit): void {
  if (existsSync(path)) refuseBeyond(limit, statSync(path).size, `The text of ${path}`);
}

function refuseBeyond(limit: number, bytes: number, what: string): void {
  if (bytes < limit) return;
  throw new DataError(
    'TOO_MANY_TEXTS',
    `${what} takes some ${gibibytes(bytes)} GiB of JavaScript's heap in this stage, which may grow to ${gibibytes(limit)} GiB. On a machine with that much memory, set NODE_OPTIONS=--max-old-space-size=${Math.ceil((1.3 * bytes) / 2 ** 20)} (MiB); otherwise give it less text.`,
  );
}

const told = (count: number) => count.toLocaleString('en');
const gibibytes = (bytes: number) => (bytes / 2 ** 30).toFixed(1);
