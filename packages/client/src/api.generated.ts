// Written by scripts/write-types.mjs from the OpenAPI document of @larr/server. Do not edit: change the contracts and run it again.

export type ErrorReply = {
  error: {
    code: string;
    message: string;
    /** Where in the request, as in candidates[3]. */
    field?: string;
  };
  requestId: string;
};

export type Health = {
  status: 'ok';
};

export type Readiness = {
  status: 'ready' | 'loading' | 'stopping' | 'failed';
  model?: ModelIdentity;
};

export type ModelIdentity = {
  name: string;
  /** First 12 hex digits of the SHA-256 of the bundle's manifest. */
  bundle: string;
};

export type RankRequest = {
  /** User id as in the training data. An unknown one is ranked as a new user. */
  user: string;
  /** The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene keyword gives that keyword its text directly. A list column is one text, its values joined with ", " as in training. What is left out is missing, not guessed. Latitudes lie between -90 and 90 degrees, longitudes between -360 and 360; others are refused. */
  scene?: Record<string, string | number | boolean | null>;
  /** POI ids to rank, each once. Unknown ones are ranked as new POIs. */
  candidates?: string[];
  /** Instead of candidates: rank the POIs that suit this text, or the user and scene where there is none. */
  recall?: {
    /** What to look for, in words. No language model reads them: known terms of POIs' and scenes' texts are found in them, and the answer says which. */
    text?: string;
    k?: number;
  };
  /** How many of the best to return; all by default. */
  k?: number;
  /** Which probability ranks: pCtcvr where the model learnt orders, else pCtr, by default. */
  by?: 'pCtr' | 'pCtcvr';
  /** Alias of a loaded bundle that shall answer instead of the current one. */
  bundle?: string;
  /** Adds each POI's attention per scene keyword (only for models that use scene embeddings). */
  explain?: boolean;
};

export type RankReply = {
  requestId: string;
  model: ModelIdentity;
  ranked: RankedPoi[];
  fallbacks: Fallbacks;
  /** Where candidates were recalled: what was understood. */
  recall?: {
    /** Known terms and scene texts that were looked for, with the keyword that has them. */
    matched: {
      field: string;
      text: string;
    }[];
    /** Terms that so many POIs have that they tell little: looked for only where nothing else of the text is known. */
    common: string[];
    /** Words and texts that nothing is known of. */
    unmatched: string[];
  };
  /** The experiments that the ranking was made under; left out by a server without any. */
  experiments?: {
    experiment: string;
    arm: string;
  }[];
};

export type RankedPoi = {
  poi: string;
  rank: number;
  /** The probability that ranked it. */
  score: number;
  /** Probability of a click. */
  pCtr: number;
  /** Probability of a click and an order; null where the model learnt no orders. */
  pCtcvr: number | null;
  /** Share of attention per scene keyword present, mean over heads; what is missing to 1 stays with the aggregation token. */
  attention?: Record<string, number>;
};

export type Fallbacks = {
  /** Nothing was known of the user: all that their record would say counted as missing. The id itself is still looked up: one that training had keeps its embedding. */
  user: boolean;
  /** The online store does not answer, so the user's features, history and statistics count as missing for now; scores may differ from a new user's, as the embedding of a known id still counts. */
  store?: true;
  /** Unknown candidates: index 0 ("unseen") and missing features were used. */
  pois: string[];
  /** Scene texts without an embedding: their keyword was treated as missing. */
  scene: {
    field: string;
    text: string;
  }[];
  /** Values of scene columns that an ID feature never had in training: index 0 ("unseen") was used. */
  features: {
    feature: string;
    value: string;
  }[];
  /** Scene columns that the model reads and the request left out: they counted as missing. One that is given as null is not among them; left out where nothing was. */
  missing?: string[];
};

export type ScoreRequest = {
  /** Users in scenes, each with candidates of its own. */
  requests: {
    user: string;
    /** The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene keyword gives that keyword its text directly. A list column is one text, its values joined with ", " as in training. What is left out is missing, not guessed. Latitudes lie between -90 and 90 degrees, longitudes between -360 and 360; others are refused. */
    scene?: Record<string, string | number | boolean | null>;
    /** POI ids to score; answers come in this order. */
    candidates: string[];
  }[];
  /** Alias of a loaded bundle that shall answer. */
  bundle?: string;
};

