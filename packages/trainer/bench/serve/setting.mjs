// What `serve` measures on: a bundle of the built-in world (3,000 POIs, 8,000 users) with LARR at its default sizes, trained on a few rows with made-up
// language vectors, as weights do not decide speed; and requests of 500 POIs each for users and moments of the world's own log.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DuckdbSession, openDataset, writeSafetensors } from '@larr/core';
import { resolveTrainConfig } from '../../dist/training/config.js';

const LARR = fileURLToPath(new URL('../../bin/larr.mjs', import.meta.url));
export const CANDIDATES = 500;
const REQUESTS = 400;
const DIMENSION = 128;

async function larr(...args) {
  const child = spawn(process.execPath, [LARR, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (data) => {
    said += data;
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`larr ${args[0]} ended with ${code}: ${said.slice(-2000)}`);
}

/** @returns {{ bundle, run, bodies }} made once for the model's default settings and kept in the temporary directory */
export async function setting() {
  const settings = JSON.stringify(resolveTrainConfig('larr', {}, {}, DIMENSION));
  const name = createHash('sha256').update(settings).digest('hex').slice(0, 12);
  const directory = join(tmpdir(), `larr-bench-serve-${name}`);
  const [data, run, bundle, vectors] = ['data', 'run', 'bundle', 'vectors'].map((name) => join(directory, name));
  const bodies = join(directory, 'bodies.jsonl');
  const whole = join(directory, 'whole');
  if (!existsSync(whole)) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    process.stderr.write('bench serve: making a world, a model and a bundle (once, some minutes)\n');
    await larr('world', '--scale', 'small', '--out', data);
    await madeUpVectors(data, vectors);
    const config = join(directory, 'config.json');
    writeFileSync(config, JSON.stringify({ train: { epochs: 1 } }));
    await larr(
      'train',
      '--model',
      'larr',
      '--data',
      data,
      '--vectors',
      vectors,
      '--limit',
      '20000',
      '--config',
      config,
      '--out',
      run,
    );
    writeFileSync(whole, '');
  }
  // Cheap, and of the exporter as it is now.
  await larr('export', '--run', run, '--data', data, '--out', bundle);
  await writeBodies(data, bundle, bodies);
  return { bundle, run, bodies };
}

/** What `larr embed` would write: every text and POI has a vector that follows from its number. */
async function madeUpVectors(data, vectors) {
  const { split, manifest } = await openDataset(data);
  mkdirSync(vectors, { recursive: true });
  const scene = split.scene.flatMap(({ field, texts }) => texts.slice(1).map((text) => ({ field, text })));
  writeFileSync(join(vectors, 'scene.json'), JSON.stringify(scene));
  const about = {
    format: 'larr-vectors',
    version: 3,
    dataset: manifest.contentDigest,
    split: manifest.defaultSplit,
    model: 'made-up',
    finetuned: null,
    dimension: DIMENSION,
  };
  writeFileSync(join(vectors, 'vectors.json'), JSON.stringify(about));
  const embeddings = (rows, phase) => ({
    embeddings: {
      shape: [rows, DIMENSION],
      data: Float32Array.from({ length: rows * DIMENSION }, (_, i) => Math.sin(i * 12.9898 + phase)),
    },
  });
  await writeSafetensors(join(vectors, 'scene.safetensors'), embeddings(scene.length, 0), { model: 'made-up' });
  await writeSafetensors(join(vectors, 'pois.safetensors'), embeddings(manifest.pois, 1), { model: 'made-up' });
}

async function writeBodies(data, bundle, file) {
  const db = await DuckdbSession.open();
  const events = await db.rows(
    `SELECT user_id AS user, CAST(time AS VARCHAR) AS time, weather, temperature, city, district, latitude, longitude, travel, holiday
     FROM read_parquet('${join(data, 'tables', 'events.parquet')}') USING SAMPLE ${REQUESTS} ROWS (reservoir, 7)`,
  );
  const pois = (
    await db.rows(`SELECT CAST(poi AS VARCHAR) AS poi FROM read_parquet('${join(bundle, 'store/pois.parquet')}')`)
  ).map(({ poi }) => poi);
  let state = 7;
  const next = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
  db[Symbol.dispose]();
  const lines = events.map(({ user, ...scene }) => {
    const candidates = new Set();
    while (candidates.size < CANDIDATES) candidates.add(pois[next(pois.length)]);
    return JSON.stringify({ user: String(user), scene, candidates: [...candidates] });
  });
  writeFileSync(file, lines.join('\n'));
}
