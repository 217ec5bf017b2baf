import { cat, type Tensor, tensor } from '@larr/torch';
import { createEmbeddingTable, type EmbeddingTable, embed } from '../layers/embedding-table.js';
import type { Parameters } from '../layers/parameters.js';
import type { Batch, ModelInputs } from './inputs.js';

/** The features every model shares: ID embeddings, one gather for all fields, and standardised dense features. */
export interface Features {
  table: EmbeddingTable;
  fields: number;
  /** f32 [dense features] each, or null without dense features */
  dense: { mean: Tensor; scale: Tensor; count: number } | null;
  /** width of `x` */
  width: number;
}

/** Registers the table `embedding` [rows, dim] and the buffers `dense.mean`, `dense.scale` (1/std) [dense features]. */
export function createFeatures(p: Parameters, inputs: ModelInputs, dim: number): Features {
  const fields = inputs.categorical.length;
  const count = inputs.dense.length;
  const dense =
    count === 0
      ? null
      : {
          mean: p.buffer(
            'dense.mean',
            tensor(
              Float32Array.from(inputs.dense, (f) => f.mean),
              [count],
            ),
          ),
          // a constant column has no spread: it stays 0 instead of becoming infinite
          scale: p.buffer(
            'dense.scale',
            tensor(
              Float32Array.from(inputs.dense, (f) => (f.std > 1e-8 ? 1 / f.std : 0)),
              [count],
            ),
          ),
          count,
        };
  return {
    table: createEmbeddingTable(p, 'embedding', inputs.tableRows, dim),
    fields,
    dense,
    width: fields * dim + count,
  };
}

/**
 * @returns v [B, F, dim], the field embeddings, and x [B, F·dim + dense]: what enters the networks
 */
export function features(net: Features, batch: Batch): { v: Tensor; x: Tensor } {
  const v = embed(net.table, batch.ids);
  const flat = v.reshape([batch.rows, net.fields * net.table.dim]);
  if (!net.dense) return { v, x: flat };
  const dense = batch.dense!.sub(net.dense.mean).mul(net.dense.scale);
  return { v, x: cat([flat, dense], 1) };
}
