import type { TextTemplates, TrainingDefaults } from '../schema/schema.js';

/** The three parts of every split. */
export const PARTS = ['train', 'validation', 'test'] as const;
export type Part = (typeof PARTS)[number];

/** Where a feature comes from; models use it to put features together. */
export type FeatureRole = 'user' | 'poi' | 'user-feature' | 'poi-feature' | 'cross' | 'context';

export interface KeywordSpec {
  name: string;
  /** Special-token name: `poi_name` stands for the pair `<poi_name>`, `</poi_name>`. */
  token: string;
  /** Column of texts/pois.parquet or texts/users.parquet; for scene keywords the sample column. */
  column: string;
  /** Its text says where a POI is or a user lives, by the schema's `place`. */
  place?: true;
}

export interface PartManifest {
  rows: number;
  /** Paths relative to the dataset directory, in row order. */
  files: string[];
  /** Rows with click = 1. */
  clicks: number;
  /** Rows with order = 1; null where the data have no orders. */
  orders: number | null;
}

export interface CategoricalSpec {
  name: string;
  role: FeatureRole;
  /** Number of indices, index 0 (unseen or missing) included. */
  size: number;
  /** JSON file (relative to the dataset directory) with a string[]: entry i is the value of index i, entry 0 is "". */
  vocabulary: string;
  /** Set where values are hashed: index = 1 + hash mod buckets, and the vocabulary holds "" alone. */
  hashed?: {
    buckets: number;
    /** Share of the train part's distinct values that share a bucket with another. */
    collisionRate: number;
  };
}

export interface DenseSpec {
  name: string;
  role: FeatureRole;
  /** Over the train part, missing values left out; columns are transformed (log1p …) but not standardised. */
  mean: number;
  /** Never 0: a constant column has 1. */
  std: number;
  /** Statistics only: the value of a user, POI or pair without any history, as of the end of the data. */
  absent?: number;
}

export interface SequenceSpec {
  name: string;
  of: 'poi';
  /** Column is INT[length] of poi_index + 1, newest first, 0 = padding. */
  length: number;
}

export interface SceneFieldSpec {
  field: string;
  token: string;
  /** texts[0] = "" stands for missing; the sample column holds the index. */
  texts: string[];
}

export interface SplitManifest {
  kind: 'time' | 'random' | 'cold-poi' | 'cold-user';
  parts: Record<Part, PartManifest>;
  categorical: CategoricalSpec[];
  dense: DenseSpec[];
  sequences: SequenceSpec[];
  scene: SceneFieldSpec[];
  /**
   * Share of the train part's unclicked rows that were kept, where they were thinned. A model trained on them says
   * p' = p / (p + (1 - p) w); predictions take it back (method.md, section 5).
   */
  negativesKept?: number;
}

/** `dataset.json`, the last file that `prepare` writes. */
export interface DatasetManifest {
  format: 'larr-dataset';
  version: 1;
  name: string;
  seed: number;
  schemaDigest: string;
  /** sha256 over the files of the dataset but this one (`contentDigest`): what was trained on these data says so by it. */
  contentDigest: string;
  orders: boolean;
  defaultSplit: string;
  splits: Record<string, SplitManifest>;
  /** Number of POIs, the length of texts/pois.parquet. */
  pois: number;
  users: number;
  keywords: { poi: KeywordSpec[]; user: KeywordSpec[]; scene: KeywordSpec[] };
  texts: TextTemplates;
  training?: Partial<TrainingDefaults>;
  /** What was noticed while preparing and is allowed: events of unknown POIs and so on. */
  notes?: string[];
  /** Where the relative paths of schema.json start, relative to the dataset; the dataset itself where this is left out. */
  tablesFrom?: string;
}
