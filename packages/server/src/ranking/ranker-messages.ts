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

/** Vectors that several rows share: copied to the ranker once, spread over the rows there. */
export interface SharedVectors {
  /** [distinct, width] */
  data: Float32Array;
  width: number;
  /** [rows]: which one each row has */
  of: Int32Array;
}

/** Sequences of POIs that several rows share. */
export interface SharedHistories {
  /** [distinct, width]: POIs from 1, 0 = padding */
  data: Int32Array;
  width: number;
  /** [rows]: which one each row has */
  of: Int32Array;
}

/** The candidates of one request. */
export interface RankerJob {
  rows: number;
  /** [rows, F] rows of the fused table */
  ids: Int32Array;
  /** [rows, D] raw */
  dense: Float32Array | null;
  /** z_s of the request's scenes */
  scene: SharedVectors | null;
  behaviour: SharedVectors | null;
  history: SharedHistories | null;
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
