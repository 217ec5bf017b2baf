import type { DatasetSchema } from '@larr/core';
import type { Fallbacks, ModelIdentity, RankedPoi } from '../api/contracts/index.js';
import { ApiError } from '../api/errors.js';
import type { BundleFeatures } from '../bundle/contents.js';
import type { HeldFiles } from '../bundle/held-files.js';
import type { ScoreDrift } from '../observability/drift.js';
import type { RankStage } from '../observability/metrics.js';
import type { Recall, RecallQuery } from '../recall/recall.js';
import type { Attention, SceneVectors } from '../scene/scene-vectors.js';
import { type FeatureStore, StoreAway } from '../store/feature-store.js';
import type { UserRecord } from '../store/user-record.js';
import type { BehaviourVectors } from './behaviour.js';
import { exampleRequest } from './example-request.js';
import { entriesOf, type Histories } from './history.js';
import { bestFirst } from './order.js';
import type { PoiTable } from './poi-table.js';
import type { Ranker } from './ranker.js';
import type { RankerKind } from './ranker-lane.js';
import type { RankerJob } from './ranker-messages.js';
import type {
  RankingModel,
  RankingRequest,
  RecallAnswer,
  RecallRequest,
  ScoredCandidates,
  ScoreRequest,
} from './ranking-model.js';
import type { RowAssembly } from './row-assembly.js';
import { SceneInput } from './scene-input.js';

/** How often the store is asked for POIs that changed, milliseconds. */
const FOLLOW_EVERY_MS = 1000;

/** Of each probability, how far what is served is from what the bundle's test rows had. */
export interface Drifts {
  ctr: ScoreDrift;
  ctcvr: ScoreDrift | null;
}

/** A bundle's parts, loaded (load-model.ts). */
export interface BundleParts {
  identity: ModelIdentity;
  directory: string;
  tasks: readonly string[];
  schema: DatasetSchema;
  features: BundleFeatures;
  assembly: RowAssembly;
  pois: PoiTable;
  store: FeatureStore;
  scene: SceneVectors | null;
  behaviour: BehaviourVectors | null;
  histories: Histories | null;
  /** whether the ranker takes the vector of the POI itself */
  takesPoi: boolean;
  ranker: Ranker;
  /** null where the bundle was exported without vectors */
  recall: Recall | null;
  drifts: Drifts;
  /** what is read of the bundle's files later on; closed with the model */
  held: HeldFiles;
}

/** One request as the ranker takes it, and what is needed to say its answer. */
interface Prepared {
  job: RankerJob;
  fallbacks: Fallbacks;
  /** attention of a candidate's scene; null where it was not asked for */
  attentionOf: ((row: number) => Attention) | null;
}

/** Ranks with a bundle's parts. */
export class BundleModel implements RankingModel {
  readonly examples: readonly RankingRequest[];
  readonly identity: ModelIdentity;
  readonly directory: string;
  readonly store: FeatureStore;
  readonly #parts: BundleParts;
  readonly #input: SceneInput;
  #following: NodeJS.Timeout | null = null;
  /** number of the last change of POIs that was taken up */
  #followed = 0;
  #closed = false;

