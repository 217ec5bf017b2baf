import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { JsonTokenizer } from '../json-tokenizer.js';
import { loadTokenizer, Tokenizer, withSpecialTokens } from '../tokenizer.js';
import type { TokenizerJson } from '../tokenizer-training.js';
import type { SentencePieceModel } from './model-file.js';
import { SentencePieceTokenizer } from './tokenizer.js';

const reference = join(import.meta.dirname, 'reference');
const read = (file: string) => readFileSync(join(reference, file));
const { hard } = JSON.parse(read('texts.json').toString()) as { hard: string[] };
const expected = JSON.parse(read('ids.json').toString()) as Record<string, { ids: number[][]; decoded: string[] }>;

describe.each(Object.entries(expected))('%s', (name, { ids, decoded }) => {
  const tokenizer = load(name);
  it.each(hard.map((text, i) => [JSON.stringify(text), text, ids[i]!, decoded[i]!] as const))(
    "gives the Python library's ids and text for %s",
    (_, text, ids, decoded) => {
      expect(tokenizer.encode(text)).toEqual(ids);
      expect(tokenizer.decode(ids, false)).toBe(decoded);
    },
  );
});

it("gives the Python library's ids where segmentations tie but for the rounding of their sums", () => {
  const { texts, ids } = JSON.parse(read('ties.json').toString()) as { texts: string[]; ids: number[][] };
  const tokenizer = load('unigram-ties');
  expect(texts.map((text) => tokenizer.encode(text))).toEqual(ids);
});

const load = (name: string) => new SentencePieceTokenizer(read(`${name}.model`), `${name}.model`);

describe('special tokens', () => {
  it.each(['bpe', 'unigram'])('cut a text, and swallow the blanks beside them (%s)', (name) => {
    const plain = load(name);
    const tokenizer = withSpecialTokens(new Tokenizer(plain), ['<name>', '</name>', '<name>']);
    const size = plain.vocabularySize;
    expect(tokenizer.vocabularySize).toBe(size + 2);
    const ids = [size, ...plain.encode('hot soup'), size + 1, ...plain.encode('rice')];
    expect(Array.from(tokenizer.encode('<name> hot soup </name> rice'))).toEqual(ids);
    expect(Array.from(tokenizer.encode('hot soup'))).toEqual(plain.encode('hot soup'));
    expect(tokenizer.decode(ids, { special: true })).toContain('hot soup</name>');
    // A token that begins another one does not hide it.
    const nested = withSpecialTokens(tokenizer, ['<name>x']);
    expect(Array.from(nested.encode('<name>x<name>'))).toEqual([size + 2, size]);
  });

  it('are kept in a directory that is read back with the same ids, control tokens from the model', async () => {
    const tokenizer = withSpecialTokens(new Tokenizer(load('bpe-symbols')), ['<name>', '</name>']);
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId]).toEqual([1, 2, 3]);
    const directory = mkdtempSync(join(tmpdir(), 'larr-sentencepiece-'));
    for (const [file, content] of Object.entries(tokenizer.files(64))) writeFileSync(join(directory, file), content);
    const again = await loadTokenizer(directory);
    for (const text of [...hard, '<name> 麻辣火锅 </name> soup'])
      expect(again.encode(text)).toEqual(tokenizer.encode(text));
    expect(again.files(64)).toEqual(tokenizer.files(64));
    rmSync(directory, { recursive: true });
  });

  it('of a published directory are read from its settings, and must follow the model’s pieces', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'larr-sentencepiece-'));
    writeFileSync(join(directory, 'tokenizer.model'), read('bpe.model'));
    const size = load('bpe').vocabularySize;
    const listed = (ids: number[]) => {
      const added_tokens_decoder = Object.fromEntries(ids.map((id) => [id, { content: `<extra_${id}>` }]));
      writeFileSync(join(directory, 'tokenizer_config.json'), JSON.stringify({ added_tokens_decoder }));
      return loadTokenizer(directory);
    };
    expect((await listed([1, size, size + 1])).tokenId(`<extra_${size + 1}>`)).toBe(size + 1);
    await expect(listed([size + 1])).rejects.toMatchObject({
      code: 'BAD_TOKENIZER',
      message: expect.stringContaining(`none for ${size}`),
    });
    rmSync(directory, { recursive: true });
  });
});

describe('a damaged tokenizer.model', () => {
  it.each([
    ['no protobuf', Buffer.from('this is no protobuf at all'), /is not a (whole )?SentencePiece model/],
    ['cut short', read('bpe.model').subarray(0, 4000), /is not a (whole )?SentencePiece model/],
    ['empty', Buffer.alloc(0), /has no pieces/],
  ])('(%s) is refused by name', (_, bytes, message) => {
    expect(() => new SentencePieceTokenizer(bytes, 'dir/tokenizer.model')).toThrow(
      expect.objectContaining({ code: 'BAD_TOKENIZER', message: expect.stringMatching(message) }),
    );
    expect(() => new SentencePieceTokenizer(bytes, 'dir/tokenizer.model')).toThrow(/^dir\/tokenizer\.model/);
  });
});

/** What is encoded by tokenizer.json: without what its header names as exceptions, with blanks that only some models fold. */
const jsonTexts = [
  ...hard.filter((text) => !/<s>|▁/.test(text)),
  '<name> 麻辣火锅 </name> <name>soup</name>',
  '\thot soup\n',
  '\u3000hot  soup\u00a0',
  '  hot   soup  ',
  '   ',
  'a<sep> soup12.50  soup</name>b 火锅火锅',
];

