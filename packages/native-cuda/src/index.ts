export { type CudaDevice, type CudaInfo, cudaInfo, type DeviceInfo, deviceInfo, type Isa } from './device.js';
export { askDriver, type DriverAnswer } from './driver.js';
export { KernelError, type KernelErrorCode } from './errors.js';
export {
  FusedRanker,
  type FusedRankerOptions,
  type LayerStep,
  type MixStep,
  MOST_EXPERTS,
  type RankerInputSizes,
  type RankerRows,
  rankerInputSizes,
} from './fused-ranker.js';
export { type InfoNceOptions, type InfoNceResult, infoNce, infoNceSync } from './infonce.js';
export { gatherRows, mapFile } from './memory.js';
export {
  type EncoderDims,
  SceneScorer,
  type SceneScorerOptions,
  type ScoreOptions,
  type ScoreResult,
  weightShapes,
} from './scene-scorer.js';
