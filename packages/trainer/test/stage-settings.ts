import type { StageLoopConfig } from '../src/language-model/stage-loop.js';

/** Settings of a stage loop with a steady rate and nothing of what saves memory, but for what `changes` says. */
export function stageSettings(
  changes: Pick<StageLoopConfig, 'learningRate' | 'logEvery' | 'evaluateEvery' | 'checkpointEvery'>,
): StageLoopConfig {
  return {
    warmupShare: 0,
    finalShare: 1,
    weightDecay: 0,
    clipNorm: 1,
    precision: 'f32',
    recompute: false,
    trainingState: 'f32',
    ...changes,
  };
}
