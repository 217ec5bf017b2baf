import * as torch from '@larr/torch';
import { expect, test } from 'vitest';
import { reportPage } from '../../test/report-page.js';
import { syntheticData, syntheticVectors, temporaryDirectory, tinyConfig } from '../../test/synthetic-data.js';
import { fullAttention, type SceneEncoder } from '../layers/scene-encoder.js';
import { createModel } from '../models/index.js';
import { resolveTrainConfig } from './config.js';
import { ATTENTION_ROWS, requireAttention, sceneAttention, summariseAttention } from './scene-attention.js';
import { trainModel } from './train.js';
import { evaluateTrained, loadTrainedModel } from './trained-model.js';

type Shared = Pick<SceneEncoder, 'agg' | 'field' | 'inProjWeight' | 'inProjBias'>;

test.each(['ple', 'deepfm'] as const)(
  'attention of a trained LARR on %s is that of the whole layer, head by head, and its summary counts rows',
  async (base) => {
    const data = syntheticData({ rows: 400 });
    const out = temporaryDirectory();
    const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
    const result = await trainModel(data, {
      model: 'larr',
      out,
      seed: 1,
      config: { ...tinyConfig, base, align: { lambda: 0.05 } },
      vectors,
    });
    const { model, parameters, description } = await loadTrainedModel(out);
    const { samples } = data.test;
    const { inputs } = data;
    const n = inputs.scene.length;
    const { heads } = description.config.larr;
    const attention = sceneAttention(model, inputs, samples)!;
    expect(attention).toMatchObject({ fields: inputs.scene.map(({ field }) => field), heads });

    // by the reference path, from the parameters' own names
    const found = torch.noGrad(() =>
      torch.tidy(() => {
        const part = (name: string) => parameters.dense.get(`scene.${name}`)!;
        const net: Shared = {
          agg: part('agg'),
          field: part('field'),
          inProjWeight: part('in_proj_weight'),
          inProjBias: part('in_proj_bias'),
        };
        const table = parameters.buffers.get('scene.table')!;
        const batch = data.test.part as unknown as { range(from: number, rows: number): { scene: typeof table } };
        const index = batch.range(0, samples.rows).scene;
        const offsets = inputs.scene.map(({ offset }) => offset);
        const missing = offsets.map((offset, f) => index.select(1, f).eq(offset).unsqueeze(1));
        const fieldOf = inputs.scene.flatMap(({ texts }, f) => Array<number>(texts).fill(f));
        return fullAttention({ ...net, dim: 16, heads, fields: n } as SceneEncoder, {
          table,
          fieldOf: torch.tensor(BigInt64Array.from(fieldOf, BigInt), [fieldOf.length], { dtype: 'i64' }),
          index,
          missing: torch.cat(missing, 1),
        })
          .attention.select(2, 0)
          .contiguous()
          .toFloat32Array();
      }),
    );
    expect(found.length).toBe(samples.rows * heads * (1 + n));
    expect(Math.max(...found.map((x, i) => Math.abs(x - attention.byHead[i]!)))).toBeLessThan(1e-6);
    const some = sceneAttention(model, inputs, samples, [7, 3])!;
    expect([...some.mean.subarray(0, 1 + n)]).toEqual([...attention.mean.subarray(7 * (1 + n), 8 * (1 + n))]);

    const all = result.attention!.groups[0]!;
    expect(result.attention).toMatchObject({ rows: samples.rows, of: samples.rows, heads });
    inputs.scene.forEach((_, f) => {
      const having = Array.from({ length: samples.rows }, (__, row) => row).filter(
        (row) => samples.scene[f * samples.rows + row] !== 0,
      );
      const shares = having.map((row) => attention.mean[row * (1 + n) + 1 + f]!);
      const mean = shares.reduce((a, b) => a + b, 0) / shares.length;
      const std = Math.sqrt(shares.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (shares.length - 1));
      expect(all.fields[f]!.rows).toBe(having.length);
      expect(all.fields[f]!.mean).toBeCloseTo(mean, 6);
      expect(all.fields[f]!.std).toBeCloseTo(std, 6);
      const heads = all.fields[f]!.byHead!;
      expect(heads.reduce((a, b) => a + b, 0) / heads.length).toBeCloseTo(mean, 6);
    });

    const page = reportPage(out);
    expect(page).toContain('What the aggregation token looks at');
    expect(page).toContain(`${(100 * all.own.mean!).toFixed(1)} %`);
    parameters.dispose();
    data.dispose();
  },
);

