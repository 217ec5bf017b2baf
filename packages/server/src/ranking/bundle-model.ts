import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  BundleError,
  compareScores,
  type DatasetSchema,
  openBundle,
  type ParityTolerance,
  parseSchema,
  type Row,
  readSafetensors,
  tensorPlaces,
  type ValueSpec,
} from '@larr/core';
import { mapFile } from '@larr/native-cuda';
import type { z } from 'zod';
import type { Fallbacks, ModelIdentity, RankedPoi, RankRequest } from '../api/contracts/index.js';
import { ApiError } from '../api/errors.js';
import { BundleFeatures, RankerInputs, SceneEntries } from '../bundle/contents.js';
import { ScoreDrift } from '../observability/drift.js';
import type { RankStage } from '../observability/metrics.js';
import { type Attention, SceneVectors } from '../scene/scene-vectors.js';
import { EntityStore, PairStore } from '../store/entity-store.js';
import { BehaviourVectors } from './behaviour.js';
import { Histories } from './history.js';
import { bestFirst } from './order.js';
import { type QueueLimits, Ranker } from './ranker.js';
import type { MappedTable, RankerJob } from './ranker-messages.js';
import type { RankingModel } from './ranking-model.js';
import { type PoiColumns, RowAssembly } from './row-assembly.js';
import { SceneInput } from './scene-input.js';

export interface LoadOptions {
  threads?: number | undefined;
  queue: QueueLimits;
  onBatch: (rows: number) => void;
}

/**
 * Loads a bundle: checks every file against the manifest, folds the scene table, starts the ranker, and compares its scores with those
 * the trainer left in the bundle.
 * @throws BundleError those of openBundle (BUNDLE_FILE_CHANGED …), BUNDLE_INVALID, SCENE_INVALID, STORE_UNREADABLE, SELF_TEST_FAILED
 */
