import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDataset, readSafetensors } from '@larr/core';
import { setNumThreads } from '@larr/torch';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeToyDataset } from '../../../test/toy-dataset.js';
import { GraphWriter } from '../../exporting/onnx/graph.js';
import { draws } from '../../language-model/draws.js';
import { principalAxes } from '../eigen.js';
import { loadPoiIndex, recall } from '../recall.js';
import { embedDataset } from '../vectors.js';
import { checkVectors } from '../vectors-manifest.js';
import { readProjected } from './projection.js';
import { loadSentenceEncoder, plainText } from './sentence-encoder.js';

const WIDTH = 24;
/** The toy dataset's dishes and what is said of them: here each pair of words has one meaning, as a trained encoder would have it. */
const MEANINGS = [
  ['noodles', 'long'],
  ['dumplings', 'wrapped'],
  ['curry', 'golden'],
  ['sushi', 'raw'],
  ['pizza', 'round'],
  ['congee', 'mild'],
  ['kebab', 'smoky'],
  ['tacos', 'folded'],
  ['salad', 'green'],
  ['pancakes', 'sweet'],
  ['hotpot', 'bubbling'],
  ['ramen', 'salty'],
];
const SPECIAL = ['[PAD]', '[UNK]', '[CLS]', '[SEP]'];
const words = [...SPECIAL, ...MEANINGS.flat(), 'weather', 'rain', 'sun', ':', ',', ';'];

