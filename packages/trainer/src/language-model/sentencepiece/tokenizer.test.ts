import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadTokenizer, Tokenizer, withSpecialTokens } from '../tokenizer.js';
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
    // Without what its header names as exceptions.
    const texts = [...hard.filter((text) => !/<s>|▁/.test(text)), '<name> 麻辣火锅 </name> <name>soup</name>'];
    for (const name of ['bpe', 'unigram']) {
      const tokenizer = withSpecialTokens(new Tokenizer(load(name)), ['<name>', '</name>']);
      for (const [file, content] of Object.entries(tokenizer.files(64))) writeFileSync(join(directory, file), content);
      const script = `
import json, sys
from transformers import AutoTokenizer
t = AutoTokenizer.from_pretrained(sys.argv[1])
print(json.dumps([t(x, add_special_tokens=False)["input_ids"] for x in json.load(sys.stdin)]))`;
      const out = execFileSync(python!, ['-c', script, directory], {
        input: JSON.stringify(texts),
        encoding: 'utf8',
        stdio: ['pipe', 'pipe', 'ignore'],
      });
      (JSON.parse(out) as number[][]).forEach((ids, i) => {
        expect(ids, `${name}: ${JSON.stringify(texts[i])}`).toEqual(Array.from(tokenizer.encode(texts[i]!)));
      });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