export type ScoreReply = {
  requestId: string;
  model: ModelIdentity;
  results: {
    /** In the order of the candidates. */
    pCtr: number[];
    /** null where the model learnt no orders. */
    pCtcvr: number[] | null;
    fallbacks: Fallbacks;
  }[];
};

export type RecallRequest = {
  /** What to look for, in words. No language model reads them: known terms of POIs' and scenes' texts are found in them, and the answer says which. */
  text?: string;
  /** POIs like those of their history. */
  user?: string;
  /** The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene keyword gives that keyword its text directly. A list column is one text, its values joined with ", " as in training. What is left out is missing, not guessed. Latitudes lie between -90 and 90 degrees, longitudes between -360 and 360; others are refused. */
  scene?: Record<string, string | number | boolean | null>;
  k?: number;
  /** Columns of POIs, and the value each must have, as in {city: 'london'}. */
  within?: Record<string, string>;
  /** Alias of a loaded bundle that shall answer. */
  bundle?: string;
};

export type RecallReply = {
  requestId: string;
  model: ModelIdentity;
  pois: {
    poi: string;
    /** Cosine with what was looked for. */
    similarity: number;
  }[];
  /** Known terms and scene texts that were looked for, with the keyword that has them. */
  matched: {
    field: string;
    text: string;
  }[];
  /** Terms that so many POIs have that they tell little: looked for only where nothing else of the text is known. */
  common: string[];
  /** Words and texts that nothing is known of. */
  unmatched: string[];
};

export type EventsRequest = {
  events: EventInput[];
};

export type EventInput = {
  /** The client's own id of the event: sent again, it is written once. */
  id: string;
  type: 'impression' | 'click' | 'order';
  user: string;
  poi: string;
  /** When it happened, ISO 8601, on the clock of the place. A time more than a day after the server's clock (UTC) is refused. */
  time: string;
  /** requestId of the ranking that it follows. */
  requestId?: string;
  /** Place in the list that was shown, from 1. */
  position?: number;
  /** What an order was worth, not below 0. */
  value?: number;
  /** The moment, as a ranking takes it: fields that no loaded model reads and values that a ranking would refuse are refused here too (`SCENE_FIELD_UNKNOWN`, `SCENE_VALUE_INVALID`), and nothing of the request is written. While no model is loaded, they are taken as they come. */
  scene?: Record<string, string | number | boolean | null>;
};

export type EventsReply = {
  requestId: string;
  accepted: number;
  /** Events whose id was known already; not written again. */
  duplicates: number;
};

export type ReloadRequest = {
  /** Directory below the one that --bundles names; the one that the server was started with by default. */
  bundle?: string;
  /** Name that requests and arms of experiments call a bundle by. */
  alias?: string;
};

export type ReloadReply = {
  requestId: string;
  alias: string;
  model: ModelIdentity;
  seconds: number;
};

export type RollbackRequest = {
  /** Name that requests and arms of experiments call a bundle by. */
  alias?: string;
};

export type UnloadReply = {
  requestId: string;
  alias: string;
};

export type FeaturesRequest = {
  /** Columns to change by id; other columns stay. Ids that are new are added. Latitudes lie between -90 and 90 degrees, longitudes between -360 and 360; others are refused. */
  rows: Record<string, Record<string, string | number | boolean | null | (string | number)[]>>;
  /** The bundle whose data this is. */
  alias?: string;
};

export type FeaturesReply = {
  requestId: string;
  written: number;
};

export type UnseenTextsReply = {
  requestId: string;
  total: number;
  /** The newest first. */
  texts: {
    field: string;
    text: string;
  }[];
};

export type ServerState = {
  requestId: string;
  store: {
    /** null where the loaded bundle has none. */
    kind: 'lmdb' | 'redis' | null;
    reachable: boolean;
  };
  bundles: {
    alias: string;
    model: ModelIdentity;
    /** Below the directory that --bundles names, or the last part of its path. */
    path: string;
    /** ISO 8601, UTC */
    since: string;
    inFlight: number;
    queuedRows: number;
    broken: boolean;
    /** POIs whose features are in memory. */
    pois: number;
    /** Memory that they take, without the bundle's own tables. */
    poiBytes: number;
    /** What scores. */
    ranker: {
      kind: 'native' | 'onnx';
      /** Memory in which it keeps what follows from POIs alone. */
      bytes: number;
    };
    /** Name of the users and POIs in the online store. */
    data: string | null;
    /** Digest of the bundle that a rollback goes back to. */
    previous: string | null;
    /** Why the bundle that was asked for last does not answer. */
    failure: {
      code: string;
      message: string;
      at: string;
    } | null;
  }[];
};

