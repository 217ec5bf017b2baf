/** What the serving thread and the ranker's thread say to each other. */

/** A table kept outside the graph: rows of fp32 in a file, mapped into memory rather than read. */
export interface MappedTable {
  /** name of the graph's input */
  input: string;
  file: string;
  byteOffset: number;
  rows: number;
  dim: number;
}

/** What the ranker's thread needs to begin. */
export interface RankerSetup {
  onnxFile: string;
  tables: MappedTable[];
  /** threads within one operator */
  threads: number;
}

/** The candidates of one request. Everything that a request has once is sent once and spread over the rows by the ranker. */
export interface RankerJob {
  rows: number;
  /** [rows, F] rows of the fused table */
  ids: Int32Array;
  /** [rows, D] raw */
  dense: Float32Array | null;
  /** [scenes, width], and which of them each row has */
  scene: { z: Float32Array; width: number; of: Int32Array } | null;
  /** [d] */
  behaviour: Float32Array | null;
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
