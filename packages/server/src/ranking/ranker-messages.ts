/** What a ranker is asked, and what the serving thread and a thread of onnxruntime say to each other. */

/** A table kept outside the graph: rows of fp32 in a file, mapped into memory rather than read. */
export interface MappedTable {
  /** name of the graph's input */
  input: string;
  file: string;
  byteOffset: number;
  rows: number;
  dim: number;
}

/** What each of the ranker's threads needs to begin. */
export interface RankerSetup {
  onnxFile: string;
  tables: MappedTable[];
}

/**
 * The candidates of one request: rows, and the contexts they are in. A context is the user in one scene; there are several where a scene keyword
 * differs between candidates (a distance band does). Inputs that the graph has not are null.
 */
export interface RankerJob {
  rows: number;
  contexts: number;
  /** [rows]: the context of each row */
  context: Int32Array;
  /** [contexts, ·] rows of the fused table */
  contextIds: Int32Array | null;
  /** [rows, ·] */
  ids: Int32Array | null;
  /** [contexts, ·] raw */
  contextDense: Float32Array | null;
  /** [rows, ·] */
  dense: Float32Array | null;
  /** [contexts, ·] */
  z: Float32Array | null;
  /** [contexts, ·] */
  behaviour: Float32Array | null;
  /** [contexts, ·]: POIs from 1, 0 = padding */
  history: Int32Array | null;
  /** [rows]: POIs from 1, 0 = unknown to the data */
  poi: Int32Array | null;
  /** [rows]: row in the table of POIs, −1 = none, and which state of it the row's features are of; null where rows are of no table */
  kept: { poi: Int32Array; version: Int32Array } | null;
}

export interface RankerScores {
  /** [rows] */
  pCtr: Float32Array;
  /** [rows]; null where the model learnt no orders */
  pCtcvr: Float32Array | null;
}

export type ToRanker = { kind: 'batch'; jobs: RankerJob[] } | { kind: 'stop' };
export type FromRanker =
  | { kind: 'ready' }
  | { kind: 'scores'; scores: RankerScores }
  | { kind: 'failed'; message: string };
