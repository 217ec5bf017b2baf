import { manualSeed, memoryStats, noGrad, type Tensor, tidy } from '@larr/torch';
import { describe, expect, it } from 'vitest';
import { smallestDecoderShape } from '../../test/decoder-shape.js';
import { createDecoder, type Decoder, disposeDecoder, headRows, outputHead } from './decoder.js';
import { LoraConfig } from './lora-config.js';
import { readyToTrain } from './lora-directory.js';
import { Tokenizer } from './tokenizer.js';
import { trainTokenizer } from './tokenizer-training.js';

const tokenizer = new Tokenizer(trainTokenizer(['hot soup with rice and noodles, hot rice with soup'], 300));
const known = tokenizer.vocabularySize;
const form = { precision: 'f32', trainingState: 'f32', saveAs: 'f32' } as const;
const keywords = ['<name>', '</name>', '<tags>', '</tags>'];

/** A model whose tables have `padding` rows that no token has and nothing has learnt, far from all others. */
function padded(padding: number, tiedHead: boolean, normalisedHead = false) {
  manualSeed(3);
  const decoder = createDecoder(smallestDecoderShape({ vocabularySize: known + padding, tiedHead, normalisedHead }));
  tidy(() =>
    noGrad(() => {
      if (padding > 0) for (const table of tables(decoder)) table.narrow(0, known, padding).fill_(-3);
    }),
  );
  return { tokenizer, decoder };
}

const rows = (table: Tensor, from: number, count: number) =>
  tidy(() => table.narrow(0, from, count).contiguous().toFloat32Array());

/** How far rows lie from the mean of the first `known` at most. */
function fromMean(table: Tensor, from: number, count: number): number {
  const learnt = rows(table, 0, known);
  const width = table.shape[1]!;
  return rows(table, from, count).reduce((most, x, i) => {
    let mean = 0;
    for (let r = 0; r < known; r++) mean += learnt[r * width + (i % width)]! / known;
    return Math.max(most, Math.abs(x - mean));
  }, 0);
}

const tables = ({ embedding, head, config }: Decoder) => (config.tiedHead ? [embedding] : [embedding, head]);

describe('new tokens of a model whose tables have rows behind its tokenizer', () => {
  describe.each([true, false])('(tied head: %s)', (tiedHead) => {
    it.each([
      ['more than there are new tokens', 9],
      ['fewer than there are new tokens', 3],
      ['none', 0],
    ])('begin near the mean of the learnt rows: padding rows %s', (_, padding) => {
      const model = padded(padding, tiedHead);
      const before = tables(model.decoder).map((table) => rows(table, 0, known));
      const { decoder, tokenizer: grown } = readyToTrain(model, form, keywords);
      expect(keywords.map((token) => grown.tokenId(token))).toEqual([known, known + 1, known + 2, known + 3]);
      expect(decoder.config.vocabularySize).toBe(known + Math.max(4, padding));
      for (const [i, table] of tables(decoder).entries()) {
        expect(table.shape).toEqual([decoder.config.vocabularySize, 16]);
        expect(rows(table, 0, known)).toEqual(before[i]);
        const away = fromMean(table, known, 4);
        expect(away).toBeGreaterThan(0);
        expect(away).toBeLessThan(0.02); // a tenth of the rows' 0.02, and a draw far out
        // What no token has is left as it was.
        if (padding > 4) expect(new Set(rows(table, known + 4, padding - 4))).toEqual(new Set([-3]));
      }
      // The next stage knows these tokens: it leaves their rows alone.
      const learnt = tables(decoder).map((table) => rows(table, known, 4));
      manualSeed(4);
      const again = readyToTrain({ decoder, tokenizer: grown }, form, keywords);
      expect(tables(again.decoder).map((table) => rows(table, known, 4))).toEqual(learnt);
      disposeDecoder(again.decoder);
    });

    it('are learnt from there beside adapters', () => {
      const lora = LoraConfig.parse({});
      const { decoder } = readyToTrain(padded(9, tiedHead), { ...form, lora }, keywords);
      expect(decoder.lora!.rows.embedding.toFloat32Array()).toEqual(rows(decoder.embedding, known, 4));
      expect(fromMean(decoder.embedding, known, 4)).toBeLessThan(0.02);
      disposeDecoder(decoder);
    });
  });
});

it.each([
  ['NO_LORA_TARGET', { targets: ['no_proj'] }],
  ['LORA_RANK', { rank: 17 }],
  ['LORA_RANK', { rank: 9, targets: ['k_proj', 'v_proj'] }],
])('a model that cannot be trained so leaves nothing behind: %s', (code, settings) => {
  const bytes = memoryStats().bytes;
  const lora = LoraConfig.parse(settings);
  expect(() => readyToTrain(padded(3, false), { ...form, lora }, keywords)).toThrow(expect.objectContaining({ code }));
  expect(memoryStats().bytes).toBe(bytes);
});

describe('the head’s rows of some tokens', () => {
  it.each([
    [true, false],
    [false, false],
    [false, true],
  ])('are those of the whole head, adapters’ rows among them (tied %s, normalised %s)', (tiedHead, normalisedHead) => {
    const lora = LoraConfig.parse({});
    for (const adapters of [undefined, lora]) {
      const { decoder } = readyToTrain(padded(0, tiedHead, normalisedHead), { ...form, lora: adapters }, keywords);
      if (decoder.lora !== undefined)
        noGrad(() => (decoder.lora!.rows.head ?? decoder.lora!.rows.embedding).fill_(0.5));
      const ids = Int32Array.of(known + 2, 7, known, 12);
      tidy(() => {
        const whole = outputHead(decoder).toFloat32Array();
        const wanted = Array.from(ids).flatMap((id) => Array.from(whole.subarray(16 * id, 16 * id + 16)));
        expect(Array.from(headRows(decoder, ids).toFloat32Array())).toEqual(wanted);
      });
      disposeDecoder(decoder);
    }
  });

  it('are read without making the others', () => {
    const { decoder } = readyToTrain(padded(20_000, false), { ...form, lora: LoraConfig.parse({}) }, keywords);
    tidy(() => {
      const before = memoryStats().bytes;
      noGrad(() => headRows(decoder, Int32Array.of(5, known)));
      expect(memoryStats().bytes - before).toBeLessThan(10_000);
    });
    disposeDecoder(decoder);
  });
});