/** A sentence encoder of one table: a token's state is its word's row. */
function writeEncoder(directory: string, files: Record<string, unknown> = {}, output = 'last_hidden_state'): void {
  const next = draws(3, 'words');
  const normal = () => next() + next() + next() - 1.5;
  const rows = new Map<string, number[]>();
  for (const meaning of MEANINGS) {
    const row = Array.from({ length: WIDTH }, normal);
    for (const word of meaning) rows.set(word, row);
  }
  const table = Float32Array.from(
    words.flatMap((word) => rows.get(word) ?? Array.from({ length: WIDTH }, () => 0.05 * normal())),
  );
  const graph = new GraphWriter();
  const ids = graph.input('input_ids', 'i64', ['rows', 'tokens']);
  const mask = graph.input('attention_mask', 'i64', ['rows', 'tokens']);
  const states = graph.gather(graph.weight('table', table, [words.length, WIDTH]), ids);
  // Padding made loud: whoever pools it notices.
  const loud = graph.mul(graph.sub(graph.number(1), graph.unsqueeze(graph.cast(mask, 'f32'), 2)), graph.number(100));
  const padded = graph.add(states, loud);
  if (output === 'sentence_embedding') graph.output(output, graph.sum(states, 1), ['rows', WIDTH]);
  else graph.output(output, padded, ['rows', 'tokens', WIDTH]);
  mkdirSync(join(directory, '1_Pooling'), { recursive: true });
  writeFileSync(join(directory, 'model.onnx'), graph.encode('encoder'));
  const added = SPECIAL.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  }));
  const all: Record<string, unknown> = {
    'tokenizer.json': {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: {
        type: 'BertNormalizer',
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: null,
        lowercase: true,
      },
      pre_tokenizer: { type: 'BertPreTokenizer' },
      post_processor: {
        type: 'TemplateProcessing',
        single: [
          { SpecialToken: { id: '[CLS]', type_id: 0 } },
          { Sequence: { id: 'A', type_id: 0 } },
          { SpecialToken: { id: '[SEP]', type_id: 0 } },
        ],
        pair: [],
        special_tokens: {
          '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
          '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
        },
      },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
      model: {
        type: 'WordPiece',
        unk_token: '[UNK]',
        continuing_subword_prefix: '##',
        max_input_chars_per_word: 100,
        vocab: Object.fromEntries(words.map((word, id) => [word, id])),
      },
    },
    '1_Pooling/config.json': {
      word_embedding_dimension: WIDTH,
      pooling_mode_mean_tokens: true,
      pooling_mode_cls_token: false,
    },
    'modules.json': [
      { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
      { idx: 1, name: '1', path: '1_Pooling', type: 'sentence_transformers.models.Pooling' },
    ],
    ...files,
  };
  for (const [name, content] of Object.entries(all))
    if (content !== null)
      writeFileSync(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
}

let root: string;
let encoder: string;
beforeAll(() => {
  setNumThreads(1);
  root = mkdtempSync(join(tmpdir(), 'larr-encoder-'));
  encoder = join(root, 'encoder');
  writeEncoder(encoder);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const rowOf = async (directory: string, word: string): Promise<Float32Array> => {
  const one = await loadSentenceEncoder(directory);
  const row = await one.encode([Int32Array.of(words.indexOf(word))]);
  await one.dispose();
  return row;
};
const close = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) expect(a[i]!).toBeCloseTo(b[i]!, 5);
};
const variant = (name: string, files: Record<string, unknown>, output?: string) => {
  const directory = join(root, name);
  writeEncoder(directory, files, output);
  return directory;
};

describe('a sentence encoder', () => {
  it('puts its template around a text, and pools real tokens only', async () => {
    const one = await loadSentenceEncoder(encoder);
    const { ids } = one.tokens('Pizza, Sushi');
    expect(Array.from(ids, (id) => words[id])).toEqual(['[CLS]', 'pizza', ',', 'sushi', '[SEP]']);
    const rain = one.tokens('rain').ids;
    const both = await one.encode([ids, rain]);
    close(both.subarray(0, WIDTH), await one.encode([ids]));
    close(both.subarray(WIDTH), await one.encode([rain]));
    await one.dispose();
  });

  it.each([
    ['cls', { pooling_mode_cls_token: true }, (rows: Float32Array[]) => rows[0]!],
    ['lasttoken', { pooling_mode: 'lasttoken' }, (rows: Float32Array[]) => rows[2]!],
    [
      'max',
      { pooling_mode_max_tokens: true },
      (rows: Float32Array[]) => rows[0]!.map((x, i) => Math.max(x, rows[1]![i]!, rows[2]![i]!)),
    ],
    [
      'mean',
      { pooling_mode: 'mean' },
      (rows: Float32Array[]) => rows[0]!.map((x, i) => (x + rows[1]![i]! + rows[2]![i]!) / 3),
    ],
    [
      'sqrt',
      { pooling_mode_mean_sqrt_len_tokens: true },
      (rows: Float32Array[]) => rows[0]!.map((x, i) => (x + rows[1]![i]! + rows[2]![i]!) / Math.sqrt(3)),
    ],
  ])('pools as its configuration says: %s', async (name, config, of) => {
    const directory = variant(`pool-${name}`, { '1_Pooling/config.json': config });
    const one = await loadSentenceEncoder(directory);
    const rows = await Promise.all(['[CLS]', 'rain', '[SEP]'].map((word) => rowOf(directory, word)));
    // The longer neighbour pads it.
    const both = await one.encode([one.tokens('rain').ids, one.tokens('rain sun rain').ids]);
    close(both.subarray(0, WIDTH), of(rows));
    await one.dispose();
  });

  it('is normalised where it says so or says nothing, and its own sentence vectors are taken where it gives them', async () => {
    const length = async (directory: string) => {
      const one = await loadSentenceEncoder(directory);
      const vector = await one.encode([one.tokens('pizza').ids]);
      await one.dispose();
      return Math.hypot(...vector);
    };
    expect(await length(encoder)).not.toBeCloseTo(1, 3);
    const bare = variant('bare', {});
    rmSync(join(bare, 'modules.json'));
    expect(await length(bare)).toBeCloseTo(1, 5);
    expect(await length(variant('own', {}, 'sentence_embedding'))).not.toBeCloseTo(1, 3);
  });

  it('cuts a text at its longest, and keeps what the template puts at the end', async () => {
    const one = await loadSentenceEncoder(variant('short', { 'sentence_bert_config.json': { max_seq_length: 4 } }));
    const { ids, truncated } = one.tokens('pizza sushi ramen tacos');
    expect(Array.from(ids, (id) => words[id])).toEqual(['[CLS]', 'pizza', 'sushi', '[SEP]']);
    expect(truncated).toBe(true);
    await one.dispose();
  });

  it('is given keywords in words', () => {
    const keywords = [
      { token: 'poi_main_dishes', text: 'noodles' },
      { token: 'scene_weather', text: 'rain' },
    ];
    expect(plainText(keywords)).toBe('main dishes: noodles; weather: rain');
  });

  it.each([
    ['without a graph', { 'model.onnx': null }, 'MISSING_FILE', /model\.onnx/],
    ['without a tokenizer', { 'tokenizer.json': null }, 'MISSING_FILE', /tokenizer\.json/],
    ['with a graph that is none', { 'model.onnx': 'no graph' }, 'BAD_ENCODER', /model\.onnx cannot be loaded/],
    ['with a tokenizer that is none', { 'tokenizer.json': '{"model"' }, 'BAD_TOKENIZER', /tokenizer\.json/],
    [
      'with two poolings',
      { '1_Pooling/config.json': { pooling_mode_cls_token: true, pooling_mode_mean_tokens: true } },
      'BAD_ENCODER',
      /1_Pooling\/config\.json: pooling .* with .* is not supported/,
    ],
    [
      'with a layer of its own',
      { 'modules.json': [{ type: 'sentence_transformers.models.Dense', path: '2_Dense' }] },
      'BAD_ENCODER',
      /modules\.json.*Dense/,
    ],
    ['with damaged settings', { 'modules.json': '[{]' }, 'BAD_ENCODER', /modules\.json is not JSON/],
  ] as const)('%s is refused by name', async (what, files, code, message) => {
    const directory = variant(`bad ${what}`, files);
    for (const [name, content] of Object.entries(files))
      if (content === null) rmSync(join(directory, name), { force: true });
    await expect(loadSentenceEncoder(directory)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});

describe('vectors of a sentence encoder', () => {
  let dataset: string;
  let vectors: string;
  const config = { heldOutPois: 30, heldOutUsers: 5, gate: { poiPoiRecallAt10: 0.6, withinCityAuc: 0 } };
  const embed = (output: string, change: object = {}) =>
    embedDataset({ dataset, model: { encoder }, output, config, ...change });
  beforeAll(async () => {
    dataset = join(root, 'data');
    vectors = join(root, 'vectors');
    await makeToyDataset(dataset);
  });

  it('take the place of stages 1 and 2: judged by the gate, whole for stage 3, and not made again', async () => {
    const first = await embed(vectors);
    expect(first.pois).toEqual({ vectors: 90, computed: 90 });
    expect(first.gate!.verdict).toBe('passed');
    const findings = JSON.parse(readFileSync(join(vectors, 'gate.json'), 'utf8'));
    expect(findings.after.poiPoi.recallAt10).toBeGreaterThan(0.75);
    expect(findings.checks.map(({ name, verdict }: { name: string; verdict: string }) => [name, verdict])).toEqual([
      ['poiPoiRecallAt10', 'passed'],
      ['withinCityAuc', 'passed'],
      ['probe', 'not judged'],
    ]);
    const { dimension, finetuned } = await checkVectors(vectors, await openDataset(dataset));
    expect([dimension, finetuned]).toEqual([WIDTH, null]);
    const bytes = readFileSync(join(vectors, 'pois.safetensors'));
    const second = await embed(vectors);
    expect([second.scene.computed, second.pois.computed]).toEqual([0, 0]);
    expect(second.gate).toMatchObject({ verdict: 'passed' });
    expect(readFileSync(join(vectors, 'pois.safetensors')).equals(bytes)).toBe(true);
  });

  it('are centred and white over the POIs, by a projection that the seed decides', async () => {
    const { tensors } = await readSafetensors(join(vectors, 'pois.safetensors'));
    const data = tensors.embeddings!.data as Float32Array;
    const n = data.length / WIDTH;
    const moment = (i: number, j: number) => {
      let sum = 0;
      for (let row = 0; row < n; row++) sum += (data[row * WIDTH + i]! * (j < 0 ? 1 : data[row * WIDTH + j]!)) / n;
      return sum;
    };
    for (let i = 0; i < 8; i++) {
      expect(moment(i, -1)).toBeCloseTo(0, 3);
      expect(moment(i, i)).toBeCloseTo(1, 2);
      expect(moment(i, (i + 3) % WIDTH)).toBeCloseTo(0, 2);
    }
    const again = join(root, 'again');
    await embed(again);
    expect(readFileSync(join(again, 'pois.safetensors')).equals(readFileSync(join(vectors, 'pois.safetensors')))).toBe(
      true,
    );
  });

  it('are found by a text, by the encoder that made them and no other', async () => {
    const one = await loadSentenceEncoder(encoder);
    const { embedder } = await readProjected(one, vectors);
    const index = await loadPoiIndex(vectors);
    const texts = await (await openDataset(dataset)).poiTexts();
    const hits = await recall(embedder, index, { text: 'something raw and bubbling' }, 5);
    const menus = hits.map(({ poi }) => texts[poi]!.find(({ keyword }) => keyword === 'menu')!.text);
    expect(menus.filter((menu) => /sushi|hotpot/.test(menu)).length).toBeGreaterThanOrEqual(4);
    embedder.dispose();
    const other = join(root, 'other');
    cpSync(encoder, other, { recursive: true });
    writeEncoder(other, { '1_Pooling/config.json': { pooling_mode_cls_token: true } });
    const stranger = await loadSentenceEncoder(other);
    await expect(readProjected(stranger, vectors)).rejects.toMatchObject({ code: 'VECTORS_MISMATCH' });
    await stranger.dispose();
  });

  it('of another encoder are all made anew', async () => {
    const output = join(root, 'changed');
    cpSync(vectors, output, { recursive: true });
    const other = variant('changed-encoder', { '1_Pooling/config.json': { pooling_mode_max_tokens: true } });
    const { pois } = await embed(output, { model: { encoder: other } });
    expect(pois.computed).toBe(90);
    expect(existsSync(join(output, 'vectors.json'))).toBe(true);
  });
});

describe('principal axes', () => {
  it('are the eigenvectors of the greatest eigenvalues', () => {
    const n = 300;
    const next = draws(1, 'matrix');
    const rows = Float64Array.from({ length: 200 * n }, (_, i) => (next() - 0.5) * 0.9 ** (i % n));
    const matrix = new Float64Array(n * n);
    for (let r = 0; r < 200; r++)
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) matrix[i * n + j]! += rows[r * n + i]! * rows[r * n + j]!;
    const { values, vectors } = principalAxes(matrix, n, 10);
    for (let a = 0; a < 10; a++) {
      const v = vectors.subarray(a * n, (a + 1) * n);
      if (a > 0) expect(values[a]!).toBeLessThanOrEqual(values[a - 1]!);
      expect(Math.hypot(...v)).toBeCloseTo(1, 8);
      for (let i = 0; i < n; i++) {
        let image = 0;
        for (let j = 0; j < n; j++) image += matrix[i * n + j]! * v[j]!;
        expect(image).toBeCloseTo(values[a]! * v[i]!, 5);
      }
    }
    // No other direction has more of the matrix than the eleventh would.
    const trace = Array.from({ length: n }, (_, i) => matrix[i * n + i]!).reduce((a, b) => a + b);
    expect(values.reduce((a, b) => a + b)).toBeGreaterThan(0.8 * trace);
  });
});
