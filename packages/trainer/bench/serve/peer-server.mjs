// The peer: the HTTP layer, the stores and the rows of @larr/server, over the unfused graph in onnxruntime, which takes the vectors of a scene
// for every row. `node peer-server.mjs '{"bundle","graph","tables","threads"}'` prints {"url"} when it is ready.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { openBundle, parseSchema, readSafetensors, tensorPlaces } from '@larr/core';

const server = new URL('../../../server/dist/', import.meta.url);
const [
  { createApp },
  { DEFAULT_LIMITS },
  { createMetrics },
  { ModelRegistry },
  { BundleModel },
  { RowAssembly },
  { PoiTable },
  { DEFAULT_QUEUE },
  { ApiError },
] = await Promise.all(
  [
    'api/app.js',
    'api/state.js',
    'observability/metrics.js',
    'ranking/model-registry.js',
    'ranking/bundle-model.js',
    'ranking/row-assembly.js',
    'ranking/poi-table.js',
    'ranking/ranker.js',
    'api/errors.js',
  ].map((file) => import(new URL(file, server))),
);
const [{ FeatureStore }, { openStore }, { parquetRows }, { ScoreDrift }] = await Promise.all(
  ['store/feature-store.js', 'store/open-store.js', 'store/parquet-rows.js', 'observability/drift.js'].map(
    (file) => import(new URL(file, server)),
  ),
);

const { bundle: directory, graph, tables, threads } = JSON.parse(process.argv[2]);
const bundle = await openBundle(directory);
const schema = parseSchema(await bundle.json('schema.json'), 'schema.json');
const features = await bundle.json('features.json');
const { inputs } = bundle.manifest;
// Every feature comes with its row: nothing is shared.
const all = (list) => list.map((_, i) => i);
const rowWise = {
  ...inputs,
  ids: { context: [], row: all(features.categorical) },
  dense: { context: [], row: all(features.dense) },
};

const store = await openStore(null);
const data = await FeatureStore.open(store, 'peer', {
  users: bundle.path('store/users.parquet'),
  pois: bundle.path('store/pois.parquet'),
  pairs: bundle.manifest.files['store/pairs.parquet'] === undefined ? null : bundle.path('store/pairs.parquet'),
});
await data.load();
const assembly = new RowAssembly(schema, features, inputs, data.pairColumns);
const pois = new PoiTable(assembly.poiEncoder);
for await (const rows of parquetRows(bundle.path('store/pois.parquet'))) pois.put(rows);

const entries = await bundle.json('scene.json');
const fields = features.scene.map(({ field }) => field);
const known = fields.map((name) => {
  const own = entries.find(({ field }) => field === name);
  return new Map((own?.texts ?? []).map((text, i) => [text, own.entry + i]));
});
/** Gives the scenes themselves in place of their z_s: the graph encodes them. */
const scene = {
  fields,
  explainable: false,
  entry: (field, text) => known[field].get(text) ?? null,
  someText: (field) => known[field]?.keys().next().value ?? null,
  encode: (rows) => Float32Array.from(rows),
  dispose() {},
};

const sceneFile = bundle.path('scene.safetensors');
const place = (await tensorPlaces(sceneFile)).table;
const worker = new Worker(new URL('./peer-worker.mjs', import.meta.url), {
  workerData: {
    graph,
    tables,
    embeddings: bundle.path('embeddings.safetensors'),
    scene: { file: sceneFile, place },
    inputs: rowWise,
    context: inputs,
    threads,
  },
});
await once(worker, 'message');
const { batchRows, deadlineMs } = DEFAULT_QUEUE;
const waiting = [];
let running = null;
const next = () => {
  if (running !== null) return;
  const now = performance.now();
  while (waiting.length > 0 && now - waiting[0].since > deadlineMs)
    waiting.shift().reject(new ApiError(503, 'OVERLOADED', 'too many requests wait already', undefined, 1));
  if (waiting.length === 0) return;
  running = [];
  for (let rows = 0; waiting.length > 0 && (running.length === 0 || rows + waiting[0].job.rows <= batchRows); ) {
    rows += waiting[0].job.rows;
    running.push(waiting.shift());
  }
  worker.postMessage(running.map(({ job }) => job));
};
worker.on('message', ({ pCtr, pCtcvr }) => {
  let from = 0;
  for (const { job, resolve } of running) {
    const to = from + job.rows;
    resolve({ scores: { pCtr: pCtr.subarray(from, to), pCtcvr: pCtcvr.subarray(from, to) }, waited: 0 });
    from = to;
  }
  running = null;
  next();
});
/** Requests that come while it computes are answered together in its next run, and refused after two seconds, as the server's ranker does. */
const ranker = {
  broken: false,
  queuedRows: 0,
  score: (job) =>
    new Promise((resolve, reject) => {
      waiting.push({ job, resolve, reject, since: performance.now() });
      setImmediate(next);
    }),
  close: () => worker.terminate(),
};

const { tensors } = await readSafetensors(bundle.path('parity.safetensors'));
const models = new ModelRegistry();
models.install(
  new BundleModel({
    identity: { name: 'peer', bundle: 'peer' },
    directory,
    tasks: bundle.manifest.model.tasks,
    schema,
    features,
    assembly,
    pois,
    store: data,
    scene,
    behaviour: null,
    histories: null,
    takesPoi: inputs.poi ?? false,
    ranker,
    recall: null,
    drifts: { ctr: new ScoreDrift(tensors.p_ctr.data), ctcvr: new ScoreDrift(tensors.p_ctcvr.data) },
  }),
);
const state = { models, events: null, experiments: null, stopping: false };
const app = createApp({ state, metrics: createMetrics(), limits: DEFAULT_LIMITS });
await app.listen({ host: '127.0.0.1', port: 0 });
process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${app.server.address().port}` })}\n`);
process.on('SIGTERM', async () => {
  await app.close();
  // A thread that is ended while it computes would take the process with it.
  worker.postMessage('stop');
  await once(worker, 'exit');
  process.exit(0);
});
