/** What every LARR error offers: a stable `code` for programs and a message for people (what, where, what to do). */
export interface ErrorDetails {
  /** File the trouble is in. */
  file?: string;
  /** Data row, 1 for the first row after any header. */
  row?: number | bigint;
  /** Column, field or schema path. */
  field?: string;
  cause?: unknown;
}

/** Base of all errors that LARR raises on purpose. Anything else that is thrown is a defect. */
export class LarrError extends Error {
  readonly code: string;
  readonly file: string | undefined;
  readonly row: number | bigint | undefined;
  readonly field: string | undefined;
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.file = details.file;
    this.row = details.row;
    this.field = details.field;
  }
}

/** The command was called wrongly: a missing or contradictory argument, or one that names what it cannot be. */
export class UsageError extends LarrError {}
/** The user's data are not what the schema says, or cannot be read. */
export class DataError extends LarrError {}
/** A bundle is damaged, incomplete, or of a version this program does not know. */
export class BundleError extends LarrError {}
/** A schema or configuration is invalid, by itself or for the data. */
export class ConfigError extends LarrError {}
/** Training went wrong: not a number, no progress, an exhausted budget. */
export class TrainingError extends LarrError {}

/**
 * Codes of errors in which a command, or a file of settings that it was given, names what is not there, is of another sort, or belongs to
 * other data or settings, and which those throw who read files for anybody: theirs are errors of data, bundles and training. What only a
 * command or its settings can have caused is a `UsageError` or `ConfigError`, and needs no line here.
 */
const wronglyNamed: ReadonlySet<string> = new Set([
  'ADDRESS_UNKNOWN',
  'BAD_DELIMITER',
  'BUNDLE_MISSING',
  'CHECKPOINT_MISMATCH',
  'COLUMN_MISSING',
  'DATASET_MISMATCH',
  'DATASET_MISSING',
  'DIMENSION_MISMATCH',
  'FILE_MISSING',
  'FINE_TUNED_MODEL',
  'FORMAT_UNKNOWN',
  'HUB_NOT_FOUND',
  'MISSING_FILE',
  'MODEL_OF_OTHER_SPLIT',
  'NOT_A_WORLD',
  'NOT_TRAINED',
  'NO_NATIVE_RANKER',
  'NO_VECTORS',
  'PORT_FORBIDDEN',
  'SCHEMA_MISMATCH',
  'SPLIT_UNKNOWN',
  'TABLE_UNKNOWN',
  'VECTORS_MISMATCH',
]);

/**
 * Exit status of LARR's commands for an error (docs/operations.md): 2 where the command or its settings have to be changed (options, a
 * schema or configuration, names of what is not there or belongs to something else), 1 where they were right and the work failed: what
 * a file holds, the training, the machine.
 */
export function exitCode(error: unknown): 1 | 2 {
  if (error instanceof UsageError || error instanceof ConfigError) return 2;
  return error instanceof LarrError && wronglyNamed.has(error.code) ? 2 : 1;
}

/**
 * The candidate nearest to `name` by edit distance (case ignored), or `undefined` when none is near enough to suggest:
 * at most a third of the letters may differ.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
  const wanted = name.toLowerCase();
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    const distance = editDistance(wanted, candidate.toLowerCase());
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  if (best === undefined) return undefined;
  return bestDistance <= Math.max(1, Math.floor(Math.max(name.length, best.length) / 3)) ? best : undefined;
}

/** ` Did you mean "x"?`, or the valid names when nothing is near; ready to append to a message. */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  const all = [...candidates];
  const nearest = nearestName(name, all);
  if (nearest !== undefined) return ` Did you mean "${nearest}"?`;
  if (all.length === 0) return '';
  const shown = all.slice(0, 12).join(', ');
  return ` Valid names: ${shown}${all.length > 12 ? `, … (${all.length} in all)` : ''}.`;
}

/** Levenshtein distance in which swapping two neighbouring letters counts once (optimal string alignment). */
function editDistance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = rows[i - 1]![j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let distance = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, substitution);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        distance = Math.min(distance, rows[i - 2]![j - 2]! + 1);
      row.push(distance);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
}
