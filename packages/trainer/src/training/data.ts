import { DataError, type Dataset, openDataset, type Samples } from '@larr/core';
import { type ModelInputs, modelInputs } from '../models/inputs.js';
import { ResidentPart } from './resident-part.js';

export type PartName = 'train' | 'validation' | 'test';

/** A split of a dataset, resident on a device: loaded once, used by every model and seed. */
export interface TrainingData {
  dataset: Dataset;
  inputs: ModelInputs;
  device: string;
  /** the training part, as tensors only */
  train: ResidentPart;
  /** validation and test keep their labels, users and scenes for the metrics */
  validation: { part: ResidentPart; samples: Samples };
  test: { part: ResidentPart; samples: Samples };
  dispose(): void;
}

export interface LoadOptions {
  data: string;
  split?: string | undefined;
  device?: string | undefined;
  /** at most so many rows of each part */
  limit?: number | undefined;
}

/**
 * @throws DataError `ONE_CLASS` where a part's clicks (or orders) are all alike, naming the part and the label;
 * `EMPTY_PART`; whatever `openDataset` throws
 */
export async function loadTrainingData(options: LoadOptions): Promise<TrainingData> {
  const dataset = await openDataset(options.data, options.split);
  const { manifest, split } = dataset;
  const inputs = modelInputs(split, manifest.orders, manifest.pois);
  const device = options.device ?? 'cpu';
  const held: ResidentPart[] = [];
  const load = async (name: PartName) => {
    const samples = await dataset.loadPart(name, options.limit === undefined ? {} : { limit: options.limit });
    requireBothClasses(name, 'click', samples.click);
    if (samples.order) requireBothClasses(name, 'order', samples.order);
    const part = ResidentPart.from(samples, inputs, device);
    held.push(part);
    return { part, samples };
  };
  try {
    const train = await load('train');
    const validation = await load('validation');
    const test = await load('test');
    return {
      dataset,
      inputs,
      device,
      train: train.part,
      validation,
      test,
      dispose: () => {
        for (const part of held) part.dispose();
      },
    };
  } catch (error) {
    for (const part of held) part.dispose();
    throw error;
  }
}

/** @throws DataError `ONE_CLASS` */
export function requireBothClasses(part: string, label: string, values: Float32Array): void {
  if (values.length === 0) return; // ResidentPart says it better
  const first = values[0]!;
  if (values.every((value) => value === first)) {
    throw new DataError(
      'ONE_CLASS',
      `every "${label}" in the ${part} part is ${first} (${values.length} rows): ` +
        'with one class there is nothing to learn and no AUC. Check the label column, or take a longer period',
    );
  }
}