export async function loadRankingModel(directory: string, options: LoadOptions): Promise<RankingModel> {
  const bundle = await openBundle(directory);
  const schema = parseSchema(await bundle.json('schema.json'), 'schema.json of the bundle');
  const features = checked('features.json', BundleFeatures, await bundle.json('features.json'));
  const inputs = checked('manifest.json: inputs', RankerInputs, bundle.manifest.inputs);
  const has = (file: string): boolean => bundle.manifest.files[file] !== undefined;
  const [users, pois, pairs] = await Promise.all([
    EntityStore.read(bundle.path('store/users.parquet'), 'user'),
    EntityStore.read(bundle.path('store/pois.parquet'), 'poi'),
    PairStore.read(has('store/pairs.parquet') ? bundle.path('store/pairs.parquet') : null),
  ]);
  const scene =
    inputs.sceneEncoder === null
      ? null
      : new SceneVectors(
          features.scene,
          inputs,
          checked('scene.json', SceneEntries, await bundle.json('scene.json')),
          await matrices(bundle.path('scene.safetensors')),
        );
  const behaviour =
    inputs.behaviour === null
      ? null
      : await behaviourVectors(bundle.path('behaviour.safetensors'), inputs.behaviour, features.sequences);
  const histories = inputs.history === null ? null : new Histories(features.sequences);
  if (histories !== null && histories.width !== inputs.history) {
    throw new BundleError(
      'BUNDLE_INVALID',
      `manifest.json: inputs.history is ${inputs.history}, and the sequences of features.json hold ${histories.width} POIs. Export the bundle again`,
    );
  }
  const parity = await readSafetensors(bundle.path('parity.safetensors'));
  const ranker = await Ranker.start(
    {
      onnxFile: bundle.path('ranker.onnx'),
      tables: await mappedTables(bundle.path('embeddings.safetensors'), inputs),
      threads: options.threads ?? Math.min(8, availableParallelism()),
    },
    options.queue,
    options.onBatch,
  );
  const identity = { name: bundle.manifest.model.name, bundle: await manifestDigest(bundle.directory) };
  const model = new BundleModel(
    identity,
    bundle.directory,
    bundle.manifest.model.tasks,
    schema,
    features,
    { users, pois, pairs },
    scene,
    behaviour,
    histories,
    ranker,
    driftsFrom(parity),
  );
  try {
    await selfTest(parity, bundle.manifest.parity.tolerance, scene, ranker, options.queue.batchRows);
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}

interface Stores {
  users: EntityStore;
  pois: EntityStore;
  pairs: PairStore;
}

/** Of each probability, how far what is served is from what the bundle's test rows had. */
interface Drifts {
  ctr: ScoreDrift;
  ctcvr: ScoreDrift | null;
}

function driftsFrom({ tensors }: Awaited<ReturnType<typeof readSafetensors>>): Drifts {
  const ctcvr = tensors.p_ctcvr;
  return {
    ctr: new ScoreDrift(tensors.p_ctr!.data as Float32Array),
    ctcvr: ctcvr === undefined ? null : new ScoreDrift(ctcvr.data as Float32Array),
  };
}

class BundleModel implements RankingModel {
  readonly examples: readonly RankRequest[];
  readonly #rows: RowAssembly;
  readonly #poiColumns: PoiColumns;
  readonly #input: SceneInput;

  constructor(
    readonly identity: ModelIdentity,
    readonly directory: string,
    private readonly tasks: readonly string[],
    private readonly schema: DatasetSchema,
    features: BundleFeatures,
    private readonly stores: Stores,
    private readonly scene: SceneVectors | null,
    private readonly behaviour: BehaviourVectors | null,
    private readonly histories: Histories | null,
    private readonly ranker: Ranker,
    private readonly drifts: Drifts,
  ) {
    this.#rows = new RowAssembly(schema, features);
    this.#poiColumns = this.#rows.poiColumns(stores.pois.rows);
    this.#input = new SceneInput(schema);
    this.examples = [this.#example(features)];
  }

  get broken(): boolean {
    return this.ranker.broken;
  }

  get explainable(): boolean {
    return this.scene?.explainable ?? false;
  }

  get queuedRows(): number {
    return this.ranker.queuedRows;
  }

  async rank(
    request: RankRequest,
    timing: (stage: RankStage, seconds: number) => void,
  ): Promise<{ ranked: RankedPoi[]; fallbacks: Fallbacks }> {
    const orders = this.tasks.includes('order');
    const by = request.by ?? (orders ? 'pCtcvr' : 'pCtr');
    if (by === 'pCtcvr' && !orders) {
      throw new ApiError(400, 'TASK_UNKNOWN', 'by: this model learnt no orders, so it has no pCtcvr', 'by');
    }
    if (request.explain === true && !this.explainable) {
      throw new ApiError(400, 'NOT_EXPLAINABLE', 'explain: this model has no attention over scene keywords', 'explain');
    }
    let clock = performance.now();
    const lap = (stage: RankStage): void => {
      const now = performance.now();
      timing(stage, (now - clock) / 1000);
      clock = now;
    };

    const { event, texts } = this.#input.read(request.scene);
    const user = this.stores.users.get(request.user);
    event[this.schema.keys.user] = request.user;
    const candidates = request.candidates.map((id) => {
      const index = this.stores.pois.indexOf(id);
      const poi = this.stores.pois.rows[index];
      return { index, poi, pair: this.stores.pairs.get(user, poi) };
    });
    const { ids, dense, unseen } = this.#rows.rows(event, user, candidates, this.#poiColumns);
    lap('features');

    const unknownTexts = new Map<string, { field: string; text: string }>();
    const scenes = this.scene === null ? null : this.#scenes(event, user, candidates, texts, unknownTexts);
    const encoded = scenes === null ? null : await this.#encode(scenes.rows, request.explain === true);
    lap('scene');

    const job: RankerJob = {
      rows: candidates.length,
      ids,
      dense,
      // `of` is read again below, for the attention, so the ranker gets its own
      scene: scenes === null ? null : { data: encoded!.z, width: this.scene!.width, of: scenes.of.slice() },
      behaviour:
        this.behaviour === null
          ? null
          : { data: this.behaviour.of(user), width: this.behaviour.width, of: new Int32Array(candidates.length) },
      history:
        this.histories === null
          ? null
          : { data: this.histories.of(user), width: this.histories.width, of: new Int32Array(candidates.length) },
    };
    const { scores, waited } = await this.ranker.score(job);
    this.drifts.ctr.observe(scores.pCtr);
    if (scores.pCtcvr !== null) this.drifts.ctcvr?.observe(scores.pCtcvr);
    timing('queue', waited);
    timing('ranker', (performance.now() - clock) / 1000 - waited);
    clock = performance.now();

    const score = by === 'pCtr' ? scores.pCtr : scores.pCtcvr!;
    const ranked = bestFirst(score, request.k ?? candidates.length).map((row, i): RankedPoi => {
      const attention = encoded?.attention?.[scenes!.of[row]!];
      return {
        poi: request.candidates[row]!,
        rank: i + 1,
        score: score[row]!,
        pCtr: scores.pCtr[row]!,
        pCtcvr: scores.pCtcvr === null ? null : scores.pCtcvr[row]!,
        ...(attention === undefined ? {} : { attention: this.#byField(attention) }),
      };
    });
    lap('sort');
    return {
      ranked,
      fallbacks: {
        user: user === undefined,
        pois: request.candidates.filter((_, row) => candidates[row]!.index < 0),
        scene: [...unknownTexts.values()],
        features: unseen,
      },
    };
  }

  drift(): ReturnType<RankingModel['drift']> {
    const { ctr, ctcvr } = this.drifts;
    return [{ task: 'ctr', ...ctr.now() }, ...(ctcvr === null ? [] : [{ task: 'ctcvr' as const, ...ctcvr.now() }])];
  }

  async close(): Promise<void> {
    await this.ranker.close();
    this.scene?.dispose();
  }

  /** The distinct scenes of a request as rows of entries, and which of them each candidate has. */
  #scenes(
    event: Row,
    user: Row | undefined,
    candidates: readonly { poi: Row | undefined }[],
    given: ReadonlyMap<string, string | null>,
    unknown: Map<string, { field: string; text: string }>,
  ): { rows: Int32Array; of: Int32Array } {
    const scene = this.scene!;
    const entry = (field: number, text: string | null): number => {
      if (text === null) return -1;
      const found = scene.entry(field, text);
      if (found === null) unknown.set(`${field} ${text}`, { field: scene.fields[field]!, text });
      return found ?? -1;
    };
    const shared = this.#rows.sharedScene(event, user);
    const base = Int32Array.from(shared, (text, field) => {
      const name = scene.fields[field]!;
      return entry(field, given.has(name) ? given.get(name)! : text);
    });
    const of = new Int32Array(candidates.length);
    if (!this.#rows.sceneVariesByPoi) return { rows: base, of };
    const distinct = new Map<string, { index: number; row: Int32Array }>();
    candidates.forEach(({ poi }, i) => {
      const row = base.slice();
      for (const { field, text } of this.#rows.sceneOf(event, user, poi)) {
        const name = scene.fields[field]!;
        row[field] = entry(field, given.has(name) ? given.get(name)! : text);
      }
      const key = row.join();
      let found = distinct.get(key);
      if (found === undefined) {
        found = { index: distinct.size, row };
        distinct.set(key, found);
      }
      of[i] = found.index;
    });
    const rows = new Int32Array(distinct.size * base.length);
    for (const { index, row } of distinct.values()) rows.set(row, index * base.length);
    return { rows, of };
  }

  async #encode(rows: Int32Array, explain: boolean): Promise<{ z: Float32Array; attention: Attention[] | null }> {
    if (explain) return this.scene!.encodeWithAttention(rows);
    return { z: await this.scene!.encode(rows), attention: null };
  }

  #byField(attention: Attention): Record<string, number> {
    const present = this.scene!.fields.map((field, i) => [field, attention[i]!] as const).filter(
      ([, share]) => share > 0,
    );
    return Object.fromEntries(present);
  }

  /**
   * A request with known POIs and a known scene: the time, the columns whose values the features tell, and the first text of each keyword
   * that does not follow from those. The document is open to whoever reaches the server, so the user is nobody's.
   */
  #example(features: BundleFeatures): RankRequest {
    const event: Record<string, string | number> = {};
    for (const { name, value } of this.schema.features.categorical) {
      const column = eventColumn(value);
      const known = features.categorical.find((f) => f.name === name)?.vocabulary[1];
      if (
        column !== null &&
        this.#input.isColumn(column) &&
        this.#input.kindOf(column) === 'text' &&
        known !== undefined
      )
        event[column] = known;
    }
    for (const { name, value, transform } of this.schema.features.dense) {
      const column = eventColumn(value);
      const mean = features.dense.find((f) => f.name === name)?.mean;
      if (column !== null && this.#input.kindOf(column) === 'number' && mean !== undefined)
        event[column] = Math.round(transform === 'log1p' ? Math.expm1(mean) : mean);
    }
    const given: Record<string, string> = {};
    const { scene } = this;
    if (scene !== null) {
      for (const { name, value } of this.schema.keywords.scene) {
        const column = eventColumn(value);
        const [text] = scene.texts(scene.fields.indexOf(name));
        if (text === undefined) continue;
        if (column !== null && this.#input.isColumn(column) && this.#input.kindOf(column) === 'text')
          event[column] ??= text;
      }
      // Texts that no one has an embedding for are left out, one column at a time.
      for (const column of Object.keys(event)) if (!this.#known({ [column]: event[column]! })) delete event[column];
    }
    const time = typeof this.schema.time === 'object' ? this.schema.time.column : this.schema.time;
    const unit = typeof this.schema.time === 'object' ? this.schema.time.unit : undefined;
    if (time !== undefined && (unit === undefined || unit === 'timestamp')) {
      const known = exampleTimes().find((moment) => this.#known({ ...event, [time]: moment }));
      if (known !== undefined) event[time] = known;
    }
    if (scene !== null) {
      const follows = this.#rows.sharedScene(event, undefined);
      scene.fields.forEach((field, i) => {
        const [text] = scene.texts(i);
        if (follows[i] === null && text !== undefined && !this.#input.isColumn(field)) given[field] = text;
      });
    }
    return {
      user: 'new user',
      scene: { ...event, ...given },
      candidates: this.stores.pois.rows.slice(0, 5).map(({ poi }) => String(poi)),
    };
  }

  /** Whether every scene text that follows from these columns has an embedding. */
  #known(event: Row): boolean {
    const { scene } = this;
    if (scene === null) return true;
    return this.#rows.sharedScene(event, undefined).every((text, i) => text === null || scene.entry(i, text) !== null);
  }
}

/** The event column that a value is, as it stands. */
function eventColumn(value: ValueSpec): string | null {
  return typeof value === 'string' && value.startsWith('events.') ? value.slice('events.'.length) : null;
}

/** Times of every season, day of the week and part of the day. */
function exampleTimes(): string[] {
  const two = (x: number): string => String(x).padStart(2, '0');
  return Array.from({ length: 12 * 7 }, (_, i) => `2026-${two(1 + Math.floor(i / 7))}-${two(1 + (i % 7))}`).flatMap(
    (day) => [12, 18, 9, 15, 21, 6, 0, 3].map((hour) => `${day}T${two(hour)}:30:00`),
  );
}

async function matrices(file: string): Promise<Record<string, { data: Float32Array; shape: number[] }>> {
  const { tensors } = await readSafetensors(file);
  return tensors as Record<string, { data: Float32Array; shape: number[] }>;
}

async function mappedTables(file: string, inputs: RankerInputs): Promise<MappedTable[]> {
  const places = await tensorPlaces(file);
  return Object.entries(inputs.tables).map(([input, { dim }]) => {
    const place = places[input];
    if (place === undefined || place.dtype !== 'F32' || place.shape.length !== 2 || place.shape[1] !== dim) {
      throw new BundleError(
        'TENSORS_UNREADABLE',
        `embeddings.safetensors has no fp32 table "${input}" [·, ${dim}]: export the bundle again`,
      );
    }
    return { input, file, byteOffset: place.byteOffset, rows: place.shape[0]!, dim };
  });
}

async function behaviourVectors(
  file: string,
  width: number,
  sequences: BundleFeatures['sequences'],
): Promise<BehaviourVectors> {
  const place = (await tensorPlaces(file)).table;
  if (place === undefined || place.dtype !== 'F32' || place.shape.length !== 2 || place.shape[1] !== width) {
    throw new BundleError(
      'TENSORS_UNREADABLE',
      `behaviour.safetensors has no table [POIs, ${width}]: export the bundle again`,
    );
  }
  const table = new Float32Array(mapFile(file), place.byteOffset, place.shape[0]! * width);
  return new BehaviourVectors(table, width, sequences);
}

/** First 12 hex digits of the manifest's SHA-256: names the bundle, as the manifest has every file's digest. */
async function manifestDigest(directory: string): Promise<string> {
  const manifest = await readFile(join(directory, 'manifest.json'));
  return createHash('sha256').update(manifest).digest('hex').slice(0, 12);
}

/** @throws BundleError BUNDLE_INVALID naming file and field */
function checked<T extends z.ZodType>(where: string, schema: T, value: unknown): z.infer<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new BundleError(
    'BUNDLE_INVALID',
    `${where}: ${issue.path.join('.')}: ${issue.message}. Export the bundle again`,
  );
}

/** Scores the bundle's parity rows and compares. @throws BundleError SELF_TEST_FAILED */
async function selfTest(
  { tensors }: Awaited<ReturnType<typeof readSafetensors>>,
  tolerance: ParityTolerance,
  scene: SceneVectors | null,
  ranker: Ranker,
  batch: number,
): Promise<void> {
  const ctr = tensors.p_ctr!.data as Float32Array;
  const ctcvr = (tensors.p_ctcvr?.data as Float32Array | undefined) ?? null;
  const rows = ctr.length;
  const part = <T extends Int32Array | Float32Array>(name: string, from: number, to: number): T | null => {
    const tensor = tensors[name];
    if (tensor === undefined) return null;
    const width = tensor.shape[1]!;
    return (tensor.data as T).slice(from * width, to * width) as T;
  };
  for (let from = 0; from < rows; from += batch) {
    const to = Math.min(rows, from + batch);
    const each = <T extends Int32Array | Float32Array>(data: T | null) =>
      data === null
        ? null
        : { data, width: data.length / (to - from), of: Int32Array.from({ length: to - from }, (_, i) => i) };
    const { scores } = await ranker.score({
      rows: to - from,
      ids: part<Int32Array>('ids', from, to)!,
      dense: part<Float32Array>('dense', from, to),
      scene: each(scene === null ? null : await scene.encode(part<Int32Array>('scene', from, to)!)),
      behaviour: each(part<Float32Array>('behaviour', from, to)),
      history: each(part<Int32Array>('history', from, to)),
    });
    check('p_ctr', ctr.subarray(from, to), scores.pCtr, tolerance, from);
    if (ctcvr !== null) check('p_ctcvr', ctcvr.subarray(from, to), scores.pCtcvr!, tolerance, from);
  }
}

function check(
  name: string,
  expected: Float32Array,
  actual: Float32Array,
  tolerance: ParityTolerance,
  from: number,
): void {
  const { outside } = compareScores(expected, actual, tolerance);
  if (outside === null) return;
  throw new BundleError(
    'SELF_TEST_FAILED',
    `${name} of parity row ${from + outside} is ${actual[outside]} here and was ${expected[outside]} in the trainer. ` +
      'The bundle was made by another version: export it again with this one',
  );
}
