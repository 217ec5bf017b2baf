import { describe, expect, it } from 'vitest';
// @ts-expect-error a bench is plain JavaScript, run as it is
import { run as languageModel } from '../bench/lm.mjs';
// @ts-expect-error as above
import { run as training } from '../bench/train.mjs';

interface Row {
  case: Record<string, unknown>;
  ours: number;
  peer: string;
  peerValue: number;
  ratio: number;
  memory: { ours: number; peer: number };
}

async function all(rows: AsyncIterable<Row>): Promise<Row[]> {
  const found: Row[] = [];
  for await (const row of rows) {
    expect(row.ours).toBeGreaterThan(100);
    expect(row.peerValue).toBeGreaterThan(100);
    expect(row.ratio).toBeCloseTo(row.ours / row.peerValue);
    for (const bytes of Object.values(row.memory)) expect(bytes).toBeGreaterThan(1e6);
    found.push(row);
  }
  return found;
}

describe('a bench measures both sides, with their memory', { timeout: 240_000 }, () => {
  it.each(['train', 'embed'])("lm over the world's own texts, %s", async (task) => {
    const options = { peers: 'libtorch', only: { task, texts: 'corpus', dtype: 'bf16' }, rounds: 1 };
    const rows = await all(languageModel(options));
    expect(rows.map(({ case: of, peer }) => [of, peer])).toEqual([[options.only, 'libtorch']]);
  });

  it('train, of both networks in both precisions', async () => {
    const rows = await all(training({ batch: 600, rounds: 1 }));
    const cases = ['ple', 'larr'].flatMap((model) => ['f32', 'bf16'].map((dtype) => ({ model, dtype, batch: 600 })));
    expect(rows.filter(({ peer }) => peer === 'eager-f32').map((row) => row.case)).toEqual(cases);
  });
});
