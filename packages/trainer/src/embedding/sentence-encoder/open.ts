import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Dataset, writeFileAtomic } from '@larr/core';
import { parseConfig } from '../../pretraining/config.js';
import { FinetuneConfig, type FinetuneConfigInput } from '../config.js';
import { type Gate, judge } from '../gate.js';
import { gatherMaterial } from '../material.js';
import { measureQuality } from '../quality.js';
import type { TextEmbedder } from '../text-embedder.js';
import { poiTexts } from '../vectors.js';
import { fitProjection, unprojected } from './projection.js';
import { loadSentenceEncoder } from './sentence-encoder.js';

interface EncoderOptions {
  /** The vectors directory: the projection and the gate's findings go there. */
  output: string;
  seed: number;
  config: FinetuneConfigInput | undefined;
  signal: AbortSignal | undefined;
  onNotice: ((message: string) => void) | undefined;
}

/** A sentence encoder with a projection fitted on a dataset's POIs. The gate judges it as it does stage 2, on the same held-out texts. */
export async function openEncoder(
  directory: string,
  dataset: Dataset,
  { output, seed, config, signal, onNotice }: EncoderOptions,
): Promise<{ embedder: TextEmbedder; digest: string; judge(): Promise<Gate> }> {
  const settings = parseConfig(FinetuneConfig, config, 'stage 2');
  const encoder = await loadSentenceEncoder(directory);
  const texts = poiTexts(dataset, await dataset.poiTexts())
    .filter((keywords) => keywords.length > 0)
    .map((keywords) => encoder.tokens(keywords).ids);
  const fittedOn = { texts, dataset: dataset.manifest.contentDigest, seed };
  const { embedder, digest } = await fitProjection(encoder, output, fittedOn, signal);
  return {
    embedder,
    digest,
    async judge() {
      const path = join(output, 'gate.json');
      const identity = createHash('sha256')
        .update(JSON.stringify([digest, fittedOn.dataset, dataset.splitName, seed, settings]))
        .digest('hex');
      const kept = existsSync(path) ? await readFindings(path) : null;
      if (kept?.identity === identity) return kept;
      const material = await gatherMaterial(dataset, dataset.directory, embedder, settings, seed, onNotice);
      const before = await measureQuality(unprojected(encoder), material, signal, { probing: true });
      const after = await measureQuality(embedder, material, signal, { probing: true });
      const gate = judge({ ...before, probe: null }, after, settings);
      await writeFileAtomic(path, `${JSON.stringify({ ...gate, before, after, alarms: [], identity }, null, 2)}\n`);
      return gate;
    },
  };
}

async function readFindings(path: string): Promise<(Gate & { identity?: string }) | null> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Gate & { identity?: string };
  } catch {
    return null; // Damaged: judged again.
  }
}
