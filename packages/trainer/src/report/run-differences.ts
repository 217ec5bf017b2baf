import { TrainingError } from '@larr/core';
import { type RunDescription, readRecord } from './run-record.js';

/** What a run is made from, as its record has it. */
export type RunMaking = Pick<RunDescription, 'config' | 'seed' | 'dataset' | 'inputs'>;

/** Settings that no number follows from: when something is told or saved. */
const indifferent = new Set(['checkpointSeconds', 'checkpointEvery', 'logEvery', 'memoryBudgetMiB']);

/** Nested settings under names with dots. */
export function settings(of: object, at = ''): [string, unknown][] {
  return Object.entries(of).flatMap(([name, value]): [string, unknown][] =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? settings(value, `${at}${name}.`)
      : [[`${at}${name}`, value]],
  );
}

/** The names under which two lists of settings have different values, with both: "dimension: 32 there, 128 now". */
export function differingSettings(
  before: Record<string, unknown>,
  now: Record<string, unknown>,
  inWords: (name: string) => string | null = () => null,
): string[] {
  const said = (value: unknown) => JSON.stringify(value) ?? 'none';
  return [...new Set([...Object.keys(before), ...Object.keys(now)])]
    .filter((name) => said(before[name]) !== said(now[name]))
    .map((name) => inWords(name) ?? `${name}: ${said(before[name])} there, ${said(now[name])} now`);
}

/** In what the run that a directory holds differs from the one that is asked for, in words; null where it has no record of its run. */
export async function differencesFrom(directory: string, run: RunMaking): Promise<string[] | null> {
  const record = await readRecord(directory);
  if (record === null) return null;
  return differingSettings(decisive(record), decisive(run), (name) => {
    if (name === 'data') return `data: those of ${record.dataset.directory} as they were then, others now`;
    const input = name.startsWith('input ') ? name.slice('input '.length) : null;
    return input === null ? null : `${input}: ${record.inputs[input]?.path ?? 'none'} as it was then, others now`;
  });
}

/** @param differing what `differencesFrom` said of the directory that holds the file */
export function otherRun(file: string, what: string, differing: readonly string[] | null): TrainingError {
  const rest = 'other training rows or another order of them, or another version of LARR';
  const how =
    differing === null
      ? 'of another model, configuration, seed or dataset'
      : `with other settings (${differing.join('; ') || rest})`;
  return new TrainingError(
    'CHECKPOINT_MISMATCH',
    `${file} ${what} a run ${how}. Take another --out, or remove the directory to start afresh`,
    { file },
  );
}

function decisive({ config, seed, dataset, inputs }: RunMaking): Record<string, unknown> {
  return {
    data: dataset.contentDigest,
    split: dataset.split,
    seed,
    ...Object.fromEntries(Object.entries(inputs).map(([name, { sha256 }]) => [`input ${name}`, sha256])),
    ...Object.fromEntries(settings(config as object).filter(([name]) => !indifferent.has(name.split('.').at(-1)!))),
  };
}
