import type { RankerJob, RankerScores } from './ranker-messages.js';

/** What scores one batch at a time. */
export interface RankerLane {
  /** Scores the rows of all jobs, one job's after another's. Takes the jobs' arrays for itself. */
  score(jobs: RankerJob[]): Promise<RankerScores>;
  /** Resolves when nothing of it runs any more. Not called while it scores. */
  close(): Promise<void>;
  /** Tells when it has ended, by itself or closed, and why. A lane without threads of its own does not end. */
  onEnd?(listener: (reason: LaneEnded) => void): void;
}

/** Why a lane scores nothing any more. */
export class LaneEnded extends Error {}

/** Lanes over one bundle's ranker. */
export interface RankerLanes {
  /** `onnx`: the graph in onnxruntime; `native`: the program of experts and gates in native-cuda */
  kind: RankerKind;
  lanes: RankerLane[];
  /** Whether one request's rows are worth being cut up between idle lanes: a lane that has one core alone, yes. */
  cut: boolean;
  /** Bytes kept of POIs beside the bundle's own tables. */
  keptBytes(): number;
}

export const RANKER_KINDS = ['native', 'onnx'] as const;
export type RankerKind = (typeof RANKER_KINDS)[number];

/** Memory in which the native ranker keeps what follows from POIs alone, where nothing else is said: a default PLE's sums of about 85,000 POIs. */
export const DEFAULT_RANKER_MEMORY_MIB = 512;

/** Jobs as one, rows after rows and contexts after contexts. */
export function joinedJobs(jobs: RankerJob[]): RankerJob {
  const [only] = jobs;
  if (jobs.length === 1) return only!;
  const joined = <T extends Int32Array | Float32Array>(part: (job: RankerJob) => T | null): T | null => {
    const parts = jobs.flatMap((job) => part(job) ?? []);
    const [first] = parts;
    if (first === undefined) return null;
    const length = parts.reduce((sum, { length }) => sum + length, 0);
    const all = (first instanceof Int32Array ? new Int32Array(length) : new Float32Array(length)) as T;
    let at = 0;
    for (const one of parts) {
      all.set(one as never, at);
      at += one.length;
    }
    return all;
  };
  const rows = jobs.reduce((sum, job) => sum + job.rows, 0);
  const context = new Int32Array(rows);
  let [at, contexts] = [0, 0];
  for (const job of jobs) {
    for (const one of job.context) context[at++] = contexts + one;
    contexts += job.contexts;
  }
  const kept = jobs.every((job) => job.kept !== null)
    ? { poi: joined((job) => job.kept!.poi)!, version: joined((job) => job.kept!.version)! }
    : null;
  return {
    rows,
    contexts,
    context,
    contextIds: joined((job) => job.contextIds),
    ids: joined((job) => job.ids),
    contextDense: joined((job) => job.contextDense),
    dense: joined((job) => job.dense),
    z: joined((job) => job.z),
    behaviour: joined((job) => job.behaviour),
    history: joined((job) => job.history),
    poi: joined((job) => job.poi),
    kept,
  };
}