export type HealthReport = {
  requestId: string;
  /** When this was so, ISO 8601 in UTC. */
  at: string;
  status: 'ready' | 'loading' | 'stopping' | 'failed';
  model: ModelIdentity | null;
  uptimeSeconds: number;
  window: {
    /** What the figures cover: five minutes, or less after a start. */
    seconds: number;
    slotSeconds: number;
  };
  requests: {
    total: number;
    perSecond: number;
    byStatus: Record<string, number>;
    /** Answers of 500 and above. */
    failed: number;
  };
  candidatesPerSecond: number;
  routes: {
    count: number;
    p50: number | null;
    p95: number | null;
    p99: number | null;
    route: string;
  }[];
  stages: {
    count: number;
    p50: number | null;
    p95: number | null;
    p99: number | null;
    stage: string;
  }[];
  /** Slot by slot, oldest first; the last is still filling. Times are those of /v1/rank. */
  series: {
    /** When the slot begins. */
    at: string;
    requests: number;
    failed: number;
    candidates: number;
    p50: number | null;
    p99: number | null;
  }[];
  queue: {
    /** Candidates that wait for the ranker now. */
    rows: number;
  };
  fallbacks: Record<string, number>;
  refused: Record<string, number>;
  /** Population stability index of the window's scores against those of the bundle's test rows; null below 500 scores. */
  drift: {
    task: 'ctr' | 'ctcvr';
    psi: number | null;
    scores: number;
  }[];
  memory: {
    rss: number;
    heapUsed: number;
    heapTotal: number;
    external: number;
  };
  /** How long work had to wait for the main thread since this was last asked. */
  eventLoop: {
    p50: number;
    p99: number;
    max: number;
  };
};

export type CatalogueEntriesReply = {
  requestId: string;
  model: ModelIdentity;
  entries: CatalogueEntry[];
};

export type CatalogueEntry = {
  id: string;
  /** Texts by keyword, those that it has. */
  texts: Record<string, string>;
  /** Raw columns that the bundle keeps, those that have a value. */
  columns: Record<string, string | number | boolean>;
};

export type CatalogueSceneReply = {
  requestId: string;
  model: ModelIdentity;
  /** Whether rank can tell the attention per scene keyword. */
  explainable: boolean;
  fields: CatalogueSceneField[];
  /** The scene keywords, in the model's order. */
  keywords: string[];
  /** Fields of a scene that say where it is, and the columns of a POI that say where that is. */
  position: {
    fields: {
      latitude: string;
      longitude: string;
    };
    columns: {
      latitude: string;
      longitude: string;
    };
  } | null;
  poi: {
    keywords: string[];
    /** Keyword that a POI is called by. */
    name: string | null;
    /** Keyword that says where it is. */
    place: string | null;
  };
  facets: {
    column: string;
    groups: {
      value: string;
      count: number;
      latitude?: number;
      longitude?: number;
    }[];
    /** Scene field with the same values. */
    follows: string | null;
  }[];
  users: number;
  pois: number;
  /** Most candidates in one request. */
  candidates: number;
  example: {
    user: string;
    /** The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene keyword gives that keyword its text directly. A list column is one text, its values joined with ", " as in training. What is left out is missing, not guessed. Latitudes lie between -90 and 90 degrees, longitudes between -360 and 360; others are refused. */
    scene: Record<string, string | number | boolean | null>;
  } | null;
};

export type CatalogueSceneField = {
  name: string;
  /** How the field is read; "keyword" is the text of a scene keyword itself. */
  kind: 'time' | 'number' | 'text' | 'keyword';
  /** Values that the model knows; empty where the bundle does not list them. */
  values: {
    value: string;
    label?: string;
  }[];
  /** Of numbers: where training values lie. */
  range?: {
    low: number;
    high: number;
    typical: number;
  };
  /** Scene keywords that follow from this field. */
  keywords: string[];
};

