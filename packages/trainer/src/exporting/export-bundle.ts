import { access } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import {
  type Bundle,
  type BundleFeatures,
  type BundleFile,
  buildDirectoryAtomic,
  DataError,
  type Dataset,
  type DatasetSchema,
  encodeSafetensors,
  type FeatureScope,
  featureScopes,
  mustBeReplaceable,
  mustNotHold,
  openBundle,
  openDataset,
  PARITY_TOLERANCE,
  readSafetensors,
  type Samples,
  SceneTexts,
  writeBundle,
} from '@larr/core';
import type { ModelInputs } from '../models/inputs.js';
import { type Predictions, predict } from '../training/evaluate.js';
import { ResidentPart } from '../training/resident-part.js';
import { exportModelState, loadTrainedModel } from '../training/trained-model.js';
import { type LaterText, laterScene } from './later-scene.js';
import { type ModelState, weightOf } from './onnx/layers.js';
import {
  contextRows,
  graphScores,
  type ParityRows,
  parityRows,
  programScores,
  requireEqualScores,
  type SceneWeights,
  sceneWeights,
} from './parity.js';
import { type ContextFeatures, type RankerGraph, rankerGraph, withFoldedTables } from './ranker-graph.js';
import { type RankerProgram, rankerProgram } from './ranker-program.js';
import { type RecallFiles, recallFiles } from './recall-files.js';
import { trainedVectors } from './trained-vectors.js';

/** Test rows whose scores are compared and left in the bundle for the server's self-test. */
const PARITY_ROWS = 10_000;

export interface ExportOptions {
  /** Run directory of one trained model: model.json, model.safetensors, result.json. */
  run: string;
  /** Dataset directory it was trained on. */
  data: string;
  /**
   * What `larr embed` wrote for the dataset: recall searches with these. By default those that the model was trained with,
   * where they are as they were then; else the bundle has no recall.
   */
  vectors?: string | undefined;
  /** Bundle directory to write; an existing one is replaced when all is well, and left alone otherwise. */
  out: string;
  /** Told why the bundle has no recall, where it could be thought to have it. */
  onNotice?: ((message: string) => void) | undefined;
}

export interface ExportResult {
  bundle: string;
  model: string;
  parameters: number;
  /** test rows compared, and the largest difference between the trainer's scores and the bundle's */
  parity: { rows: number; largestDifference: number };
  /** POIs that recall finds, and terms that it knows; null where the bundle has no recall */
  recall: { pois: number; terms: number } | null;
}

/**
 * Writes a trained model as a bundle that a server can load without LibTorch: the ranker as ONNX, the ID tables and scene table as
 * safetensors, schema, vocabularies, stores, metrics, and test rows with the trainer's scores. Then opens what was written and compares.
 *
 * @throws UsageError OUT_NOT_OURS where `out` holds something else than a bundle, before any work;
 * DataError DATASET_MISMATCH, STORE_MISSING; ConfigError MODEL_NOT_EXPORTABLE; TrainingError NOT_TRAINED, EXPORT_NOT_EQUAL where a score
 * differs by more than PARITY_TOLERANCE. Nothing is left behind then.
 */
