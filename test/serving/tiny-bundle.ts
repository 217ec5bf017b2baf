import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset, writeSafetensors } from '@larr/core';
import { type ExportResult, exportBundle, loadTrainingData, type TrainConfig, trainModel } from '@larr/trainer';

/** Width of the made-up language-model vectors. */
const WIDTH = 16;

/** Trains `model` for a moment on the tiny dataset in `directory`, and exports it. Learns fast, so that scores differ between rows. */
export async function exportTinyBundle(
  directory: string,
  model: string,
  base?: TrainConfig['base'],
  out = join(directory, `bundle-${model}${base ?? ''}`),
  config: Partial<TrainConfig> = {},
): Promise<ExportResult> {
  const data = join(directory, 'data');
  const run = join(directory, `run-${model}${base ?? ''}${config.interactions ?? ''}`);
  const vectors = await tinyVectors(directory);
  const loaded = await loadTrainingData({ data });
  try {
    await trainModel(loaded, {
      model,
      out: run,
      seed: 1,
      vectors,
      config: {
        ...(base !== undefined && { base }),
        epochs: 2,
        batchSize: 256,
        learningRate: 0.02,
        embeddingDim: 8,
        hidden: [16],
        batchNorm: true,
        ple: { levels: [[16, 8], [8]], tower: [8] },
        mmoe: { layers: [16, 8], tower: [8] },
        xdeepfm: { maps: [6, 4] },
        din: { attention: [8] },
        larr: { ffn: 32, headHidden: 16 },
        ...config,
      },
    });
  } finally {
    loaded.dispose();
  }
  return exportBundle({ run, data, out });
}

/** What `larr embed` would write: here every text and POI has a vector that follows from its number. */
async function tinyVectors(directory: string): Promise<string> {
  const vectors = join(directory, 'vectors');
  if (existsSync(vectors)) return vectors;
  mkdirSync(vectors);
  const { split, manifest } = await openDataset(join(directory, 'data'));
  const scene = split.scene.flatMap(({ field, texts }) => texts.slice(1).map((text) => ({ field, text })));
  writeFileSync(join(vectors, 'scene.json'), JSON.stringify(scene));
  const of = { dataset: manifest.contentDigest, split: manifest.defaultSplit, model: 'tiny', finetuned: null };
  const about = { format: 'larr-vectors', version: 3, ...of, dimension: WIDTH };
  writeFileSync(join(vectors, 'vectors.json'), JSON.stringify(about));
  const embeddings = (rows: number, phase: number) => ({
    embeddings: {
      shape: [rows, WIDTH],
      data: Float32Array.from({ length: rows * WIDTH }, (_, i) => Math.sin(i * 12.9898 + phase)),
    },
  });
  await writeSafetensors(join(vectors, 'scene.safetensors'), embeddings(scene.length, 0), { model: 'tiny' });
  await writeSafetensors(join(vectors, 'pois.safetensors'), embeddings(manifest.pois, 1), { model: 'tiny' });
  return vectors;
}
