import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '@larr/core';
import { init, manualSeed, noGrad, saveSafetensors } from '@larr/torch';
import { createModel, type ExportResult, exportBundle, modelInputs, resolveTrainConfig } from '@larr/trainer';

/**
 * A bundle of a model with random weights: what is served is the same mathematics as after training, and it takes no time.
 * Weights are wide, so that scores differ between rows.
 */
export async function exportTinyBundle(
  directory: string,
  model: string,
  out = join(directory, `bundle-${model}`),
): Promise<ExportResult> {
  const data = join(directory, 'data');
  const dataset = await openDataset(data);
  const { manifest, split, splitName } = dataset;
  const inputs = modelInputs(split, manifest.orders, manifest.pois);
  const config = resolveTrainConfig(model, manifest.training, {
    embeddingDim: 8,
    hidden: [16],
    ple: { levels: [[16, 8], [8]], tower: [8] },
    larr: { vectorDim: 16, ffn: 32, headHidden: 16 },
  });
  manualSeed(3);
  const { parameters } = createModel(model, inputs, config, 'cpu');
  const run = join(directory, `run-${model}`);
  mkdirSync(run, { recursive: true });
  noGrad(() => {
    for (const weight of [...parameters.dense.values(), ...parameters.tables.values()]) init.normal_(weight, 0.3);
    for (const [name, buffer] of parameters.buffers) if (name.endsWith('.table')) init.normal_(buffer, 1);
    // what is missing has no vector
    for (const { offset } of inputs.scene) parameters.buffers.get('scene.table')?.narrow(0, offset, 1).zero_();
  });
  saveSafetensors(join(run, 'model.safetensors'), parameters.state());
  const { name, schemaDigest } = manifest;
  const description = {
    format: 'larr-model',
    version: 1,
    model,
    config,
    inputs,
    dataset: { name, split: splitName, schemaDigest },
  };
  writeFileSync(join(run, 'model.json'), JSON.stringify(description));
  writeFileSync(
    join(run, 'result.json'),
    JSON.stringify({ model, metrics: { ctrAuc: 0.5 }, parameters: parameters.count() }),
  );
  parameters.dispose();
  return exportBundle({ run, data, out });
}
