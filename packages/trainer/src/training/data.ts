import { bytesPerSample, DataError, type Dataset, openDataset, type Part, sampleShape } from '@larr/core';
import { type ModelInputs, modelInputs } from '../models/inputs.js';
import { memoryBudgetMiB, type TrainConfigInput } from './config.js';
import type { EvaluatedPart, EvaluationSamples, TrainingPart } from './part.js';
import { ResidentPart } from './resident-part.js';
import { evaluationSamples, StreamedPart } from './streamed-part.js';
import { travellingRows } from './travelling.js';

/** What a model is learnt from and chosen by: the train part, and the validation part with its labels beside it. */
export interface LearningData {
  dataset: Dataset;
  inputs: ModelInputs;
  device: string;
  train: TrainingPart;
  validation: { part: TrainingPart; samples: EvaluationSamples };
  dispose(): void;
}

/** A split of a dataset: opened once, used by every model and seed. Parts within the memory budget are resident on the device. */
export interface TrainingData extends LearningData {
  test: EvaluatedPart;
}

export interface LoadOptions {
  data: string;
  split?: string | undefined;
  device?: string | undefined;
  /** at most so many rows of each part, which are then held in memory */
  limit?: number | undefined;
  /** the user's training configuration, for `memoryBudgetMiB` */
  config?: TrainConfigInput | undefined;
}

/** Rows that the loader shuffles together; fewer where the budget is small. */
const WINDOW_ROWS = 524_288;

/**
 * @throws DataError `ONE_CLASS` where a part's clicks (or orders) are all alike, naming the part and the label;
 * `EMPTY_PART`; whatever `openDataset` throws
 */
export async function loadTrainingData(options: LoadOptions): Promise<TrainingData> {
  const { data, load } = await openParts(options);
  try {
    const { part, samples } = await load('test');
    const test = { part, samples: samples!, travelling: await travellingRows(data.dataset, samples!) };
    return { ...data, test };
  } catch (error) {
    data.dispose();
    throw error;
  }
}

/** The same without the test part, of which no file is opened: for choices. */
export async function loadLearningData(options: LoadOptions): Promise<LearningData> {
  return (await openParts(options)).data;
}

type LoadPart = (name: Part) => Promise<{ part: TrainingPart; samples: EvaluationSamples | null }>;

async function openParts(options: LoadOptions): Promise<{ data: LearningData; load: LoadPart }> {
  const dataset = await openDataset(options.data, options.split);
  const { manifest, split } = dataset;
  const inputs = modelInputs(split, manifest.orders, manifest.pois);
  const device = options.device ?? 'cpu';
  const held: ResidentPart[] = [];
  const budget = memoryBudgetMiB(manifest.training, options.config) * 2 ** 20;
  const bytes = bytesPerSample(sampleShape(split, manifest.orders));
  // The loader holds two windows.
  const windowRows = Math.max(1, Math.min(WINDOW_ROWS, Math.floor(budget / (2 * bytes))));
  const load: LoadPart = async (name) => {
    const { rows, clicks, orders } = split.parts[name];
    if (options.limit === undefined && rows * bytes > budget) {
      requireBothCounts(name, 'click', clicks, rows);
      if (orders !== null) requireBothCounts(name, 'order', orders, rows);
      const samples = name === 'train' ? null : await evaluationSamples(dataset, name, windowRows);
      return { part: new StreamedPart(dataset, name, inputs, device, windowRows), samples };
    }
    const samples = await dataset.loadPart(name, options.limit === undefined ? {} : { limit: options.limit });
    requireBothClasses(name, 'click', samples.click);
    if (samples.order) requireBothClasses(name, 'order', samples.order);
    const part = ResidentPart.from(samples, inputs, device);
    held.push(part);
    return { part, samples };
  };
  const dispose = () => {
    for (const part of held) part.dispose();
  };
  try {
    const train = await load('train');
    const { part, samples } = await load('validation');
    return {
      load,
      data: { dataset, inputs, device, train: train.part, validation: { part, samples: samples! }, dispose },
    };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** @throws DataError `ONE_CLASS` */
export function requireBothClasses(part: string, label: string, values: Float32Array): void {
  let positives = 0;
  for (const value of values) positives += value;
  requireBothCounts(part, label, positives, values.length);
}

function requireBothCounts(part: string, label: string, positives: number, rows: number): void {
  // Of a part without rows, ResidentPart says more.
  if (rows === 0 || (positives > 0 && positives < rows)) return;
  throw new DataError(
    'ONE_CLASS',
    `every "${label}" in the ${part} part is ${positives > 0 ? 1 : 0} (${rows} rows): ` +
      'with one class there is nothing to learn and no AUC. Check the label column, or take a longer period',
  );
}
