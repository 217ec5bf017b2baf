import type { Dataset } from '@larr/core';
import { noGrad, tensor, tidy } from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import { sequenceTarget } from '../models/din.js';
import type { ModelInputs } from '../models/inputs.js';

/**
 * Fills `history.poi` of a model that reads sequences: which entry of the POI ids' vocabulary each POI of the dataset is, so that a
 * POI of a sequence has the embedding that it has as a candidate. Row 0 is padding. Models without the buffer are left alone.
 */
export async function installPois(parameters: Parameters, inputs: ModelInputs, dataset: Dataset): Promise<void> {
  const entryOf = parameters.buffers.get('history.poi');
  if (entryOf === undefined) return;
  const indices = await dataset.poiIndices(sequenceTarget(inputs).name);
  noGrad(() =>
    tidy(() => {
      entryOf.narrow(0, 1, inputs.pois).copy_(tensor(indices, [inputs.pois, 1], { dtype: 'i32' }));
    }),
  );
}
