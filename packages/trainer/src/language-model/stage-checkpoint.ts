import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { TrainingError, writeFileAtomic } from '@larr/core';
import { getRngState, noGrad, saveSafetensors, setRngState, type Tensor, tidy } from '@larr/torch';
import { checkpointTensors } from '../report/checkpoint-tensors.js';
import type { StageOptimizer } from './stage-optimizer.js';

/**
 * What a stage of language-model training keeps so that it can be stopped anywhere: one safetensors file with weights,
 * optimiser state and, as metadata, the run's identity, the generator's state and the stage's own cursor. One file is
 * replaced atomically, so there is never half a checkpoint.
 */
export interface StageState<Cursor> {
  parameters: Record<string, Tensor>;
  optimizer: StageOptimizer;
  cursor: Cursor;
}

/** The file's name in a stage's directory. */
export const CHECKPOINT = 'checkpoint.safetensors';

export function saveStage<Cursor>(directory: string, identity: string, state: StageState<Cursor>): void {
  noGrad(() =>
    tidy(() => {
      const tensors: Record<string, Tensor> = {};
      for (const [name, t] of Object.entries(state.parameters)) tensors[`model.${name}`] = t.detach();
      for (const [name, t] of Object.entries(state.optimizer.stateDict())) tensors[`optimizer.${name}`] = t.detach();
      saveSafetensors(join(directory, CHECKPOINT), tensors, {
        format: 'larr-stage',
        identity,
        rng: Buffer.from(getRngState()).toString('base64'),
        cursor: JSON.stringify(state.cursor),
      });
    }),
  );
}

/**
 * Copies the checkpoint into `parameters` and `optimizer` and returns its cursor; null where there is none.
 * @throws TrainingError `CHECKPOINT_MISMATCH` where it belongs to another run (another configuration, dataset or seed)
 */
export function restoreStage<Cursor>(
  directory: string,
  identity: string,
  parameters: Record<string, Tensor>,
  optimizer: StageOptimizer,
): Cursor | null {
  const path = join(directory, CHECKPOINT);
  if (!existsSync(path)) return null;
  return noGrad(() =>
    tidy(() => {
      const { tensors, metadata } = checkpointTensors(path, 'starts the stage afresh');
      if (metadata.format !== 'larr-stage' || metadata.identity !== identity) {
        throw new TrainingError(
          'CHECKPOINT_MISMATCH',
          `${path} belongs to a run of another configuration, seed, dataset or version of LARR. Take another --out, or remove it to start the stage afresh`,
          { file: path },
        );
      }
      const optimizerState: Record<string, Tensor> = {};
      for (const [name, t] of Object.entries(tensors)) {
        if (name.startsWith('model.')) parameters[name.slice('model.'.length)]!.copy_(t);
        else optimizerState[name.slice('optimizer.'.length)] = t;
      }
      optimizer.loadStateDict(optimizerState);
      setRngState(Buffer.from(metadata.rng!, 'base64'));
      return JSON.parse(metadata.cursor!) as Cursor;
    }),
  );
}

/** Removes the checkpoint of a finished stage. */
export async function dropStage(directory: string): Promise<void> {
  await rm(join(directory, CHECKPOINT), { force: true });
}

/** `metrics.jsonl` of a stage: one JSON object a line, in step order, also across resumptions. */
export async function appendMetric(path: string, line: Record<string, unknown>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await appendFile(path, `${JSON.stringify(line)}\n`);
}

/**
 * Drops the lines after `step`, what a killed run wrote past its last checkpoint: they are about to be written again.
 * @param measures whether what is measured at `step` itself is too; lines of the step's training, which name a learning rate, stay
 */
export async function rewindMetrics(path: string, step: number, measures: boolean): Promise<void> {
  if (!existsSync(path)) return;
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => {
    try {
      const { step: at = 0, learningRate } = JSON.parse(line) as { step?: number; learningRate?: number };
      return at < step || (at === step && !(measures && learningRate === undefined));
    } catch {
      return false; // the last line of a killed process can be cut short
    }
  });
  await writeFileAtomic(path, lines.map((line) => `${line}\n`).join(''));
}