describe('the tokenizer.json beside a tokenizer.model', () => {
  it.each(Object.keys(expected))('gives the same ids (%s)', (name) => {
    const tokenizer = withSpecialTokens(new Tokenizer(load(name)), ['<name>', '</name>']);
    const json = JSON.parse(String(tokenizer.files(64)['tokenizer.json'])) as TokenizerJson;
    const by = new JsonTokenizer(json);
    const { pieces } = load(name).model;
    // The library here knows no byte fallback in unigram and no map of characters but nmt_nfkc; transformers is asked about all below.
    const spelt = jsonTexts.filter((text) => {
      const ids = Array.from(tokenizer.encode(text));
      return (
        ids.length > 0 &&
        !text.includes('\u200b') &&
        ids.every((id) => !['byte', 'unknown'].includes(pieces[id]?.type ?? ''))
      );
    });
    expect(spelt.length).toBeGreaterThan(5);
    for (const text of spelt) expect(by.encode(text), JSON.stringify(text)).toEqual(Array.from(tokenizer.encode(text)));
  });

  it('is left out where none could give them', () => {
    const without = (name: string, change: (model: SentencePieceModel) => void) => {
      const engine = load(name);
      expect(Object.keys(engine.files().contents)).toContain('tokenizer.json');
      change(engine.model);
      return Object.keys(engine.files().contents);
    };
    const symbols = ({ pieces }: SentencePieceModel) => pieces.filter(({ type }) => type === 'user-defined');
    const changes: [string, (model: SentencePieceModel) => void][] = [
      // The prefix would stand again behind each symbol.
      ['bpe-symbols', ({ normaliser }) => Object.assign(normaliser, { addDummyPrefix: true })],
      // Symbols that the normaliser would fold or replace.
      ['unigram-suffix', (model) => Object.assign(symbols(model)[0]!, { text: '  ' })],
      ['bpe-symbols', (model) => Object.assign(symbols(model)[0]!, { text: 'ﬁ' })],
      ['bpe', ({ normaliser }) => Object.assign(normaliser, { escapeWhitespace: false })],
    ];
    for (const [name, change] of changes) expect(without(name, change)).toEqual(['tokenizer.model']);
  });
});

describe('a keyword token that is a piece of the model', () => {
  it.each([
    ['bpe', 'normal'],
    ['unigram-suffix', 'user-defined'],
  ])('keeps its id and parts the text, in a directory of ours too (%s)', async (name, kind) => {
    const engine = load(name);
    const { text: token } = engine.model.pieces.find(
      ({ type, text }) => type === kind && /^[a-z<>]{3,}$/.test(text) && !'hot rice <name>'.includes(text),
    )!;
    const id = engine.tokenId(token)!;
    const tokenizer = withSpecialTokens(new Tokenizer(engine), [token, '<name>']);
    expect([tokenizer.tokenId(token), tokenizer.vocabularySize]).toEqual([id, engine.vocabularySize + 1]);
    const directory = mkdtempSync(join(tmpdir(), 'larr-sentencepiece-'));
    for (const [file, content] of Object.entries(tokenizer.files(64))) writeFileSync(join(directory, file), content);
    const texts = [`${token} rice`, `hot ${token} rice${token}<name>`];
    const json = new JsonTokenizer(
      JSON.parse(readFileSync(join(directory, 'tokenizer.json'), 'utf8')) as TokenizerJson,
    );
    for (const by of [tokenizer, await loadTokenizer(directory), json]) {
      expect(texts.map((text) => Array.from(by.encode(text)))).toEqual([
        [id, ...engine.encode('rice')],
        [...engine.encode('hot'), id, ...engine.encode('rice'), id, engine.vocabularySize],
      ]);
    }
    expect(tokenizer.decode([id])).toBe('');
    expect(tokenizer.decode([id], { special: true })).toBe(token);
    rmSync(directory, { recursive: true });
  });
});

const python = process.env.LARR_PYTHON;
it.skipIf(!python)("gives the Python library's ids for random text under its own maps of characters", () => {
  const scratch = mkdtempSync(join(tmpdir(), 'larr-sentencepiece-'));
  try {
    execFileSync(python!, [join(reference, 'live.py'), scratch], { stdio: ['ignore', 'ignore', 'inherit'] });
    const { texts, ids } = JSON.parse(readFileSync(join(scratch, 'live.json'), 'utf8')) as {
      texts: string[];
      ids: Record<string, number[][]>;
    };
    for (const [name, all] of Object.entries(ids)) {
      expect(all).toHaveLength(texts.length);
      const tokenizer = new SentencePieceTokenizer(readFileSync(join(scratch, `${name}.model`)), name);
      texts.forEach((text, i) => {
        expect(tokenizer.encode(text), `${name}: ${JSON.stringify(text)}`).toEqual(all[i]);
      });
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

it.skipIf(!python)('gives transformers a tokenizer.json with the same ids', () => {
  const directory = mkdtempSync(join(tmpdir(), 'larr-sentencepiece-'));
  try {
    for (const name of Object.keys(expected)) {
      const tokenizer = withSpecialTokens(new Tokenizer(load(name)), ['<name>', '</name>']);
      for (const [file, content] of Object.entries(tokenizer.files(64))) writeFileSync(join(directory, file), content);
      const script = `
import json, sys
from transformers import AutoTokenizer
t = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps([t(x, add_special_tokens=False)["input_ids"] for x in json.load(sys.stdin)]))`;
      const out = execFileSync(python!, ['-c', script, directory], {
        input: JSON.stringify(jsonTexts),
        encoding: 'utf8',
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      (JSON.parse(out) as number[][]).forEach((ids, i) => {
        expect(ids, `${name}: ${JSON.stringify(jsonTexts[i])}`).toEqual(Array.from(tokenizer.encode(jsonTexts[i]!)));
      });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
