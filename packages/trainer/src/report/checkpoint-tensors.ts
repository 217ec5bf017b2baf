import { TrainingError } from '@larr/core';
import { loadSafetensors } from '@larr/torch';

/**
 * Reads the tensors of a checkpoint.
 * @param afresh what the same command does once the file is gone
 * @throws TrainingError `CHECKPOINT_CORRUPT`
 */
export function checkpointTensors(path: string, afresh: string): ReturnType<typeof loadSafetensors> {
  try {
    return loadSafetensors(path);
  } catch (cause) {
    throw new TrainingError(
      'CHECKPOINT_CORRUPT',
      `the checkpoint cannot be read: ${(cause as Error).message}. Put back a whole copy, or remove ${path}: the same command then ${afresh}`,
      { file: path, cause },
    );
  }
}
