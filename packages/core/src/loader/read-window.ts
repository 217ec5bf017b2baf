import { join } from 'node:path';
import { SampleCopier, type SampleShape, type Samples, sampleColumns, samplesOver } from '../dataset/samples.js';
import { type DuckdbSession, literal } from '../duckdb/session.js';
import { DataError } from '../errors.js';
import type { Block, Window } from './epoch-order.js';

/**
 * The row groups of a part's shards, from their footers.
 * @param files relative to `directory`
 * @throws DataError `DATASET_CORRUPT` where a shard cannot be read or its rows are not what the manifest says
 */
export async function listBlocks(
  db: DuckdbSession,
  directory: string,
  files: readonly string[],
  rows: number,
): Promise<Block[]> {
  const list = files.map((file) => literal(join(directory, file))).join(', ');
  const found = await db
    .rows<{ file: string; rows: bigint; first: string; last: string }>(
      `SELECT file_name AS file, row_group_num_rows AS rows, stats_min_value AS first, stats_max_value AS last
       FROM parquet_metadata([${list}]) WHERE path_in_schema = 'row_id' ORDER BY file_name, row_group_id`,
    )
    .catch((cause) => {
      throw damaged(directory, (cause as Error).message.split('\n')[0]!, cause);
    });
  const blocks = found.map((b) => ({
    file: b.file,
    rows: Number(b.rows),
    first: BigInt(b.first),
    last: BigInt(b.last),
  }));
  const total = blocks.reduce((sum, b) => sum + b.rows, 0);
  if (total !== rows) throw damaged(directory, `the shards hold ${total} rows and the manifest says ${rows}`);
  return blocks;
}

/**
 * Reads a window's blocks into one set of samples, in the blocks' order.
 * @param buffer memory of at least `window.rows` samples
 * @throws DataError `DATASET_CORRUPT`
 */
export async function readWindow(
  db: DuckdbSession,
  directory: string,
  shape: SampleShape,
  window: Window,
  buffer: ArrayBuffer,
): Promise<Samples> {
  const samples = samplesOver(shape, window.rows, buffer);
  const copier = new SampleCopier(shape, samples);
  const columns = sampleColumns(shape);
  let at = 0;
  try {
    // One block after the other: DuckDB decodes the next chunks on its own threads while these are copied.
    for (const { file, rows, first, last } of window.blocks) {
      const end = at + rows;
      const result = await db.connection.stream(
        `SELECT ${columns} FROM read_parquet(${literal(file)}) WHERE row_id BETWEEN ${first} AND ${last}`,
      );
      for (;;) {
        const chunk = await result.fetchChunk();
        if (chunk === null || chunk.rowCount === 0) break;
        if (at + chunk.rowCount > end)
          throw new RangeError(`${file} has more than ${rows} rows of ${first} to ${last}`);
        at += copier.copy(chunk, at);
      }
      if (at !== end) throw new RangeError(`${file} lacks ${end - at} of the ${rows} rows of ${first} to ${last}`);
    }
  } catch (cause) {
    throw damaged(directory, (cause as Error).message.split('\n')[0]!, cause);
  }
  return samples;
}

function damaged(directory: string, what: string, cause?: unknown): DataError {
  return new DataError('DATASET_CORRUPT', `The dataset ${directory} is damaged: ${what}. Prepare it again.`, {
    file: directory,
    cause,
  });
}
