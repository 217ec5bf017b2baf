import { manualSeed, noGrad, randint, randn, type Tensor, tensor, tidy } from '@larr/torch';
import { expect, test } from 'vitest';
import { Parameters } from './parameters.js';
import {
  aggregationWeights,
  createSceneEncoder,
  encodeScene,
  encodeSceneFolded,
  encodeSceneFull,
  fullAttention,
  type SceneTokens,
} from './scene-encoder.js';

const FIELDS = 3;
const PER_FIELD = 4;

function encoder(pooling: 'aggregation' | 'mean') {
  manualSeed(8);
  const p = new Parameters('cpu');
  const net = createSceneEncoder(p, 'scene', {
    dim: 16,
    fields: FIELDS,
    heads: 4,
    ffn: 32,
    headHidden: 24,
    outputs: 6,
    pooling,
  });
  noGrad(() =>
    tidy(() => {
      for (const t of p.dense.values()) t.copy_(t.add(randn(t.shape).mul(0.2)));
    }),
  );
  return { p, net };
}

/** Rows of entries; entry 0 of each field is its missing one. */
function tokens(rows: number): SceneTokens {
  const fieldOf = BigInt64Array.from({ length: FIELDS * PER_FIELD }, (_, i) => BigInt(Math.floor(i / PER_FIELD)));
  const offsets = tensor(BigInt64Array.of(0n, 4n, 8n), [1, FIELDS], { dtype: 'i64' });
  const choice = randint(0, PER_FIELD, [rows, FIELDS]);
  return {
    table: randn([FIELDS * PER_FIELD, 16]),
    fieldOf: tensor(fieldOf, [FIELDS * PER_FIELD], { dtype: 'i64' }),
    index: choice.add(offsets),
    missing: choice.eq(0),
  };
}

const largest = (t: Tensor) => t.abs().amax().item();

test('the folded encoder gives what the whole layer gives at the aggregation token, missing keywords included', () => {
  const { p, net } = encoder('aggregation');
  noGrad(() =>
    tidy(() => {
      const rows = tokens(64);
      const full = encodeSceneFull(net, rows);
      expect(full.shape).toEqual([64, 6]);
      expect(largest(full)).toBeGreaterThan(0.01);
      expect(largest(encodeSceneFolded(net, rows).sub(full))).toBeLessThan(1e-5);
    }),
  );
  p.dispose();
});

test('attention that is read out is what the whole layer gives the aggregation token, by head', () => {
  const { p, net } = encoder('aggregation');
  noGrad(() =>
    tidy(() => {
      const rows = tokens(64);
      const weights = aggregationWeights(net, rows);
      expect(weights.shape).toEqual([64, 4, 1 + FIELDS]);
      expect(largest(weights.sub(fullAttention(net, rows).attention.select(2, 0)))).toBeLessThan(1e-6);
      expect(largest(weights.sum([2]).sub(1))).toBeLessThan(1e-5);
      // what is missing gets nothing, what is there something, and not all the same
      const fields = weights.narrow(2, 1, FIELDS).sum([1]);
      expect(largest(fields.mul(rows.missing.to('f32')))).toBe(0);
      expect(fields.gt(0).eq(rows.missing.logicalNot()).all().item()).toBe(1);
      expect(largest(weights.sub(1 / (1 + FIELDS)))).toBeGreaterThan(0.05);
    }),
  );
  p.dispose();
});

test('folded and full give the same gradients', () => {
  const { p, net } = encoder('aggregation');
  const gradients = [encodeSceneFull, encodeSceneFolded].map((encode) => {
    manualSeed(4);
    return tidy(() => {
      encode(net, tokens(32)).square().sum().backward();
      return [...p.dense].map(([name, t]) => {
        const g = t.grad!.clone();
        t.grad!.dispose();
        t.grad = null;
        return [name, g] as const;
      });
    });
  });
  gradients[0]!.forEach(([name, g], i) => {
    expect(largest(g.sub(gradients[1]![i]![1])), name).toBeLessThan(1e-4 * Math.max(1, largest(g)));
  });
  p.dispose();
});

for (const pooling of ['aggregation', 'mean'] as const) {
  test(`a missing keyword says nothing, whatever its vector (${pooling} pooling)`, () => {
    const { p, net } = encoder(pooling);
    noGrad(() =>
      tidy(() => {
        const rows = tokens(16);
        const noise = tensor(
          Float32Array.from({ length: FIELDS * PER_FIELD }, (_, i) => (i % PER_FIELD === 0 ? 1 : 0)),
          [FIELDS * PER_FIELD, 1],
        );
        const loud = { ...rows, table: rows.table.add(randn(rows.table.shape).mul(noise).mul(10)) };
        expect(largest(encodeScene(net, rows).sub(encodeScene(net, loud)))).toBeLessThan(1e-6);
        // and a present one does say something
        const changed = { ...rows, table: rows.table.add(randn(rows.table.shape)) };
        expect(largest(encodeScene(net, rows).sub(encodeScene(net, changed)))).toBeGreaterThan(1e-3);
      }),
    );
    p.dispose();
  });
}

test('a row without any keyword still has an embedding', () => {
  const { p, net } = encoder('aggregation');
  noGrad(() =>
    tidy(() => {
      const rows = tokens(4);
      const all = { ...rows, missing: rows.missing.logicalOr(rows.missing.logicalNot()) };
      const z = encodeScene(net, all);
      expect(z.isfinite().all().item()).toBe(1);
      expect(largest(z.sub(z.narrow(0, 0, 1)))).toBeLessThan(1e-6);
    }),
  );
  p.dispose();
});
