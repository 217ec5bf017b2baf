import { existsSync } from 'node:fs';
import {
  type Adam,
  type AdamW,
  type RowwiseAdagrad,
  type RowwiseAdam,
  saveSafetensors,
  type Tensor,
  tidy,
} from '@larr/torch';
import type { Parameters } from '../layers/parameters.js';
import { checkpointTensors } from '../report/checkpoint-tensors.js';
import { otherRun } from '../report/run-differences.js';

/** Where a run stands, beside the tensors. */
export interface TrainingPosition {
  /** epochs finished */
  epoch: number;
  /** rows of the current epoch that were learnt */
  row: number;
  /** steps taken in all */
  step: number;
  /** seconds spent training, over all sittings */
  seconds: number;
  /** state of the random generator, base64 */
  rng: string;
  /** best validation score so far, the epoch it was reached in, epochs without a better one since */
  best: { score: number; epoch: number; since: number } | null;
  /** epochs without a better score, in all; a checkpoint of a schedule that does not ask for them may lack it */
  plateaus?: number;
  /** true once the run is over and only the test is left */
  done: boolean;
}

/** The tensors that one run trains and keeps. */
export interface TrainingState {
  parameters: Parameters;
  dense: AdamW;
  tables: RowwiseAdam | RowwiseAdagrad | Adam;
}

/** Writes weights, both optimisers and the position as one file, atomically: there is never half a checkpoint. */
export function saveCheckpoint(path: string, identity: string, state: TrainingState, position: TrainingPosition): void {
  tidy(() => {
    const tensors: Record<string, Tensor> = {};
    for (const [prefix, part] of parts(state)) {
      for (const [name, tensor] of Object.entries(part)) tensors[`${prefix}${name}`] = tensor.detach();
    }
    saveSafetensors(path, tensors, {
      format: 'larr-checkpoint',
      version: '1',
      identity,
      position: JSON.stringify(position),
    });
  });
}

/**
 * Restores a checkpoint into `state`.
 *
 * @param identity digest of everything a run depends on (model, configuration, data, seed)
 * @param differing in what the run of that directory differs from this one, as `differencesFrom` says it
 * @returns null where there is none
 * @throws TrainingError `CHECKPOINT_MISMATCH` where the file belongs to another run, `CHECKPOINT_CORRUPT` where it cannot be read
 */
export function loadCheckpoint(
  path: string,
  identity: string,
  state: TrainingState,
  differing: readonly string[] | null,
): TrainingPosition | null {
  if (!existsSync(path)) return null;
  return tidy(() => {
    const { tensors, metadata } = checkpointTensors(path, 'trains this run from its beginning');
    if (metadata.format !== 'larr-checkpoint' || metadata.identity !== identity || !metadata.position) {
      throw otherRun(path, 'belongs to', differing);
    }
    const pick = (prefix: string) =>
      Object.fromEntries(
        Object.entries(tensors).flatMap(([name, t]) =>
          name.startsWith(prefix) ? [[name.slice(prefix.length), t]] : [],
        ),
      );
    state.parameters.load(pick('model.'));
    state.dense.loadStateDict(pick('dense.'));
    state.tables.loadStateDict(pick('tables.'));
    return JSON.parse(metadata.position) as TrainingPosition;
  });
}

function parts(state: TrainingState): [string, Record<string, Tensor>][] {
  return [
    ['model.', state.parameters.state()],
    ['dense.', state.dense.stateDict()],
    ['tables.', state.tables.stateDict()],
  ];
}
