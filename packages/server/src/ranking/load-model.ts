import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import {
  type Bundle,
  BundleError,
  compareScores,
  type DatasetSchema,
  openBundle,
  type ParityTolerance,
  parseSchema,
  readSafetensors,
  SceneTexts,
  type SceneTextTensors,
  someColumns,
  type TensorPlace,
  tensorPlaces,
  viewOf,
} from '@larr/core';
import { KernelError, mapFile, rankerInputSizes } from '@larr/native-cuda';
import type { z } from 'zod';
import { BundleFeatures, RankerInputs, RankerProgram, SceneEntries } from '../bundle/contents.js';
import { HeldFiles } from '../bundle/held-files.js';
import { ScoreDrift } from '../observability/drift.js';
import { Recall } from '../recall/recall.js';
import { SceneVectors } from '../scene/scene-vectors.js';
import { FeatureStore, StoreAway } from '../store/feature-store.js';
import { parquetRows } from '../store/parquet-rows.js';
import type { Store } from '../store/store.js';
import { BehaviourVectors } from './behaviour.js';
import { BundleModel, type Drifts } from './bundle-model.js';
import { Histories } from './history.js';
import { nativeLanes } from './native-lane.js';
import { onnxLanes } from './onnx-lane.js';
import { PoiTable } from './poi-table.js';
import { type QueueLimits, Ranker } from './ranker.js';
import { DEFAULT_RANKER_MEMORY_MIB, type RankerKind, type RankerLanes } from './ranker-lane.js';
import type { MappedTable } from './ranker-messages.js';
import type { RankingModel } from './ranking-model.js';
import { RowAssembly } from './row-assembly.js';

export interface LoadOptions {
  /** where users' records are read from, and loaded into where they are not there yet */
  store: Store;
  threads?: number | undefined;
  /** by default the native ranker for a bundle that has a program for it, and onnxruntime for the others */
  ranker?: RankerKind | undefined;
  /** most bytes that the native ranker keeps of what follows from POIs alone */
  rankerMemory?: number | undefined;
  queue: QueueLimits;
  onBatch: (rows: number) => void;
  /** told when the store could not be asked while the bundle was loaded, so that its users are unknown for now */
  onStoreAway?: () => void;
}

/**
 * Loads a bundle: checks every file against the manifest, folds the scene table, computes the POIs' features, starts the ranker, loads users into
 * the online store where they are not there yet, and compares scores with those the trainer left in the bundle.
 * @throws BundleError those of openBundle (BUNDLE_FILE_CHANGED …), BUNDLE_INVALID, NO_NATIVE_RANKER, SCENE_INVALID, STORE_UNREADABLE,
 * SELF_TEST_FAILED
 */
export async function loadRankingModel(directory: string, options: LoadOptions): Promise<RankingModel> {
  // A thread checks the files while they are loaded, and nothing is ranked before it has. What users have goes into a store that outlives this
  // process, so that comes first.
  const bundle = await openBundle(directory, (path) => !path.startsWith('store/'));
  const held = new HeldFiles();
  let model: BundleModel | null = null;
  try {
    model = await loadParts(bundle, held, options);
    await bundle.whole;
    return model;
  } catch (error) {
    await model?.close();
    await held.close();
    // a damaged file is the reason of whatever came of it
    await bundle.whole;
    throw error;
  }
}

