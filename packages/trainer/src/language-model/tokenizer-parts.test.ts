import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { JsonTokenizer } from './json-tokenizer.js';
import { trainTokenizer } from './tokenizer-training.js';

interface Reference {
  texts: string[];
  vocab: string[];
  cases: { normalizer: object | null; pre_tokenizer: object | null; ids: number[][] }[];
}
const { texts, vocab, cases } = JSON.parse(
  readFileSync(join(import.meta.dirname, 'reference/tokenizer-parts.json'), 'utf8'),
) as Reference;
const trained = trainTokenizer(['tea and more tea'], 300);
const withParts = (normalizer: unknown, pre_tokenizer: unknown) =>
  new JsonTokenizer({
    ...trained,
    added_tokens: [],
    normalizer,
    pre_tokenizer,
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(vocab.map((piece, id) => [piece, id])),
      merges: [],
      unk_token: '<unk>',
      ignore_merges: true,
    },
  });

describe('text is normalised and split as by the library in Rust', () => {
  it.each(cases.map((one) => [JSON.stringify(one.pre_tokenizer ?? one.normalizer), one] as const))(
    'under %s',
    (_, { normalizer, pre_tokenizer, ids }) => {
      const tokenizer = withParts(normalizer, pre_tokenizer);
      expect(texts.map((text) => tokenizer.encode(text))).toEqual(ids);
    },
  );
});

describe('what is not read is told by its name', () => {
  const refusal = (normalizer: object | null, pre_tokenizer: object | null, decoder: object | null = null): string => {
    try {
      new JsonTokenizer({ ...trained, normalizer, pre_tokenizer, decoder });
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  it.each([
    [
      /the pre-tokenizer CharDelimiterSplit, a part that is not read/,
      null,
      { type: 'CharDelimiterSplit', delimiter: ',' },
    ],
    [/the pre-tokenizer UnicodeScripts, /, null, { type: 'Sequence', pretokenizers: [{ type: 'UnicodeScripts' }] }],
    [/the normalizer Nmt, /, { type: 'Sequence', normalizers: [{ type: 'Nmt' }, { type: 'NFKC' }] }, null],
    [
      /Metaspace with prepend_scheme "first" after another/,
      null,
      {
        type: 'Sequence',
        pretokenizers: [
          { type: 'WhitespaceSplit' },
          { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true },
        ],
      },
    ],
  ] as const)('%s', (told, normalizer, preTokenizer) => {
    expect(refusal(normalizer, preTokenizer)).toMatch(told);
    expect(refusal(normalizer, preTokenizer)).not.toMatch(/Hugging Face tokenizers wrote/);
  });

  it('a decoder too, which the library itself does not know', () => {
    expect(refusal(null, null, { type: 'Unheard' })).toMatch(/has Decoder Unheard, a part that is not read here/);
  });
});
