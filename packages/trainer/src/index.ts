export { FinetuneConfig, type FinetuneConfigInput } from './embedding/config.js';
export { disposeEmbedder, type Embedder, loadEmbedder } from './embedding/embedder.js';
export { type FinetuneOptions, type FinetuneResult, finetune } from './embedding/finetune.js';
export type { Gate, GateCheck, Verdict } from './embedding/gate.js';
export { nearestInSpace, type PoiSpace, poiSpace, questionInSpace } from './embedding/poi-space.js';
export type { EmbeddingQuality } from './embedding/quality.js';
export {
  findable,
  loadPoiIndex,
  type PoiIndex,
  questionVector,
  type RecallHit,
  type RecallQuery,
  recall,
} from './embedding/recall.js';
export {
  type Expectation,
  type Fulfilment,
  fulfilling,
  fulfilment,
  questionsOf,
  tastesOf,
  type UserChoice,
  type UserTaste,
} from './embedding/recall-users.js';
export { type KnownWords, questionByWords, type WordQuestion } from './embedding/recall-words.js';
export { languageModelEmbedder, type TextEmbedder } from './embedding/text-embedder.js';
export {
  type EmbedOptions,
  type EmbedResult,
  type EmbedShareResult,
  embedDataset,
  embedShare,
  type SceneEntry,
} from './embedding/vectors.js';
export { checkVectors, type VectorsManifest } from './embedding/vectors-manifest.js';
export { type AblateOptions, type AblateResult, ablate, ablateOn } from './experiments/ablate.js';
export {
  type CompareModel,
  type CompareOptions,
  type CompareResult,
  compare,
  compareOn,
  runDirectory,
} from './experiments/compare.js';
export type { VectorsGiven } from './experiments/runs.js';
export { type Dimension, readSpace, type SearchSpace } from './experiments/search-space.js';
export { type SweepOptions, type SweepResult, sweep, sweepOn } from './experiments/sweep.js';
export { type TuneBudget, type TuneOptions, type TuneResult, tune, tuneOn } from './experiments/tune.js';
export { type ExportOptions, type ExportResult, exportBundle } from './exporting/export-bundle.js';
export { disposeDecoder } from './language-model/decoder.js';
export { generate, nextTokenProbabilities } from './language-model/generation.js';
export { loadLlama2c } from './language-model/llama2c.js';
export { type LanguageModel, loadLanguageModel, saveLanguageModel } from './language-model/model-directory.js';
export { modelNames } from './models/index.js';
export type { Batch, ModelInputs, ModelOutput, RecommendationModel } from './models/inputs.js';
export { PretrainConfig, type PretrainConfigInput } from './pretraining/config.js';
export { type PretrainOptions, type PretrainResult, pretrain, type StageProgress } from './pretraining/pretrain.js';
export { type RunRecord, readRecord } from './report/run-record.js';
export { resolveTrainConfig, type TrainConfig, type TrainConfigInput, trainConfigSchema } from './training/config.js';
export {
  type LearningData,
  type LoadOptions,
  loadLearningData,
  loadTrainingData,
  type TrainingData,
} from './training/data.js';
export { type Evaluation, predict, type RankingMetrics, type Slice } from './training/evaluate.js';
export {
  type AttentionGroup,
  type AttentionShare,
  type AttentionSummary,
  type SceneAttention,
  sceneAttention,
  summariseAttention,
} from './training/scene-attention.js';
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