export async function exportBundle(options: ExportOptions): Promise<ExportResult> {
  await mustBeReplaceable(options.out, 'larr-bundle');
  await mustNotHold(options.out, [options.run, options.data]);
  const { description, result, tensors } = await exportModelState(options.run);
  const { model, config, inputs } = description;
  const dataset = await openDataset(options.data, description.dataset.split);
  if (dataset.manifest.contentDigest !== description.dataset.contentDigest) {
    throw new DataError(
      'DATASET_MISMATCH',
      `${options.run} was trained on a dataset "${description.dataset.name}" of other content than ${options.data}: ` +
        'give the data it was trained on',
    );
  }
  const state = withFoldedTables(new Map(Object.entries(tensors)));
  const graph = rankerGraph(model, inputs, config, state, contextFeatures(dataset.schema));
  const vectors = options.vectors ?? (await trainedVectors(options.run, options.onNotice));
  const later = graph.inputs.z_s === null ? [] : await laterScene(vectors, dataset, inputs, state);
  const scene = graph.inputs.z_s === null ? null : sceneWeights(state, inputs, config, later);
  const samples = await dataset.loadPart('test', { limit: PARITY_ROWS });
  const scores = await trainerScores(options.run, samples);
  const parity = parityRows(
    samples,
    inputs,
    graph.inputs.behaviour === null ? null : weightOf(state, 'pois.table'),
    graph.inputs.history !== null,
    graph.inputs.poi,
  );

  const program = rankerProgram(model, inputs, config, state, graph);
  const recall = await recallOf(vectors, options, dataset);
  const files: Record<string, BundleFile> = {
    'ranker.onnx': graph.onnx,
    ...program,
    'embeddings.safetensors': tables(graph, state),
    'features.json': json(await featuresOf(dataset, inputs)),
    'schema.json': { from: join(options.data, 'schema.json') },
    'parity.safetensors': parityTensors(parity, scores),
    ...(await storesOf(options.data)),
    ...recall?.files,
    ...(scene === null ? {} : sceneFiles(scene, dataset, inputs, later)),
    ...(graph.inputs.behaviour === null
      ? {}
      : { 'behaviour.safetensors': encodeSafetensors({ table: weightOf(state, 'pois.table') }) }),
  };
  const manifest = {
    name: `${description.dataset.name}-${model}`,
    model: { name: model, tasks: inputs.tasks.length === 2 ? BOTH_TASKS : CLICK_ONLY },
    dataset: description.dataset,
    metrics: { ...result.metrics },
    versions: exporterVersions(),
    parity: { rows: parity.rows, tolerance: PARITY_TOLERANCE },
    inputs: {
      ...graph.inputs,
      tables: graph.tables,
      sceneEncoder:
        scene === null ? null : scene.encoder === null ? { kind: 'concat' } : { kind: 'encoder', ...scene.encoder },
    },
  };
  // Written beside its place, opened and compared there, and only then put in place.
  const largestDifference = await buildDirectoryAtomic(options.out, async (building) => {
    await writeBundle(building, files, manifest);
    return compareWithBundle(await openBundle(building), graph, program !== null, scene, parity, scores);
  });
  return {
    bundle: options.out,
    model,
    parameters: result.parameters,
    parity: { rows: parity.rows, largestDifference },
    recall: recall === null ? null : { pois: recall.pois, terms: recall.terms },
  };
}

