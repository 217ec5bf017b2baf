// Every recommendation model on the built-in world, which has here the users' click sequences that DIN reads.
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DatasetSchemaInput, defineSchema, generateWorld, logLoss, prepare } from '@larr/core';
import { loadTrainingData, modelNames, type TrainingData, trainModel } from '@larr/trainer';
import { afterAll, beforeAll, expect, it } from 'vitest';

let directory: string;
let data: TrainingData;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-models-'));
  const [world, out] = [join(directory, 'world'), join(directory, 'data')];
  await generateWorld({ scale: 'tiny', seed: 1, output: world, threads: 1 });
  const schema = JSON.parse(readFileSync(join(world, 'schema.json'), 'utf8')) as DatasetSchemaInput;
  const features = { ...schema.features, sequences: [{ name: 'clicked', length: 20 }] };
  await prepare(out, { schema: defineSchema({ ...schema, features }), baseDirectory: world, seed: 1, threads: 1 });
  // for those that are told the truth
  cpSync(join(world, 'controls'), join(out, 'controls'), { recursive: true });
  data = await loadTrainingData({ data: out });
}, 120_000);
afterAll(() => {
  data?.dispose();
  rmSync(directory, { recursive: true, force: true });
});

/** The log loss of saying the train part's rate of every test row. */
function constantLogLoss(part: 'clicks' | 'orders', labels: Float32Array): number {
  const { rows, [part]: positives } = data.dataset.split.parts.train;
  return logLoss(labels, new Float32Array(labels.length).fill(positives! / rows));
}

it.each(modelNames.filter((name) => !name.startsWith('larr') && name !== 'p5'))(
  '%s tells clicks and orders of the world better than their rates do',
  async (model) => {
    const { metrics } = await trainModel(data, { model, out: join(directory, model), seed: 1 });
    const { click, order } = data.test.samples;
    expect(metrics.ctrLogloss).toBeLessThan(constantLogLoss('clicks', click) - 0.01);
    expect(metrics.ctcvrLogloss).toBeLessThan(constantLogLoss('orders', order!));
    expect(metrics.ctrAuc).toBeGreaterThan(0.65);
    expect(metrics.ctcvrAuc).toBeGreaterThan(0.65);
  },
);
