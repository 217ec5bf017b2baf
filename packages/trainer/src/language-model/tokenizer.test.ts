import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataError, wrapText } from '@larr/core';
import { describe, expect, it } from 'vitest';
import { loadTokenizer, Tokenizer, withSpecialTokens } from './tokenizer.js';
import { trainTokenizer } from './tokenizer-training.js';

const reference = join(import.meta.dirname, 'reference');
const given = JSON.parse(readFileSync(join(reference, 'tokenizer-texts.json'), 'utf8')) as {
  train: string[];
  special: string[];
  hard: string[];
};
const expected = JSON.parse(readFileSync(join(reference, 'tokenizer-ids.json'), 'utf8')) as {
  merges: [string, string][];
  ids: number[][];
};
const trained = trainTokenizer(given.train, 420);
const tokenizer = withSpecialTokens(new Tokenizer(trained), given.special);

describe('training a vocabulary', () => {
  it("learns the merges that Hugging Face's trainer learns", () => {
    expect(trained.model.merges).toEqual(expected.merges);
  });

  it('refuses an empty corpus', () => {
    expect(() => trainTokenizer(['', ''], 400)).toThrow(DataError);
  });

  it('stops where no pair repeats, below the size asked for', () => {
    const small = trainTokenizer(['abcdefg'], 1000);
    expect(small.model.merges).toEqual([]);
  });
});

describe('encoding', () => {
  it.each(given.hard.map((text, i) => [JSON.stringify(text), text, expected.ids[i]!] as const))(
    "gives the original library's ids for %s",
    (_, text, ids) => {
      expect(Array.from(tokenizer.encode(text))).toEqual(ids);
    },
  );

  it('brings every text back, but for the blanks before special tokens', () => {
    for (const text of given.hard.filter((hard) => !hard.includes('<')))
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('gives a wrapped keyword no token for the blanks around its text', () => {
    const name = tokenizer.encode('<poi_name> noodle soup </poi_name> <poi_menu> tea </poi_menu>');
    const inner = tokenizer.encode(' noodle soup').length + tokenizer.encode(' tea').length;
    expect(name.length).toBe(inner + 4);
  });

  it('of keywords one by one gives the ids of the wrapped text as a whole, cached or not', () => {
    const keywords = [
      { token: 'poi_name', text: '麻辣火锅 house' },
      { token: 'poi_menu', text: 'tea,  hot pot; 12.50' },
      { token: 'poi_name', text: '麻辣火锅 house' },
    ];
    const whole = Array.from(tokenizer.encode(wrapText(keywords)));
    expect(Array.from(tokenizer.encodeWrapped(keywords))).toEqual(whole);
    expect(Array.from(tokenizer.encodeWrapped(keywords))).toEqual(whole);
    expect(tokenizer.encodeWrapped([])).toHaveLength(0);
  });

  it('keeps ids of present tokens when special tokens are added, and adds none twice', () => {
    const more = withSpecialTokens(tokenizer, ['<poi_name>', '<scene_city>']);
    expect(more.vocabularySize).toBe(tokenizer.vocabularySize + 1);
    expect(more.tokenId('<poi_name>')).toBe(tokenizer.tokenId('<poi_name>'));
    expect(withSpecialTokens(more, ['<scene_city>'])).toBe(more);
  });

  it('makes a plain entry of the vocabulary special where it is a keyword’s token, under the id that it has', () => {
    // As it could be learnt from a corpus of marked-up text: "<tags>" is an entry like any other.
    const vocab = { ...trained.model.vocab };
    const id = trained.model.merges.length + 259;
    vocab['<tags>'] = id;
    const plain = new Tokenizer({ ...trained, model: { ...trained.model, vocab } });
    expect([plain.tokenId('<tags>'), plain.vocabularySize]).toEqual([id, id + 1]);
    const marked = withSpecialTokens(plain, ['<tags>', '</tags>']);
    expect([marked.tokenId('<tags>'), marked.tokenId('</tags>'), marked.vocabularySize]).toEqual([id, id + 1, id + 2]);
    const tea = Array.from(plain.encode(' tea'));
    expect(Array.from(plain.encode('<tags> tea'))).not.toContain(id);
    const again = new Tokenizer(JSON.parse(String(marked.files(64)['tokenizer.json'])));
    for (const by of [marked, again]) {
      expect(Array.from(by.encode('<tags> tea </tags>'))).toEqual([id, ...tea, id + 1]);
      expect(by.decode([id, ...tea, id + 1])).toBe(' tea');
    }
    expect(withSpecialTokens(again, ['<tags>', '</tags>'])).toBe(again);
  });

  it('takes special tokens of any script as one id each', () => {
    const tokens = ['<poi_店名>', '</poi_店名>', '<scene_Погода>', '<scene_déjà_vu>'];
    const more = withSpecialTokens(tokenizer, tokens);
    for (const token of tokens) expect(Array.from(more.encode(token))).toEqual([more.tokenId(token)]);
  });
});

/** Tokenizers of published models; they are not part of this repository. */
const published = join(import.meta.dirname, '../../../../../shared/data/models/tokenizers');
const { texts, special, ids } = JSON.parse(readFileSync(join(reference, 'published-ids.json'), 'utf8')) as {
  texts: string[];
  special: string[];
  ids: Record<string, number[][]>;
};

describe.each(Object.entries(ids))('the published tokenizer of %s', (name, expected) => {
  const directory = join(published, name);
  it.skipIf(!existsSync(directory))(
    "gives the original library's ids, with special tokens added, and again from a directory of ours",
    async () => {
      const loaded = withSpecialTokens(await loadTokenizer(directory), special);
      const copy = mkdtempSync(join(tmpdir(), 'larr-tokenizer-'));
      for (const [file, content] of Object.entries(loaded.files(4096))) writeFileSync(join(copy, file), content);
      for (const tokenizer of [loaded, await loadTokenizer(copy)]) {
        expect(texts.map((text) => Array.from(tokenizer.encode(text)))).toEqual(expected);
      }
      rmSync(copy, { recursive: true });
    },
    60_000,
  );
});