/** Recall's part of the bundle. Vectors that were asked for must do; those that the model happens to name are left out where they do not. */
async function recallOf(vectors: string | null, options: ExportOptions, dataset: Dataset): Promise<RecallFiles | null> {
  if (vectors === null) return null;
  if (options.vectors !== undefined) return recallFiles(dataset, vectors);
  try {
    return await recallFiles(dataset, vectors);
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    options.onNotice?.(`the bundle has no recall: ${error.message}`);
    return null;
  }
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

/** Features of the user and the moment are the same for all POIs of a request. */
function contextFeatures(schema: DatasetSchema): ContextFeatures {
  const { categorical, dense } = featureScopes(schema);
  const ofRequest = (scope: FeatureScope): boolean => scope === 'request';
  return { ids: categorical.map(ofRequest), dense: dense.map(ofRequest) };
}

const CLICK_ONLY: ['click'] = ['click'];
const BOTH_TASKS: ['click', 'order'] = ['click', 'order'];

/** What the bundle was made with; a server shows it where a bundle does not load. */
function exporterVersions(): Record<string, string> {
  const require = createRequire(import.meta.url);
  const { version } = require('@larr/trainer/package.json') as { version: string };
  const { version: onnxruntime } = require('onnxruntime-node/package.json') as { version: string };
  return { larr: version, node: process.versions.node, onnxruntime };
}

/** The network's own scores, by LibTorch in fp32. */
async function trainerScores(run: string, samples: Samples): Promise<Predictions> {
  const { description, parameters, model } = await loadTrainedModel(run);
  try {
    const part = ResidentPart.from(samples, description.inputs, 'cpu');
    try {
      return await predict(model, part, description.inputs, { dtype: 'f32' });
    } finally {
      part.dispose();
    }
  } finally {
    parameters.dispose();
  }
}

const json = (value: unknown): string => `${JSON.stringify(value)}\n`;

function tables(graph: RankerGraph, state: ModelState): Uint8Array {
  return encodeSafetensors(
    Object.fromEntries(Object.entries(graph.tables).map(([input, { weight }]) => [input, weightOf(state, weight)])),
  );
}

function sceneFiles(
  { table, weights }: SceneWeights,
  dataset: Dataset,
  inputs: ModelInputs,
  later: readonly LaterText[],
): Record<string, BundleFile> {
  // texts[0] is the missing keyword, which has no entry of its own
  const known = dataset.split.scene.map(({ field, texts }, i) => ({
    field,
    entry: inputs.scene[i]!.offset + 1,
    texts: texts.slice(1),
  }));
  const entries = [
    ...known,
    ...dataset.split.scene.flatMap(({ field }, i) => {
      const texts = later.filter((one) => one.field === i).map(({ text }) => text);
      const entry = inputs.sceneEntries + later.findIndex((one) => one.field === i);
      return texts.length === 0 ? [] : [{ field, entry, texts }];
    }),
  ];
  const fields = dataset.split.scene.map(({ field }) => field);
  return {
    'scene.safetensors': encodeSafetensors({ table, ...weights }),
    'scene-texts.safetensors': encodeSafetensors(SceneTexts.of(fields, entries, table.shape[0]!).tensors()),
    // for people, and for programs that list them
    'scene.json': json(entries),
  };
}

/** features.json: the split's features with their vocabularies, and where each begins in the fused table. */
async function featuresOf(dataset: Dataset, inputs: ModelInputs): Promise<BundleFeatures> {
  const { categorical, dense, sequences, scene } = dataset.split;
  return {
    categorical: await Promise.all(
      categorical.map(async (feature, i) => ({
        ...feature,
        // a hashed feature needs no vocabulary
        vocabulary: feature.hashed === undefined ? await dataset.vocabulary(feature.name) : [''],
        rowOffset: inputs.categorical[i]!.offset,
      })),
    ),
    dense,
    sequences,
    scene,
  };
}

/** The state of users, POIs and pairs at the end of the data, as `prepare` left it. */
async function storesOf(data: string): Promise<Record<string, BundleFile>> {
  const files: Record<string, BundleFile> = {};
  // what people are shown of POIs
  const texts = join(data, 'texts', 'pois.parquet');
  if (await exists(texts)) files['store/poi-texts.parquet'] = { from: texts };
  for (const file of ['store/users.parquet', 'store/pois.parquet', 'store/pairs.parquet']) {
    const from = join(data, file);
    if (await exists(from)) files[file] = { from };
    else if (file !== 'store/pairs.parquet')
      throw new DataError('STORE_MISSING', `${from} is missing: run "larr prepare" again`);
  }
  return files;
}

function parityTensors(parity: ParityRows, scores: Predictions): Uint8Array {
  const { rows } = parity;
  const matrix = <T extends Int32Array | Float32Array>(data: T) => ({ shape: [rows, data.length / rows], data });
  return encodeSafetensors({
    ids: matrix(parity.ids),
    ...(parity.dense.length > 0 ? { dense: matrix(parity.dense) } : {}),
    ...(parity.scene.length > 0 ? { scene: matrix(parity.scene) } : {}),
    ...(parity.behaviour === null ? {} : { behaviour: matrix(parity.behaviour) }),
    ...(parity.history === null ? {} : { history: matrix(parity.history) }),
    ...(parity.poi === null ? {} : { poi: matrix(parity.poi) }),
    p_ctr: { shape: [rows], data: scores.ctr },
    ...(scores.ctcvr === null ? {} : { p_ctcvr: { shape: [rows], data: scores.ctcvr } }),
  });
}

/** Scores with what was written, as a server would, and compares with the trainer's; returns the largest difference. */
async function compareWithBundle(
  bundle: Bundle,
  graph: RankerGraph,
  fused: boolean,
  scene: SceneWeights | null,
  parity: ParityRows,
  scores: Predictions,
): Promise<number> {
  const tensors = async (file: string) => (await readSafetensors(bundle.path(file))).tensors;
  const rows = contextRows(
    graph,
    scene === null ? null : { ...scene, tensors: await tensors('scene.safetensors') },
    parity,
  );
  const tables = await tensors('embeddings.safetensors');
  const found = [await graphScores(bundle.path('ranker.onnx'), graph, tables, rows)];
  if (fused) {
    const program = (await bundle.json('ranker.json')) as RankerProgram;
    found.push(await programScores(program, await tensors('ranker.safetensors'), graph, tables, rows));
  }
  return Math.max(
    ...found.flatMap(({ pCtr, pCtcvr }) => [
      requireEqualScores('p_ctr', scores.ctr, pCtr),
      ...(scores.ctcvr === null ? [] : [requireEqualScores('p_ctcvr', scores.ctcvr, pCtcvr!)]),
    ]),
  );
}
