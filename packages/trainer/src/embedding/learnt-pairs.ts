// Which rows stage 2, or P5, learnt from: pairs of one split's training part may be what another split tests on.
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError, type Dataset, writeFileAtomic } from '@larr/core';
import { readRecord } from '../report/run-record.js';

/** The pairs of users and POIs that a model has learnt from. */
export interface LearntPairs {
  /** `contentDigest` of the dataset */
  dataset: string;
  split: string;
}

type Where = Pick<Dataset, 'directory' | 'manifest' | 'splitName'>;

export function isOf(pairs: LearntPairs, { manifest, splitName }: Where): boolean {
  return pairs.dataset === manifest.contentDigest && pairs.split === splitName;
}

/** How to fine-tune for a dataset and split. */
export function howToFinetune({ directory, splitName }: Where, stage1 = '<what pretrain wrote>'): string {
  return `larr finetune --data ${directory} --split ${splitName} --model ${stage1} --out <another directory>`;
}

/** Beside a model that is a part of a run, and has no run record of its own: what it learnt. */
const NOTE = 'learnt-pairs.json';

interface Note extends LearntPairs {
  /** The directory of the model that learning began with. */
  began: string;
}

/** Leaves word beside the model that P5 saves: it has learnt clicks of this split, which whoever takes it for another stage has to know. */
export async function noteLearntPairs(directory: string, { manifest, splitName }: Where, began: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const note: Note = { dataset: manifest.contentDigest, split: splitName, began };
  await writeFileAtomic(join(directory, NOTE), `${JSON.stringify(note, null, 2)}\n`);
}

async function readNote(directory: string): Promise<Note | null> {
  const text = await readFile(join(directory, NOTE), 'utf8').catch(() => null);
  if (text === null) return null;
  try {
    const { dataset, split, began } = JSON.parse(text) as Note;
    if ([dataset, split, began].every((part) => typeof part === 'string')) return { dataset, split, began };
  } catch {
    // said below
  }
  throw new DataError(
    'MODEL_WITHOUT_RECORD',
    `${join(directory, NOTE)} does not say what data and split the model beside it has learnt from: it may be rows that are tested on. Copy the directory again`,
    { file: join(directory, NOTE) },
  );
}

/**
 * What the model in `directory` was fine-tuned on, by its run record, or learnt to answer as P5, by the note beside it; null where it was
 * neither.
 * @throws DataError `MODEL_WITHOUT_RECORD` where it was, and nothing says on what
 */
export async function learntPairs(directory: string): Promise<LearntPairs | null> {
  const record = await readRecord(directory);
  if (record?.stage === 'finetune') return { dataset: record.dataset.contentDigest, split: record.dataset.split };
  const note = await readNote(directory);
  if (note !== null) return { dataset: note.dataset, split: note.split };
  if (!existsSync(join(directory, 'projection.safetensors'))) return null;
  throw new DataError(
    'MODEL_WITHOUT_RECORD',
    `${directory} holds a fine-tuned model, but no run.json that says on which data and split: it may have learnt from rows that are tested on. Put back the run.json that "larr finetune" wrote beside it, or fine-tune again`,
    { file: join(directory, 'run.json') },
  );
}

/**
 * Makes sure that a model has learnt no pairs but those of this dataset and split, and says whether it has learnt these.
 * @throws DataError `MODEL_OF_OTHER_SPLIT`, `MODEL_WITHOUT_RECORD`
 */
export async function refuseOtherPairs(directory: string, dataset: Where): Promise<LearntPairs | null> {
  const pairs = await learntPairs(directory);
  if (pairs === null || isOf(pairs, dataset)) return pairs;
  const { directory: data, manifest, splitName } = dataset;
  const learnt =
    pairs.dataset === manifest.contentDigest
      ? `the split "${pairs.split}" of ${data}`
      : `data of other content than ${data} (split "${pairs.split}")`;
  const note = await readNote(directory);
  const how = note === null ? 'was fine-tuned on pairs of' : 'has learnt as P5 from impressions of';
  const began = note?.began ?? (await readRecord(directory))?.inputs.model?.path;
  throw new DataError(
    'MODEL_OF_OTHER_SPLIT',
    `${directory} ${how} ${learnt}: what it learnt may be rows that the split "${splitName}" tests on. Fine-tune a model on this split and take that one: ${howToFinetune(dataset, began)}`,
    { file: join(directory, 'run.json') },
  );
}

/** Stage 1 continues from language models alone: what one that was fine-tuned has learnt would no longer be known after it. @throws DataError `FINE_TUNED_MODEL` */
export async function refuseFineTuned(directory: string): Promise<void> {
  if ((await learntPairs(directory)) === null) return;
  throw new DataError(
    'FINE_TUNED_MODEL',
    `${directory} is what "larr finetune" wrote, or P5: stage 1 continues from a language model, not from one that has learnt what users chose. Give the model that it began with`,
    { file: join(directory, 'run.json') },
  );
}