  constructor(parts: BundleParts) {
    this.#parts = parts;
    this.identity = parts.identity;
    this.directory = parts.directory;
    this.store = parts.store;
    this.#input = new SceneInput(parts.schema);
    this.examples = [exampleRequest({ ...parts, input: this.#input })];
  }

  get broken(): boolean {
    return this.#parts.ranker.broken;
  }

  get explainable(): boolean {
    return this.#parts.scene?.explainable ?? false;
  }

  get queuedRows(): number {
    return this.#parts.ranker.queuedRows;
  }

  get poiTable(): { pois: number; bytes: number } {
    return { pois: this.#parts.pois.size, bytes: this.#parts.pois.bytes };
  }

  get ranker(): { kind: RankerKind; bytes: number } {
    const { kind, keptBytes } = this.#parts.ranker;
    return { kind, bytes: keptBytes };
  }

  async rank(
    request: RankingRequest,
    timing: (stage: RankStage, seconds: number) => void,
  ): Promise<{ ranked: RankedPoi[]; fallbacks: Fallbacks }> {
    const { ranker, drifts } = this.#parts;
    const by = this.#rankedBy(request.by);
    const explain = request.explain === true;
    if (explain && !this.explainable) {
      throw new ApiError(400, 'NOT_EXPLAINABLE', 'explain: this model has no attention over scene keywords', 'explain');
    }
    const lap = laps(timing);
    const { job, fallbacks, attentionOf } = await this.#prepare(request, explain, lap);
    const { scores, waited } = await ranker.score(job);
    drifts.ctr.observe(scores.pCtr);
    if (scores.pCtcvr !== null) drifts.ctcvr?.observe(scores.pCtcvr);
    timing('queue', waited);
    lap('ranker', waited);

    const { pCtr, pCtcvr } = scores;
    const score = by === 'pCtr' ? pCtr : pCtcvr!;
    const { candidates } = request;
    const ranked = bestFirst(score, request.k ?? candidates.length).map((row, i): RankedPoi => {
      const one: RankedPoi = {
        poi: candidates[row]!,
        rank: i + 1,
        score: score[row]!,
        pCtr: pCtr[row]!,
        pCtcvr: pCtcvr === null ? null : pCtcvr[row]!,
      };
      if (attentionOf !== null) one.attention = this.#byField(attentionOf(row));
      return one;
    });
    lap('sort');
    return { ranked, fallbacks };
  }

  async score(
    requests: readonly ScoreRequest[],
    timing: (stage: RankStage, seconds: number) => void,
  ): Promise<ScoredCandidates[]> {
    const { ranker, drifts } = this.#parts;
    const lap = laps(timing);
    const prepared = await Promise.all(requests.map((request) => this.#prepare(request, false, lap)));
    // Asked together, they are answered in the same runs.
    const answers = await Promise.all(prepared.map(({ job }) => ranker.score(job)));
    lap('ranker');
    return answers.map(({ scores }, i) => {
      drifts.ctr.observe(scores.pCtr);
      if (scores.pCtcvr !== null) drifts.ctcvr?.observe(scores.pCtcvr);
      return { ...scores, fallbacks: prepared[i]!.fallbacks };
    });
  }

  async recall(request: RecallRequest): Promise<RecallAnswer> {
    const { recall, schema, assembly, pois } = this.#parts;
    if (recall === null) {
      throw new ApiError(
        400,
        'NO_RECALL',
        'the loaded bundle was exported without vectors, so nothing can be recalled',
      );
    }
    const { event, texts } = this.#input.read(request.scene);
    const { user, away } = request.user === undefined ? { user: null, away: false } : await this.#user(request.user);
    if (request.user !== undefined) event[schema.keys.user] = request.user;
    const follows = assembly.sharedScene(event, user?.row);
    const scene = new Map<string, string>();
    this.#parts.features.scene.forEach(({ field }, i) => {
      const text = texts.has(field) ? texts.get(field)! : follows[i];
      if (text !== null && text !== undefined) scene.set(field, text);
    });
    const history = historyOf(user, this.store.pois);
    const query: RecallQuery = { text: request.text, scene, history };
    if (request.user !== undefined && history.length === 0)
      query.lacking = away ? 'store' : { user: this.#whyWithoutHistory(request.user, user) };
    const found = await recall.nearest(query, request.k, pois, request.within);
    return {
      pois: found.rows.map((row, i) => ({ poi: pois.idOf(row), similarity: found.similarities[i]! })),
      matched: found.matched,
      common: found.common,
      unmatched: found.unmatched,
    };
  }

  #whyWithoutHistory(id: string, user: UserRecord | null): string {
    const name = `user ${JSON.stringify(id)}`;
    if (user === null) return `${name} is not known`;
    return this.#parts.features.sequences.length === 0
      ? `${name} has no history: the model's data have no sequences, and no statistics of users with POIs`
      : `${name} has no history: their sequences are empty`;
  }

  poiNumber(id: string): number | null {
    const { pois } = this.#parts;
    const row = pois.rowOf(id);
    return row < 0 || pois.poiIndex[row]! < 0 ? null : pois.poiIndex[row]! + 1;
  }

  checkScene(scene: RankingRequest['scene']): void {
    this.#input.read(scene);
  }

  drift(): ReturnType<RankingModel['drift']> {
    const { ctr, ctcvr } = this.#parts.drifts;
    return [{ task: 'ctr', ...ctr.now() }, ...(ctcvr === null ? [] : [{ task: 'ctcvr' as const, ...ctcvr.now() }])];
  }

  /** Takes up what changed in the store until now, and from now on; loads users where the store was away before. */
  async followStore(): Promise<void> {
    try {
      if (this.store.reachable) {
        await this.store.load();
        await this.store.use();
        await this.#takeUpChanges();
      }
    } catch (error) {
      if (!(error instanceof StoreAway)) throw error;
    } finally {
      this.#followLater();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#following !== null) clearTimeout(this.#following);
    await Promise.all([this.#parts.ranker.close(), this.#parts.recall?.close()]);
    this.#parts.scene?.dispose();
    await this.#parts.held.close();
  }

  #followLater(): void {
    if (this.#closed) return;
    // A failure here is told by the next one who asks; it must not end the process.
    this.#following = setTimeout(() => this.followStore().catch(() => {}), FOLLOW_EVERY_MS).unref();
  }

  async #takeUpChanges(): Promise<void> {
    for (;;) {
      const { last, rows } = await this.store.changedPois(this.#followed);
      if (last === this.#followed) return;
      this.#parts.pois.put(rows);
      this.#parts.recall?.put(rows, this.#parts.pois);
      this.#followed = last;
    }
  }

  /** @throws ApiError TASK_UNKNOWN (400) */
  #rankedBy(by: RankingRequest['by']): 'pCtr' | 'pCtcvr' {
    const orders = this.#parts.tasks.includes('order');
    if (by === 'pCtcvr' && !orders)
      throw new ApiError(400, 'TASK_UNKNOWN', 'by: this model learnt no orders, so it has no pCtcvr', 'by');
    return by ?? (orders ? 'pCtcvr' : 'pCtr');
  }

  async #prepare(request: ScoreRequest, explain: boolean, lap: (stage: RankStage) => void): Promise<Prepared> {
    const { schema, assembly, pois, scene } = this.#parts;
    const { event, texts } = this.#input.read(request.scene);
    const leftOut = this.#input.leftOut(request.scene, scene !== null);
    event[schema.keys.user] = request.user;
    const { user, away } = await this.#user(request.user);
    const ids = request.candidates;
    const candidates = new Int32Array(ids.length);
    const unknownPois: string[] = [];
    for (let i = 0; i < ids.length; i++) {
      const row = pois.rowOf(ids[i]!);
      candidates[i] = row;
      if (row < 0) unknownPois.push(ids[i]!);
    }
    const rows = assembly.rows(event, user, candidates, pois);
    // Read with the features, before anything is waited for: POIs may change meanwhile.
    const poi = this.#parts.takesPoi ? candidates.map((row) => (row < 0 ? 0 : pois.poiIndex[row]! + 1)) : null;
    const kept = { poi: candidates, version: candidates.map((row) => (row < 0 ? 0 : pois.versions[row]!)) };
    lap('features');

    const scenes =
      scene === null
        ? null
        : assembly.scenes(event, user?.row, candidates, pois, texts, (field, text) => scene.entry(field, text));
    const encoded = scenes === null ? null : await this.#encode(scenes.rows, explain);
    lap('scene');

    const C = scenes?.count ?? 1;
    const none = <T extends { length: number }>(array: T): T | null => (array.length === 0 ? null : array);
    const { behaviour, histories } = this.#parts;
    const of = scenes?.of ?? new Int32Array(ids.length);
    const { attention } = encoded ?? { attention: null };
    // The job gives its buffers away, and the attention is asked for after that.
    const sceneOf = attention === null ? null : of.slice();
    return {
      job: {
        rows: ids.length,
        contexts: C,
        context: of,
        contextIds: none(repeated(rows.contextIds, C)),
        ids: none(rows.ids),
        contextDense: none(repeated(rows.contextDense, C)),
        dense: none(rows.dense),
        z: encoded?.z ?? null,
        behaviour: behaviour === null ? null : repeated(behaviour.of(user?.row), C),
        history: histories === null ? null : repeated(histories.of(user?.row), C),
        poi,
        kept,
      },
      fallbacks: {
        user: user === null,
        ...(away ? { store: true as const } : {}),
        pois: unknownPois,
        scene: scenes?.unknown ?? [],
        features: rows.unseen,
        ...(leftOut.length > 0 ? { missing: leftOut } : {}),
      },
      attentionOf: attention === null ? null : (row) => attention[sceneOf![row]!]!,
    };
  }

  /** The user's record. While the store is away, everyone is unknown. */
  async #user(id: string): Promise<{ user: UserRecord | null; away: boolean }> {
    try {
      const found = this.store.user(id);
      return { user: found instanceof Promise ? await found : found, away: false };
    } catch (error) {
      if (!(error instanceof StoreAway)) throw error;
      return { user: null, away: true };
    }
  }

  async #encode(rows: Int32Array, explain: boolean): Promise<{ z: Float32Array; attention: Attention[] | null }> {
    const scene = this.#parts.scene!;
    if (explain) return scene.encodeWithAttention(rows);
    return { z: await scene.encode(rows), attention: null };
  }

  #byField(attention: Attention): Record<string, number> {
    const { fields } = this.#parts.scene!;
    const present = fields.map((field, i) => [field, attention[i]!] as const).filter(([, share]) => share > 0);
    return Object.fromEntries(present);
  }
}

/** POIs of a user's sequences, by their number in the data; of their pairs where the model has no sequences. */
function historyOf(user: UserRecord | null, pois: number): number[] {
  if (user === null) return [];
  const sequences = Object.entries(user.row).flatMap(([name, value]) =>
    name.startsWith('seq_') ? entriesOf(value, pois) : [],
  );
  const entries = sequences.filter((entry) => entry > 0).map((entry) => entry - 1);
  return entries.length > 0 ? entries : [...(user.pairs?.poi ?? [])];
}

/** A stopwatch: each lap tells the seconds since the one before it, less those that are told apart. */
function laps(timing: (stage: RankStage, seconds: number) => void): (stage: RankStage, toldApart?: number) => void {
  let clock = performance.now();
  return (stage, toldApart = 0) => {
    const now = performance.now();
    timing(stage, (now - clock) / 1000 - toldApart);
    clock = now;
  };
}

/** The same row so many times. */
function repeated<T extends Int32Array | Float32Array>(row: T, times: number): T {
  if (times === 1) return row;
  const all = (
    row instanceof Int32Array ? new Int32Array(times * row.length) : new Float32Array(times * row.length)
  ) as T;
  for (let i = 0; i < times; i++) all.set(row, i * row.length);
  return all;
}