export type MomentRequest = {
  user: string;
  /** The moment: values of the event columns that the model was trained on (time, weather, latitude, …). The name of a scene keyword gives that keyword its text directly. A list column is one text, its values joined with ", " as in training. What is left out is missing, not guessed. Latitudes lie between -90 and 90 degrees, longitudes between -360 and 360; others are refused. */
  scene?: Record<string, string | number | boolean | null>;
  /** Alias of a loaded bundle; the current one where it is left out. */
  bundle?: string;
};

export type MomentReply = {
  requestId: string;
  model: ModelIdentity;
  /** null for a user that the bundle does not know. */
  user: CatalogueEntry | null;
  keywords: {
    field: string;
    /** null where it is missing, or depends on the POI. */
    text: string | null;
    /** Whether the model has an embedding of the text; true of every text where the model reads no texts. */
    known: boolean;
  }[];
};

export type ExperimentsReply = {
  requestId: string;
  holdout: {
    share: number;
    history: {
      at: string;
      what: string;
    }[];
  };
  experiments: {
    name: string;
    description: string;
    layer: string;
    state: 'draft' | 'running' | 'paused' | 'stopped';
    traffic: number;
    arms: string[];
    primary: 'ctr' | 'cvr' | 'ctcvr' | 'gmv';
    startedAt: string | null;
    stoppedAt: string | null;
    missingBundles: string[];
  }[];
};

export type ExperimentReply = {
  requestId: string;
  experiment: ExperimentRecord;
  /** Aliases that its arms need and that are not loaded; while there are some, nobody is assigned. */
  missingBundles: string[];
};

export type ExperimentRecord = {
  /** Told by every exposure; an experiment made anew under the same name has another. */
  id: string;
  definition: ExperimentDefinition;
  state: 'draft' | 'running' | 'paused' | 'stopped';
  /** Slots of the layer that it holds, of 10000: [first, behind the last], in the order they were taken. */
  slots: [number, number][];
  createdAt: string;
  startedAt: string | null;
  stoppedAt: string | null;
  history: ExperimentChange[];
};

export type ExperimentDefinition = {
  name: string;
  description: string;
  /** A user is in at most one experiment of a layer; layers are independent of each other. */
  layer: string;
  /** Decides which arm a user gets; the name by default. Another salt shuffles users anew. */
  salt?: string;
  /** What is randomised: users. */
  unit: 'user';
  /** The first one is the control. */
  arms: ExperimentArm[];
  /** Share of the layer's users. Raising it moves nobody from one arm to another. */
  traffic: number;
  /** The metric that decides. */
  primary: 'ctr' | 'cvr' | 'ctcvr' | 'gmv';
  /** Chance of a false finding that is accepted. */
  alpha: number;
  /** Smallest relative lift of each metric that is worth finding: where its sequential test is the quickest. */
  smallestLift: {
    ctr: number;
    cvr: number;
    ctcvr: number;
    gmv: number;
  };
  /** Whether a ranking waits until the user's first exposure is on the disk. */
  durableExposures: boolean;
  /** Days before the start whose events reduce the variance (CUPED); 0: none. */
  prePeriodDays: number;
};

export type ExperimentArm = {
  name: string;
  /** Share of the users, in proportion to the other arms. */
  weight: number;
  /** Alias of a loaded bundle that ranks. */
  bundle?: string;
  /** Fields of the rank request that the arm sets, whatever the request says. */
  parameters: {
    /** Which probability ranks. */
    by?: 'pCtr' | 'pCtcvr';
    /** How many POIs are returned. */
    k?: number;
  };
};

export type ExperimentChange = {
  at: string;
  what: string;
};