async function loadParts(bundle: Bundle, held: HeldFiles, options: LoadOptions): Promise<BundleModel> {
  const schema = parseSchema(await bundle.json('schema.json'), 'schema.json of the bundle');
  const features = checked('features.json', BundleFeatures, await bundle.json('features.json'));
  const inputs = checked('manifest.json: inputs', RankerInputs, bundle.manifest.inputs);
  const store = await featureStore(bundle, held, options.store, schema);
  const assembly = new RowAssembly(schema, features, inputs, store.pairColumns);
  const pois = new PoiTable(assembly.poiEncoder);
  const [scene, , parity] = await Promise.all([
    inputs.sceneEncoder === null ? null : sceneVectors(bundle, features, inputs),
    fillPois(pois, bundle.path('store/pois.parquet')),
    readSafetensors(bundle.path('parity.safetensors')),
    loadUsers(store, options),
  ]);
  const behaviour =
    inputs.behaviour === null
      ? null
      : await behaviourVectors(bundle.path('behaviour.safetensors'), inputs.behaviour, features.sequences);
  const histories = inputs.history === null ? null : new Histories(features.sequences, store.pois);
  if (histories !== null && histories.width !== inputs.history) {
    throw new BundleError(
      'BUNDLE_INVALID',
      `manifest.json: inputs.history is ${inputs.history}, and the sequences of features.json hold ${histories.width} POIs. Export the bundle again`,
    );
  }
  const threads = options.threads ?? Math.min(8, availableParallelism());
  const tables = await mappedTables(bundle.path('embeddings.safetensors'), inputs);
  const lanes =
    rankerKind(bundle, options.ranker) === 'native'
      ? await nativeRanker(
          bundle,
          inputs,
          assembly,
          tables,
          options.rankerMemory ?? DEFAULT_RANKER_MEMORY_MIB * 2 ** 20,
          threads,
        )
      : await onnxLanes({ onnxFile: bundle.path('ranker.onnx'), tables }, threads);
  const ranker = new Ranker(lanes, options.queue, options.onBatch);
  const model = new BundleModel({
    identity: { name: bundle.manifest.model.name, bundle: await manifestDigest(bundle.directory) },
    directory: bundle.directory,
    tasks: bundle.manifest.model.tasks,
    schema,
    features,
    assembly,
    pois,
    store,
    scene,
    behaviour,
    histories,
    takesPoi: inputs.poi,
    ranker,
    held,
    recall: await Recall.open(bundle, held, mapFile, threads, (since) => store.patchedPois(since)),
    drifts: driftsFrom(parity),
  });
  try {
    await selfTest(parity, bundle.manifest.parity.tolerance, inputs, scene, ranker, options.queue.batchRows);
    await model.followStore();
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** @throws BundleError NO_NATIVE_RANKER */
function rankerKind({ manifest }: Bundle, wanted: RankerKind | undefined): RankerKind {
  const native = manifest.files['ranker.json'] !== undefined;
  if (wanted !== 'native' || native) return wanted ?? (native ? 'native' : 'onnx');
  throw new BundleError(
    'NO_NATIVE_RANKER',
    `the bundle has no program for the native ranker: ${manifest.model.name} is of a network that it does not run, or the bundle is of an earlier version. Serve it with the ranker "onnx", or export it again`,
  );
}

/** @throws BundleError BUNDLE_INVALID */
async function nativeRanker(
  bundle: Bundle,
  inputs: RankerInputs,
  assembly: RowAssembly,
  tables: MappedTable[],
  memory: number,
  threads: number,
): Promise<RankerLanes> {
  const program = checked('ranker.json', RankerProgram, await bundle.json('ranker.json'));
  const { tensors } = await readSafetensors(bundle.path('ranker.safetensors'));
  const table = (input: string): Float32Array | null => {
    const found = tables.find((one) => one.input === input);
    return found === undefined ? null : new Float32Array(mapFile(found.file), found.byteOffset, found.rows * found.dim);
  };
  const terms = program.terms === null ? null : table(program.terms);
  if (program.terms !== null && terms === null) {
    throw new BundleError(
      'BUNDLE_INVALID',
      `ranker.json: terms: the manifest has no table "${program.terms}" among its inputs. Export the bundle again`,
    );
  }
  try {
    return nativeLanes(
      {
        ...program,
        inputs: rankerInputSizes(inputs, assembly.followFromPoi),
        weights: Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data as Float32Array])),
        embedding: table('table') ?? new Float32Array(0),
        pois: inputs.poi ? table('poi_vectors') : null,
        terms,
        memory,
      },
      threads,
    );
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    throw new BundleError('BUNDLE_INVALID', `ranker.json: ${error.message}. Export the bundle again`);
  }
}

/** The store's part for this bundle's data: bundles with the same users, POIs and pairs share it. */
async function featureStore(
  bundle: Bundle,
  held: HeldFiles,
  store: Store,
  schema: DatasetSchema,
): Promise<FeatureStore> {
  const table = (name: string): Promise<string> => held.hold(bundle.path(`store/${name}.parquet`));
  const pairs = bundle.manifest.files['store/pairs.parquet'] !== undefined;
  const files = { users: await table('users'), pois: await table('pois'), pairs: pairs ? await table('pairs') : null };
  return FeatureStore.open(store, dataName(bundle), files, schema);
}

/** First 12 hex digits of a digest of the bundle's users, POIs and pairs: names them in the store. */
export function dataName({ manifest }: Pick<Bundle, 'manifest'>): string {
  const digests = ['users', 'pois', 'pairs'].map((name) => manifest.files[`store/${name}.parquet`]?.sha256 ?? '');
  return createHash('sha256').update(digests.join(' ')).digest('hex').slice(0, 12);
}

