export {
  type CompareModel,
  type CompareOptions,
  type CompareResult,
  compare,
  compareOn,
  runDirectory,
} from './experiments/compare.js';
export { modelNames } from './models/index.js';
export type { Batch, ModelInputs, ModelOutput, RecommendationModel } from './models/inputs.js';
export { resolveTrainConfig, type TrainConfig, type TrainConfigInput, trainConfigSchema } from './training/config.js';
export { type LoadOptions, loadTrainingData, type TrainingData } from './training/data.js';
export { type Evaluation, predict, type RankingMetrics, type Slice } from './training/evaluate.js';
export {
  type ModelDescription,
  type TrainOptions,
  type TrainProgress,
  type TrainResult,
  trainModel,
} from './training/train.js';
export {
  evaluateTrained,
  exportModelState,
  loadTrainedModel,
  type ModelState,
  type TrainedModel,
} from './training/trained-model.js';