export type ReportReply = {
  requestId: string;
  experiment: ExperimentRecord;
  asOf: string;
  /** Each day (UTC) with everything up to it. */
  days: {
    day: string;
    figures: {
      arms: {
        arm: string;
        users: number;
        impressions: number;
        clicks: number;
        orders: number;
        gmv: number;
        metrics: Record<string, {
          value: number;
          standardError: number | null;
        } | null>;
      }[];
      sampleRatio: {
        chiSquareP: number;
        /** always valid */
        p: number;
        /** p < .001: assignment or logging is broken. */
        alarm: boolean;
      };
      comparisons: {
        metric: 'ctr' | 'cvr' | 'ctcvr' | 'gmv';
        treatment: string;
        effect: {
          difference: number;
          lift: number | null;
          /** For one look at the planned end. */
          fixed: {
            /** treatment − control */
            difference: [number, number] | null;
            /** treatment / control − 1 */
            lift: [number, number] | null;
            p: number | null;
          };
          /** Always valid: may be looked at every day. */
          sequential: {
            /** treatment − control */
            difference: [number, number] | null;
            /** treatment / control − 1 */
            lift: [number, number] | null;
            p: number | null;
          };
        } | null;
        cuped: {
          difference: number;
          lift: number | null;
          /** For one look at the planned end. */
          fixed: {
            /** treatment − control */
            difference: [number, number] | null;
            /** treatment / control − 1 */
            lift: [number, number] | null;
            p: number | null;
          };
          /** Always valid: may be looked at every day. */
          sequential: {
            /** treatment − control */
            difference: [number, number] | null;
            /** treatment / control − 1 */
            lift: [number, number] | null;
            p: number | null;
          };
          /** Share of the variance that the pre-period took away. */
          varianceReduction: number;
        } | null;
      }[];
    };
  }[];
  verdicts: {
    treatment: string;
    metric: 'ctr' | 'cvr' | 'ctcvr' | 'gmv';
    /** By the always-valid test of the primary metric; broken: the sample-ratio alarm went off. */
    outcome: 'better' | 'worse' | 'open' | 'broken';
    since: string | null;
    p: number | null;
  }[];
  /** Lines of the event log that could not be read, and are in no figure; `larr events compact` names the first. */
  unreadableLines: number;
  /** Users of the control that one look at the end needs to find the primary metric's smallest lift with power .8. */
  usersNeeded: number | null;
};

export type ExperimentRequest = {
  description?: string;
  /** A user is in at most one experiment of a layer; layers are independent of each other. */
  layer?: string;
  /** Decides which arm a user gets; the name by default. Another salt shuffles users anew. */
  salt?: string;
  /** What is randomised: users. */
  unit?: 'user';
  /** The first one is the control. */
  arms: ExperimentArm[];
  /** Share of the layer's users. Raising it moves nobody from one arm to another. */
  traffic?: number;
  /** The metric that decides. */
  primary?: 'ctr' | 'cvr' | 'ctcvr' | 'gmv';
  /** Chance of a false finding that is accepted. */
  alpha?: number;
  /** Smallest relative lift of each metric that is worth finding: where its sequential test is the quickest. */
  smallestLift?: {
    ctr?: number;
    cvr?: number;
    ctcvr?: number;
    gmv?: number;
  };
  /** Whether a ranking waits until the user's first exposure is on the disk. */
  durableExposures?: boolean;
  /** Days before the start whose events reduce the variance (CUPED); 0: none. */
  prePeriodDays?: number;
};

export type HoldoutRequest = {
  /** Share of all users that are in no experiment. */
  share: number;
};

export type HoldoutReply = {
  requestId: string;
  holdout: {
    share: number;
    history: {
      at: string;
      what: string;
    }[];
  };
};

export type RunsReply = {
  requestId: string;
  runs: RunSummary[];
};

export type RunSummary = {
  /** The path below the directory with ~ for /. */
  id: string;
  path: string;
  stage: string | null;
  dataset: string | null;
  model: string | null;
  seeds: number[];
  startedAt: string | null;
  finishedAt: string | null;
  /** running, finished, stopped or failed; of a killed run, running. */
  outcome: string | null;
  error: string | null;
  /** When a file of the run last changed. */
  changedAt: string;
  report: boolean;
  metrics: boolean;
};

export type RunReply = {
  requestId: string;
  run: {
    /** The path below the directory with ~ for /. */
    id: string;
    path: string;
    stage: string | null;
    dataset: string | null;
    model: string | null;
    seeds: number[];
    startedAt: string | null;
    finishedAt: string | null;
    /** running, finished, stopped or failed; of a killed run, running. */
    outcome: string | null;
    error: string | null;
    /** When a file of the run last changed. */
    changedAt: string;
    report: boolean;
    metrics: boolean;
    device: string | null;
    threads: number | null;
    versions: Record<string, unknown>;
    command: string[];
    config: unknown;
    sittings: {
      startedAt: string;
      endedAt: string | null;
      outcome: string;
      error: string | null;
    }[];
    inputs: string[];
  };
  metrics: {
    rows: Record<string, unknown>[];
    total: number;
  } | null;
};

