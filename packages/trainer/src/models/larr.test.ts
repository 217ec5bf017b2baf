import { init, manualSeed, noGrad, type Tensor, tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import { syntheticData, tinyConfig } from '../../test/synthetic-data.js';
import { weightOf } from '../exporting/onnx/layers.js';
import { withFoldedTables } from '../exporting/ranker-graph.js';
import { resolveTrainConfig } from '../training/config.js';
import { recommendationLoss } from '../training/loss.js';
import type { ResidentPart } from '../training/resident-part.js';
import { createModel } from './index.js';

const GAINS = ['scene.gain', 'behaviour.gain', 'poi.gain'];

test('each semantic input has a factor that starts at larr.gain, is learnt, and is part of the weights that are exported', () => {
  const data = syntheticData({ rows: 64 });
  expect(resolveTrainConfig('larr', {}, tinyConfig, 16).larr.gain).toBe(0.01);
  const config = resolveTrainConfig('larr', {}, { ...tinyConfig, larr: { ...tinyConfig.larr, gain: 0.25 } }, 16);
  manualSeed(1);
  const { parameters, model } = createModel('larr', data.inputs, config, 'cpu', false);
  noGrad(() => {
    for (const name of ['scene.table', 'pois.table']) init.normal_(parameters.buffers.get(name)!, 1);
  });
  const gains = GAINS.map((name) => parameters.dense.get(name)!);
  expect(gains.map((gain) => gain.item())).toEqual([0.25, 0.25, 0.25]);
  const batch = () => (data.test.part as ResidentPart).range(0, 16);
  const scores = () => tidy(() => Array.from(noGrad(() => model.forward(batch(), false)).ctr.toFloat32Array()));

  tidy(() => recommendationLoss(model.forward(batch(), true), batch()).backward());
  for (const gain of gains) expect(gain.grad!.item()).not.toBe(0);

  // what the exporter folds: with the gain in the weights before it, and 1 in its place, the scores are the same
  const expected = scores();
  const all = [...parameters.dense, ...parameters.tables, ...parameters.buffers];
  const values = (t: Tensor) => ({ shape: t.shape, data: t.detach().to('f32').toFloat32Array() });
  const folded = withFoldedTables(new Map(all.map(([name, t]) => [name, values(t)])));
  noGrad(() => {
    for (const gain of gains) gain.fill_(1);
    for (const name of ['scene.head2_weight', 'scene.head2_bias', 'poi.weight', 'poi.bias', 'behaviour.weight']) {
      const weight = parameters.dense.get(name)!;
      const before = values(weight).data;
      weight.mul_(0.25);
      expect(weightOf(folded, name).data[0]).toBeCloseTo(before[0]! * 0.25, 7);
    }
    parameters.dense.get('behaviour.bias')!.mul_(0.25);
  });
  const after = scores();
  for (const [row, score] of expected.entries()) expect(after[row]).toBeCloseTo(score, 6);
  parameters.dispose();
});
