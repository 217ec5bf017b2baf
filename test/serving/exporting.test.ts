import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openBundle, PARITY_TOLERANCE, readSafetensors } from '@larr/core';
import { exportBundle, modelNames } from '@larr/trainer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportTinyBundle } from './tiny-bundle.js';
import { prepareTinyDataset } from './tiny-dataset.js';

/** What is read of ranker.json here. */
interface RankerProgram {
  terms: string | null;
  secondOrder: string | null;
}

let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'larr-export-'));
  await prepareTinyDataset(directory, { history: true });
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('exporting a trained model', () => {
  // p5 is a language model, and ple-… are controls, which are no models to serve
  const bases = modelNames.filter((name) => !/^(larr|ple-)/.test(name) && name !== 'p5');
  it.each([
    ...['larr', 'larr-no-al', ...bases].map((model) => [model, undefined] as const),
    ...bases.filter((base) => base !== 'ple').map((base) => ['larr', base] as const),
  ])('gives %s (base: %s) the scores it has in the trainer', async (model, base) => {
    const { parity, bundle } = await exportTinyBundle(directory, model, base);
    expect(parity.rows).toBeGreaterThan(500);
    expect(parity.largestDifference).toBeLessThanOrEqual(1e-5);
    const { manifest, path } = await openBundle(bundle);
    expect(manifest.parity).toEqual({ rows: parity.rows, tolerance: PARITY_TOLERANCE });
    expect(manifest.model).toEqual({ name: model, tasks: ['click', 'order'] });
    const { tensors } = await readSafetensors(path('parity.safetensors'));
    // a network that says the same of every row would pass any comparison
    expect(new Set(tensors.p_ctr!.data as Float32Array).size).toBeGreaterThan(100);
  });

  it.each([
    ['wide-deep', 'wide', {}],
    ['deepfm', 'first_order', {}],
    ...['ple', 'mmoe', 'esmm', 'dnn', 'larr'].map((model) => [model, 'first_order', { interactions: 'fm' }] as const),
  ] as const)(
    'gives %s its scores as a program for the native ranker, too, what its IDs add in the table %s',
    async (model, table, config) => {
      const out = join(directory, `bundle-${model}-terms`);
      const { parity, bundle } = await exportTinyBundle(directory, model, undefined, out, config);
      // of the graph's and of the program's
      expect(parity.largestDifference).toBeLessThanOrEqual(1e-5);
      const { path, manifest } = await openBundle(bundle);
      const { terms, secondOrder } = JSON.parse(readFileSync(path('ranker.json'), 'utf8')) as RankerProgram;
      expect([terms, secondOrder]).toEqual([table, model === 'wide-deep' ? null : 'second_order.weight']);
      const { tensors } = await readSafetensors(path('embeddings.safetensors'));
      expect(Object.keys(manifest.inputs.tables as object)).toContain(table);
      expect((tensors[table]!.data as Float32Array).filter((value) => value !== 0).length).toBeGreaterThan(100);
    },
  );

  it.each(['ple', 'dnn', 'esmm', 'mmoe'] as const)(
    'gives %s without orders and batch norm its scores',
    async (base) => {
      const own = mkdtempSync(join(tmpdir(), 'larr-export-'));
      try {
        await prepareTinyDataset(own, { history: false, orders: false });
        const { parity, bundle } = await exportTinyBundle(own, base, undefined, undefined, { batchNorm: false });
        expect(parity.largestDifference).toBeLessThanOrEqual(1e-5);
        const { manifest, path } = await openBundle(bundle);
        expect(manifest.model.tasks).toEqual(['click']);
        // held against the trainer's as a program, too
        const program = JSON.parse(readFileSync(path('ranker.json'), 'utf8')) as { logits: number[] };
        expect(program.logits).toHaveLength(1);
        const { tensors } = await readSafetensors(path('parity.safetensors'));
        expect(new Set(tensors.p_ctr!.data as Float32Array).size).toBeGreaterThan(100);
      } finally {
        rmSync(own, { recursive: true, force: true });
      }
    },
  );

  it('has no program of more experts than the native ranker takes', async () => {
    const own = mkdtempSync(join(tmpdir(), 'larr-export-'));
    try {
      await prepareTinyDataset(own, { history: false });
      const mmoe = { experts: 257, layers: [4], tower: [4] };
      const { bundle } = await exportTinyBundle(own, 'mmoe', undefined, undefined, { mmoe });
      expect(existsSync(join(bundle, 'ranker.json'))).toBe(false);
      expect(existsSync(join(bundle, 'ranker.onnx'))).toBe(true);
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  });

  it('refuses a run of other data, and leaves an older bundle as it was', async () => {
    const { bundle } = await exportTinyBundle(directory, 'ple');
    const before = readFileSync(join(bundle, 'manifest.json'), 'utf8');
    const other = mkdtempSync(join(tmpdir(), 'larr-export-'));
    try {
      await prepareTinyDataset(other, { history: false });
      const run = join(directory, 'run-ple');
      await expect(exportBundle({ run, data: join(other, 'data'), out: bundle })).rejects.toMatchObject({
        code: 'DATASET_MISMATCH',
      });
      expect(readFileSync(join(bundle, 'manifest.json'), 'utf8')).toBe(before);
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  });

  it('never takes the place of a dataset', async () => {
    await exportTinyBundle(directory, 'ple');
    const data = join(directory, 'data');
    await expect(exportBundle({ run: join(directory, 'run-ple'), data, out: data })).rejects.toMatchObject({
      code: 'OUT_NOT_OURS',
    });
    expect(existsSync(join(data, 'dataset.json'))).toBe(true);
  });

  it("refuses a run that is not finished, and weights that are not the model's, leaving nothing behind", async () => {
    const data = join(directory, 'data');
    const out = join(directory, 'none');
    await expect(exportBundle({ run: join(directory, 'nowhere'), data, out })).rejects.toMatchObject({
      code: 'NOT_TRAINED',
    });
    const description = join(directory, 'run-dnn', 'model.json');
    const text = readFileSync(description, 'utf8');
    writeFileSync(description, text.replace('"hidden": [\n      16\n    ]', '"hidden": [\n      8\n    ]'));
    try {
      await expect(exportBundle({ run: join(directory, 'run-dnn'), data, out })).rejects.toMatchObject({
        code: 'CHECKPOINT_MISMATCH',
      });
    } finally {
      writeFileSync(description, text);
    }
    expect(existsSync(out)).toBe(false);
  });
});
