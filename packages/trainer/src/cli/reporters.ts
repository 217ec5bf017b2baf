// Turns the progress of stages and training runs into what people see on stderr.
import type { StageProgress } from '../pretraining/pretrain.js';
import type { TrainProgress, TrainResult } from '../training/train.js';
import type { CommandContext } from './command-context.js';

const stageTitles: Record<StageProgress['stage'], string> = {
  pretrain: 'stage 1',
  finetune: 'stage 2',
  embed: 'vectors',
};

/** Callbacks of the language model's stages. */
export function stageReporter({ progress, say }: Pick<CommandContext, 'progress' | 'say'>) {
  return {
    onProgress: ({ stage, step, steps, loss, tokensPerSecond, mfu }: StageProgress) =>
      progress(
        stageTitles[stage],
        step,
        steps,
        `${loss === null ? '' : `loss ${loss.toFixed(3)}, `}${Math.round(tokensPerSecond).toLocaleString('en')} tokens/s` +
          `${mfu === undefined ? '' : `, ${(100 * mfu).toFixed(0)} % of the machine's peak`}`,
      ),
    onNotice: (message: string) => say(message),
  };
}

/** Callbacks of recommendation-model training. */
export function trainingReporter({ progress, say }: Pick<CommandContext, 'progress' | 'say'>) {
  return {
    onProgress: ({ model, seed, epoch, epochs, row, rows, loss, samplesPerSecond }: TrainProgress) =>
      progress(
        `${model} #${seed}`,
        epoch * rows + row,
        epochs * rows,
        `loss ${loss.toFixed(4)}, ${Math.round(samplesPerSecond).toLocaleString('en')} samples/s`,
      ),
    onResult: ({ model, seed, metrics, seconds }: TrainResult) =>
      say(
        `${model} #${seed}: CTR AUC ${metrics.ctrAuc.toFixed(4)}` +
          `${metrics.ctcvrAuc === null ? '' : `, CTCVR AUC ${metrics.ctcvrAuc.toFixed(4)}`} on the test part, ` +
          `trained in ${seconds.toFixed(1)} s`,
      ),
  };
}
