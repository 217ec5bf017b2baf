import { embedding, type Tensor } from '@larr/torch';
import { type Initialiser, normal, type Parameters } from './parameters.js';

/**
 * All categorical features share one table per width: one gather reads every field of a batch, one sparse update
 * writes back. Feature f owns the rows offsets[f] … offsets[f] + size_f − 1; its first row stands for "unseen or missing".
 */
export interface EmbeddingTable {
  /** [rows of all features, dim] */
  weight: Tensor;
  dim: number;
  sparse: boolean;
}

/** The first row of each feature in the fused table, and the number of rows in all. */
export function fuseOffsets(sizes: number[]): { offsets: number[]; rows: number } {
  let rows = 0;
  const offsets = sizes.map((size) => {
    const offset = rows;
    rows += size;
    return offset;
  });
  return { offsets, rows };
}

/** Registers the table `<name>` [rows, dim], by default N(0, 0.01²). */
export function createEmbeddingTable(
  p: Parameters,
  name: string,
  rows: number,
  dim: number,
  initialise: Initialiser = normal(0.01),
): EmbeddingTable {
  return { weight: p.table(name, [rows, dim], initialise), dim, sparse: p.sparse };
}

/** ids [B, F] of table rows → [B, F, dim]. */
export function embed(table: EmbeddingTable, ids: Tensor): Tensor {
  return embedding(table.weight, ids, { sparse: table.sparse });
}
