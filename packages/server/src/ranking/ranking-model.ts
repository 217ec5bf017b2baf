import type { Fallbacks, ModelIdentity, RankedPoi, RankRequest } from '../api/contracts/index.js';
import type { RankStage } from '../observability/metrics.js';
import type { FeatureStore } from '../store/feature-store.js';
import type { RankerKind } from './ranker-lane.js';

/** Scene values as a request gives them. */
export type SceneValues = RankRequest['scene'];

/** One user in one scene, and the POIs to score there. */
export type ScoreRequest = Pick<RankRequest, 'user' | 'scene'> & { candidates: string[] };

/** A ranking whose candidates are known. */
export type RankingRequest = ScoreRequest & Pick<RankRequest, 'k' | 'by' | 'explain'>;

/** Probabilities in the order of the candidates. */
export interface ScoredCandidates {
  pCtr: Float32Array;
  /** null where the model learnt no orders */
  pCtcvr: Float32Array | null;
  fallbacks: Fallbacks;
}

/** What recalled POIs shall be like: any of a text, a user and a scene. */
export interface RecallRequest {
  text?: string | undefined;
  user?: string | undefined;
  scene: SceneValues;
  k: number;
  /** POI columns and the value that each must have */
  within: Readonly<Record<string, string>>;
}

export interface RecallAnswer {
  /** best first */
  pois: { poi: string; similarity: number }[];
  /** terms and scene texts that the query was made of */
  matched: { field: string; text: string }[];
  /** terms that too many POIs have, looked for where nothing else of the text is known */
  common: string[];
  /** words and texts that nothing is known of */
  unmatched: string[];
}

/** What the HTTP layer needs of a loaded model; it knows nothing of embeddings or graphs. */
export interface RankingModel {
  readonly identity: ModelIdentity;
  /** Where its bundle was read from, for what is read of it later: the catalogue of users and POIs. */
  readonly directory: string;
  /** Whether it can tell the attention per scene keyword. */
  readonly explainable: boolean;
  /** Requests that this model answers, of a new user and with no other fallbacks: shown in the OpenAPI document. */
  readonly examples: readonly RankingRequest[];
  /** Whether it can rank no more, until the server is started again. */
  readonly broken: boolean;
  /** Candidates that wait for the ranker now. */
  readonly queuedRows: number;
  /** How far the scores of the last minutes are from those of the bundle's test rows (observability/drift.ts). */
  drift(): readonly { task: 'ctr' | 'ctcvr'; psi: number | null; scores: number }[];
  /**
   * Ranks candidates, best first; ties go to the earlier candidate.
   * @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID, TASK_UNKNOWN, NOT_EXPLAINABLE (400)
   */
  rank(
    request: RankingRequest,
    timing: (stage: RankStage, seconds: number) => void,
  ): Promise<{ ranked: RankedPoi[]; fallbacks: Fallbacks }>;
  /**
   * Scores candidates of several users or scenes at once.
   * @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID (400)
   */
  score(
    requests: readonly ScoreRequest[],
    timing: (stage: RankStage, seconds: number) => void,
  ): Promise<ScoredCandidates[]>;
  /**
   * POIs that suit a text, a scene or a user, without a language model.
   * @throws ApiError NO_RECALL, RECALL_EMPTY, USER_WITHOUT_HISTORY, COLUMN_UNKNOWN and those of scenes (400), STORE_AWAY (503)
   */
  recall(request: RecallRequest): Promise<RecallAnswer>;
  /**
   * Whether a ranking would read this scene, as an event's says it.
   * @throws ApiError SCENE_FIELD_UNKNOWN, SCENE_VALUE_INVALID (400)
   */
  checkScene(scene: SceneValues): void;
  /** What a sequence calls a POI by: its number in the data from 1; null where the data have none of this id. */
  poiNumber(id: string): number | null;
  /** users' and POIs' features, which may be changed there; null for a model without a store */
  readonly store: FeatureStore | null;
  /** how many POIs its table has, and the memory that takes */
  readonly poiTable: { pois: number; bytes: number };
  /** what scores, and the memory in which it keeps what follows from POIs alone */
  readonly ranker: { kind: RankerKind; bytes: number };
  close(): Promise<void>;
}