test('attention is told apart by the texts of a field, and by whether users are at home', async () => {
  const data = syntheticData({ rows: 300 });
  const out = temporaryDirectory();
  const vectors = syntheticVectors(data.inputs, data.dataset.split, 16);
  await trainModel(data, { model: 'larr', out, seed: 1, config: tinyConfig, vectors });
  const { samples } = data.test;
  data.test.travelling = Uint8Array.from({ length: samples.rows }, (_, row) => (row % 3 === 0 ? 1 : 0));
  const { attention } = await evaluateTrained(out, data, 'mealtime');
  const { groups } = attention!;
  expect(groups.map(({ kind }) => kind)).toEqual(['all', 'home', 'travelling', ...Array(5).fill('scene')]);
  expect(groups[1]!.rows + groups[2]!.rows).toBe(samples.rows);
  expect(groups[2]!.rows).toBe(Math.ceil(samples.rows / 3));
  const missing = groups.find(({ value }) => value === '')!;
  const column = data.inputs.scene.findIndex(({ field }) => field === 'mealtime');
  expect(missing.fields[column]).toEqual({ field: 'mealtime', rows: 0, mean: null, std: null, byHead: null });
  expect(groups.slice(3).reduce((sum, { rows }) => sum + rows, 0)).toBe(samples.rows);
  await expect(evaluateTrained(out, data, 'mood')).rejects.toMatchObject({
    code: 'UNKNOWN_FIELD',
    message: expect.stringContaining('weather, mealtime, weekday'),
  });
  data.dispose();
});

test('models without an aggregation token have no attention to tell', () => {
  const data = syntheticData({ rows: 100 });
  const { dataset, inputs, test: part } = data;
  for (const [name, larr, why] of [
    ['ple', {}, 'ple has no attention over scene fields: it reads no vectors'],
    ['larr', { pooling: 'mean' }, 'larr.pooling "mean"'],
    ['larr', { aggregation: 'concat' }, 'larr.aggregation is "concat"'],
    ['larr-no-al', {}, 'larr.aggregation is "concat"'],
  ] as const) {
    const config = resolveTrainConfig(name, undefined, { ...tinyConfig, larr: { ...tinyConfig.larr, ...larr } }, 16);
    const { model, parameters } = createModel(name, inputs, config, 'cpu');
    expect(sceneAttention(model, inputs, part.samples)).toBeNull();
    expect(summariseAttention(model, part, dataset.split, inputs)).toBeNull();
    expect(() => requireAttention(model, { model: name, config, inputs })).toThrow(
      expect.objectContaining({ code: 'NO_ATTENTION', message: expect.stringContaining(why) }),
    );
    parameters.dispose();
  }
  data.dispose();
});

test('asking a model for attention that it does not have is refused', async () => {
  const data = syntheticData({ rows: 300 });
  const out = temporaryDirectory();
  await trainModel(data, { model: 'ple', out, seed: 1, config: tinyConfig });
  await expect(evaluateTrained(out, data, 'weather')).rejects.toMatchObject({ code: 'NO_ATTENTION' });
  expect((await evaluateTrained(out, data)).attention).toBeNull();
  data.dispose();
});

test('a summary looks at rows through the whole part, however many there are', () => {
  const rows = 3 * ATTENTION_ROWS;
  const data = syntheticData({ rows: 100 });
  const n = data.inputs.scene.length;
  const seen: number[] = [];
  const model = {
    forward: () => {
      throw new Error('not asked');
    },
    sceneAttention: (scene: torch.Tensor) => {
      seen.push(scene.shape[0]!);
      return torch.full([scene.shape[0]!, 2, 1 + n], 1 / (1 + n));
    },
  };
  // the first field has a text in the last third alone
  const scene = new Int32Array(n * rows).fill(1);
  scene.fill(0, 0, 2 * ATTENTION_ROWS);
  const found = summariseAttention(
    model,
    { samples: { ...data.test.samples, rows, scene }, travelling: null },
    data.dataset.split,
    data.inputs,
  )!;
  expect(found).toMatchObject({ rows: ATTENTION_ROWS, of: rows, heads: 2 });
  expect(seen.reduce((a, b) => a + b, 0)).toBe(ATTENTION_ROWS);
  expect(found.groups[0]!.fields[0]!.rows / ATTENTION_ROWS).toBeCloseTo(1 / 3, 3);
  expect(found.groups[0]!.even).toBeCloseTo((2 / n + 1 / (1 + n)) / 3, 3);
  data.dispose();
});