/** What each operation takes and gives. */
export interface Operations {
  /** Whether the process answers */
  health: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: Health;
  };
  /** Whether rank requests will be answered */
  readiness: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: Readiness;
  };
  /** Metrics in the Prometheus text format */
  metrics: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: string;
  };
  /** Ranks candidates for a user in a scene, best first */
  rank: {
    params: undefined;
    query: undefined;
    body: RankRequest;
    reply: RankReply;
  };
  /** Scores candidates of several users or scenes, in the order they were given */
  score: {
    params: undefined;
    query: undefined;
    body: ScoreRequest;
    reply: ScoreReply;
  };
  /** Finds POIs that suit a text, a scene or a user, nearest first */
  recall: {
    params: undefined;
    query: undefined;
    body: RecallRequest;
    reply: RecallReply;
  };
  /** Takes impressions, clicks and orders; answers when they are on the disk */
  events: {
    params: undefined;
    query: undefined;
    body: EventsRequest;
    reply: EventsReply;
  };
  /** Loads a bundle beside the one that answers, tests it, and lets it answer from then on */
  reload: {
    params: undefined;
    query: undefined;
    body: ReloadRequest;
    reply: ReloadReply;
  };
  /** Goes back to the bundle that answered before the last reload */
  rollback: {
    params: undefined;
    query: undefined;
    body: RollbackRequest;
    reply: ReloadReply;
  };
  /** Closes what is loaded under an alias, after the requests that it answers */
  unload: {
    params: {
      /** Name that requests and arms of experiments call a bundle by. */
      alias: string;
    };
    query: undefined;
    body: undefined;
    reply: UnloadReply;
  };
  /** Changes users' features in the online store; the next request reads them */
  changeUsers: {
    params: undefined;
    query: undefined;
    body: FeaturesRequest;
    reply: FeaturesReply;
  };
  /** Changes POIs' features in the online store; every server has them within about a second */
  changePois: {
    params: undefined;
    query: undefined;
    body: FeaturesRequest;
    reply: FeaturesReply;
  };
  /** Scene texts that were asked for and have no embedding */
  unseenTexts: {
    params: undefined;
    query: {
      limit?: number;
    };
    body: undefined;
    reply: UnseenTextsReply;
  };
  /** Which bundles are loaded, since when, and what a rollback goes back to */
  state: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: ServerState;
  };
  /** The last five minutes in figures: load, times by stage, queue, fallbacks, drift, memory */
  healthReport: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: HealthReport;
  };
  /** Users that the bundle knows, by id or the beginnings of words */
  catalogueUsers: {
    params: undefined;
    query: {
      /** An id, or beginnings of words in the columns. */
      query?: string;
      limit?: number;
      /** Alias of a loaded bundle; the current one where it is left out. */
      bundle?: string;
    };
    body: undefined;
    reply: CatalogueEntriesReply;
  };
  /** POIs that the bundle knows, by id, the beginnings of words, or group */
  cataloguePois: {
    params: undefined;
    query: {
      /** Ids with commas between them; each written as in an address, so that a comma of its own is %2C twice encoded. */
      ids?: string;
      /** An id, or beginnings of words of name and place. */
      query?: string;
      /** column:value, the value that a column must have; may be given several times. */
      within?: string | string[];
      limit?: number;
      /** Alias of a loaded bundle; the current one where it is left out. */
      bundle?: string;
    };
    body: undefined;
    reply: CatalogueEntriesReply;
  };
  /** What a scene may say to the model, and by what POIs can be chosen */
  catalogueScene: {
    params: undefined;
    query: {
      /** Alias of a loaded bundle; the current one where it is left out. */
      bundle?: string;
    };
    body: undefined;
    reply: CatalogueSceneReply;
  };
  /** The scene keywords that follow from a scene, as the model reads them */
  catalogueMoment: {
    params: undefined;
    query: undefined;
    body: MomentRequest;
    reply: MomentReply;
  };
  /** All experiments, and the share of users that are in none */
  experiments: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: ExperimentsReply;
  };
  /** An experiment with its history */
  experiment: {
    params: {
      name: string;
    };
    query: undefined;
    body: undefined;
    reply: ExperimentReply;
  };
  /** Makes a draft, changes one, or changes the traffic of an experiment that runs */
  putExperiment: {
    params: {
      name: string;
    };
    query: undefined;
    body: ExperimentRequest;
    reply: ExperimentReply;
  };
  /** Forgets a draft or a stopped experiment */
  deleteExperiment: {
    params: {
      name: string;
    };
    query: undefined;
    body: undefined;
    reply: ExperimentReply;
  };
  /** What an experiment says, day by day: figures, lifts with intervals, alarms */
  experimentReport: {
    params: {
      name: string;
    };
    query: undefined;
    body: undefined;
    reply: ReportReply;
  };
  /** Starts a draft, or a paused experiment again */
  startExperiment: {
    params: {
      name: string;
    };
    query: undefined;
    body: undefined;
    reply: ExperimentReply;
  };
  /** Gives an experiment to nobody until it is started again */
  pauseExperiment: {
    params: {
      name: string;
    };
    query: undefined;
    body: undefined;
    reply: ExperimentReply;
  };
  /** Ends an experiment for good */
  stopExperiment: {
    params: {
      name: string;
    };
    query: undefined;
    body: undefined;
    reply: ExperimentReply;
  };
  /** Holds a share of all users out of every experiment */
  putHoldout: {
    params: undefined;
    query: undefined;
    body: HoldoutRequest;
    reply: HoldoutReply;
  };
  /** The runs below the directory of runs, the latest first */
  runs: {
    params: undefined;
    query: undefined;
    body: undefined;
    reply: RunsReply;
  };
  /** One run: its record, and its metrics row by row */
  run: {
    params: {
      id: string;
    };
    query: {
      /** At most this many rows of metrics; of more, evenly spaced ones. */
      rows?: number;
    };
    body: undefined;
    reply: RunReply;
  };
  /** The run's report, a page that needs nothing else */
  runReport: {
    params: {
      id: string;
    };
    query: undefined;
    body: undefined;
    reply: string;
  };
}