async function loadUsers(store: FeatureStore, { onStoreAway }: LoadOptions): Promise<void> {
  try {
    await store.load();
  } catch (error) {
    if (!(error instanceof StoreAway)) throw error;
    onStoreAway?.();
  }
}

async function fillPois(table: PoiTable, file: string): Promise<void> {
  for await (const rows of parquetRows(file)) {
    if (!('poi' in rows[0]!))
      throw new BundleError('STORE_UNREADABLE', 'the bundle\'s store has no column "poi": export it again');
    table.put(rows);
  }
  table.trim();
}

async function sceneVectors(bundle: Bundle, features: BundleFeatures, inputs: RankerInputs): Promise<SceneVectors> {
  const fields = features.scene.map(({ field }) => field);
  const file = bundle.path('scene.safetensors');
  const mapped = mapFile(file);
  const tensors = Object.fromEntries(
    Object.entries(await tensorPlaces(file)).map(([name, place]) => [name, floatsOf(mapped, file, name, place)]),
  );
  return new SceneVectors(fields, inputs, await sceneTexts(bundle, fields, tensors.table?.shape[0] ?? 0), tensors);
}

/** Looked up in the file's pages; a bundle of before has the texts alone. */
async function sceneTexts(bundle: Bundle, fields: readonly string[], rows: number): Promise<SceneTexts> {
  if (bundle.manifest.files['scene-texts.safetensors'] === undefined)
    return SceneTexts.of(fields, checked('scene.json', SceneEntries, await bundle.json('scene.json')), rows);
  const file = bundle.path('scene-texts.safetensors');
  const mapped = mapFile(file);
  const places = await tensorPlaces(file);
  const tensors = Object.fromEntries(
    Object.entries(places).map(([name, place]) => [name, viewOf(mapped, place)]),
  ) as SceneTextTensors;
  return SceneTexts.from(fields, tensors, rows);
}

function driftsFrom({ tensors }: Awaited<ReturnType<typeof readSafetensors>>): Drifts {
  const ctcvr = tensors.p_ctcvr;
  return {
    ctr: new ScoreDrift(tensors.p_ctr!.data as Float32Array),
    ctcvr: ctcvr === undefined ? null : new ScoreDrift(ctcvr.data as Float32Array),
  };
}

/** A tensor of a mapped file. @throws BundleError TENSORS_UNREADABLE where it is not fp32 */
function floatsOf(
  mapped: ArrayBuffer,
  file: string,
  name: string,
  { dtype, shape, byteOffset }: TensorPlace,
): { data: Float32Array; shape: readonly number[] } {
  const count = shape.reduce((product, size) => product * size, 1);
  if (dtype !== 'F32')
    throw new BundleError('TENSORS_UNREADABLE', `"${name}" of ${file} is not fp32: export the bundle again`);
  return { data: new Float32Array(mapped, byteOffset, count), shape };
}

/** Tables that the graph takes as inputs, mapped. @throws BundleError TENSORS_UNREADABLE */
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
  return new BehaviourVectors(floatsOf(mapFile(file), file, 'table', place).data, width, sequences);
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
  { ids, dense }: RankerInputs,
  scene: SceneVectors | null,
  ranker: Ranker,
  batch: number,
): Promise<void> {
  const ctr = tensors.p_ctr!.data as Float32Array;
  const ctcvr = (tensors.p_ctcvr?.data as Float32Array | undefined) ?? null;
  const rows = ctr.length;
  for (let from = 0; from < rows; from += batch) {
    const to = Math.min(rows, from + batch);
    const all = <T extends Int32Array | Float32Array>(name: string): T | null => {
      const tensor = tensors[name];
      if (tensor === undefined) return null;
      const width = tensor.shape[1]!;
      return (tensor.data as T).slice(from * width, to * width) as T;
    };
    const some = <T extends Int32Array | Float32Array>(name: string, columns: readonly number[]): T | null =>
      columns.length === 0 ? null : someColumns(all<T>(name)!, to - from, columns);
    const { scores } = await ranker.score({
      rows: to - from,
      // every row alone in a context of its own
      contexts: to - from,
      context: Int32Array.from({ length: to - from }, (_, i) => i),
      contextIds: some<Int32Array>('ids', ids.context),
      ids: some<Int32Array>('ids', ids.row),
      contextDense: some<Float32Array>('dense', dense.context),
      dense: some<Float32Array>('dense', dense.row),
      z: scene === null ? null : await scene.encode(all<Int32Array>('scene')!),
      behaviour: all<Float32Array>('behaviour'),
      history: all<Int32Array>('history'),
      poi: all<Int32Array>('poi'),
      kept: null,
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
