import type { Tensor } from '@larr/torch';
import { createEmbeddingTable, embed } from '../layers/embedding-table.js';
import type { Parameters } from '../layers/parameters.js';
import type { Batch, ModelInputs } from './inputs.js';

/**
 * The scene's keywords as ordinary ids: x' = [ x ; an embedding of each field's text ]. What LARR gains over a base with these is not
 * that it sees the scene. Registers the table `scene_ids` [scene entries, dim], of which a field's first row stands for "missing".
 * @returns null where the data have no scene
 */
export function createSceneIds(
  p: Parameters,
  inputs: ModelInputs,
  dim: number,
): { width: number; forward(batch: Batch): Tensor } | null {
  const width = inputs.scene.length * dim;
  if (width === 0) return null;
  const table = createEmbeddingTable(p, 'scene_ids', inputs.sceneEntries, dim);
  return { width, forward: (batch) => embed(table, batch.scene!).reshape([batch.rows, width]) };
}