/** Where each operation stands. */
export const OPERATIONS = {
  health: { method: 'GET', path: '/healthz' },
  readiness: { method: 'GET', path: '/readyz' },
  metrics: { method: 'GET', path: '/metrics' },
  rank: { method: 'POST', path: '/v1/rank' },
  score: { method: 'POST', path: '/v1/score' },
  recall: { method: 'POST', path: '/v1/recall' },
  events: { method: 'POST', path: '/v1/events' },
  reload: { method: 'POST', path: '/v1/admin/reload' },
  rollback: { method: 'POST', path: '/v1/admin/rollback' },
  unload: { method: 'DELETE', path: '/v1/admin/bundles/{alias}' },
  changeUsers: { method: 'PATCH', path: '/v1/admin/store/users' },
  changePois: { method: 'PATCH', path: '/v1/admin/store/pois' },
  unseenTexts: { method: 'GET', path: '/v1/admin/unseen-texts' },
  state: { method: 'GET', path: '/v1/admin/state' },
  healthReport: { method: 'GET', path: '/v1/admin/health' },
  catalogueUsers: { method: 'GET', path: '/v1/catalogue/users' },
  cataloguePois: { method: 'GET', path: '/v1/catalogue/pois' },
  catalogueScene: { method: 'GET', path: '/v1/catalogue/scene' },
  catalogueMoment: { method: 'POST', path: '/v1/catalogue/moment' },
  experiments: { method: 'GET', path: '/v1/experiments' },
  experiment: { method: 'GET', path: '/v1/experiments/{name}' },
  putExperiment: { method: 'PUT', path: '/v1/experiments/{name}' },
  deleteExperiment: { method: 'DELETE', path: '/v1/experiments/{name}' },
  experimentReport: { method: 'GET', path: '/v1/experiments/{name}/report' },
  startExperiment: { method: 'POST', path: '/v1/experiments/{name}/start' },
  pauseExperiment: { method: 'POST', path: '/v1/experiments/{name}/pause' },
  stopExperiment: { method: 'POST', path: '/v1/experiments/{name}/stop' },
  putHoldout: { method: 'PUT', path: '/v1/holdout' },
  runs: { method: 'GET', path: '/v1/runs' },
  run: { method: 'GET', path: '/v1/runs/{id}' },
  runReport: { method: 'GET', path: '/v1/runs/{id}/report.html' },
} as const satisfies { readonly [name in keyof Operations]: { method: string; path: string } };
