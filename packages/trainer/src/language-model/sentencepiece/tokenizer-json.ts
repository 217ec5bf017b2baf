import { type AddedTokenJson, addedToken, type TokenizerJson } from '../tokenizer-training.js';
import type { SentencePieceModel } from './model-file.js';
import { BLANK, makeNormaliser } from './normalisation.js';
import { scoresOf } from './segmentation.js';

/** The begin and the end of a text, in every dialect of regular expressions. */
const BEGIN = '(?<![\\s\\S])';
const END = '(?![\\s\\S])';

/**
 * The model as a `tokenizer.json`, for programs that read no `tokenizer.model` of a tokenizer class of their own; null where none gives
 * the same ids: one of BPE with user-defined symbols and a dummy prefix, which would be put again behind each symbol, or with symbols that
 * the normaliser changes; or one whose blanks are no `▁`. Hugging Face's library gives the same ids with it, with these exceptions: control
 * symbols written out in a text become their ids there, the sign for a blank (U+2581) written out is not folded as blanks are, and pieces
 * marked unused are taken (unigram), or not used on the way to others (BPE); and unigram segmentations that tie but for the rounding of
 * their sums, f32 in `sentencepiece`, may fall the other way.
 * @param added special tokens with ids after the pieces @param special pieces that are special tokens too
 */
export function sentencePieceJson(
  model: SentencePieceModel,
  added: readonly string[],
  special: readonly string[],
): TokenizerJson | null {
  const { pieces, kind, byteFallback, unknownId, normaliser, whitespaceAsSuffix } = model;
  const { addDummyPrefix, removeExtraWhitespace, charactersMap, escapeWhitespace } = normaliser;
  const symbols = pieces.flatMap(({ text, type }) => (type === 'user-defined' ? [text] : []));
  if (!escapeWhitespace || symbols.some((symbol) => !passesUnchanged(model, symbol))) return null;
  if (kind === 'bpe' && symbols.length > 0 && addDummyPrefix) return null;
  const parting = (token: AddedTokenJson) => ({ ...token, rstrip: true });
  const own = pieces.flatMap(({ text, type }, id) => {
    if (special.includes(text)) return [parting(addedToken(id, text, true))];
    if (type === 'control' || type === 'unknown') return [addedToken(id, text)];
    // Looked for in the text as a whole, after it was normalised. Of unigram their scores see to it that they are taken.
    return type === 'user-defined' && kind === 'bpe'
      ? [{ ...addedToken(id, text), special: false, normalized: true }]
      : [];
  });
  const normalizers: object[] = [];
  if (charactersMap.length > 0) {
    normalizers.push({ type: 'Precompiled', precompiled_charsmap: Buffer.from(charactersMap).toString('base64') });
  }
  const replace = (Regex: string, content: string) => ({ type: 'Replace', pattern: { Regex }, content });
  // Of blanks no others than U+0020, which `Strip` does not keep to.
  if (removeExtraWhitespace)
    normalizers.push(replace(`${BEGIN} +`, ''), replace(` +${END}`, ''), replace(' {2,}', ' '));
  if (addDummyPrefix) {
    normalizers.push(whitespaceAsSuffix ? replace(`(?<=[\\s\\S])${END}`, BLANK) : { type: 'Prepend', prepend: BLANK });
  }
  normalizers.push({ type: 'Replace', pattern: { String: ' ' }, content: BLANK });
  const decoders: object[] = [
    { type: 'Replace', pattern: { String: BLANK }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ];
  if (addDummyPrefix) {
    decoders.push({
      type: 'Strip',
      content: ' ',
      ...(whitespaceAsSuffix ? { start: 0, stop: 1 } : { start: 1, stop: 0 }),
    });
  }
  const scores = scoresOf(model);
  const joinable = pieces.flatMap((piece, id) => (piece.type === 'normal' ? [{ ...piece, id }] : []));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...own, ...added.map((token, i) => parting(addedToken(pieces.length + i, token, true)))],
    normalizer: { type: 'Sequence', normalizers },
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Sequence', decoders },
    model:
      kind === 'unigram'
        ? {
            type: 'Unigram',
            unk_id: unknownId,
            vocab: pieces.map(({ text }, id): [string, number] => [text, scores[id]!]),
            byte_fallback: byteFallback,
          }
        : {
            type: 'BPE',
            dropout: null,
            unk_token: pieces[unknownId]!.text,
            continuing_subword_prefix: null,
            end_of_word_suffix: null,
            fuse_unk: true,
            byte_fallback: byteFallback,
            ignore_merges: false,
            vocab: Object.fromEntries(pieces.map(({ text }, id) => [text, id])),
            merges: mergesOf(joinable),
          },
  };
}

/** Whether a symbol is found in a normalised text as it is in the text: the normaliser would leave it alone if it were none. */
function passesUnchanged(model: SentencePieceModel, symbol: string): boolean {
  const plain = {
    ...model,
    pieces: [],
    normaliser: { ...model.normaliser, addDummyPrefix: false, removeExtraWhitespace: false },
  };
  return !/[\s\u2581]/.test(symbol) && makeNormaliser(plain)(symbol) === symbol;
}

/** Every way to make a piece of two others, in the order of the made pieces' scores. */
export function mergesOf(pieces: readonly { text: string; score: number; id: number }[]): [string, string][] {
  const ids = new Map(pieces.map(({ text, id }) => [text, id]));
  const merges: { left: string; right: string; score: number }[] = [];
  for (const { text, score } of pieces) {
    const characters = [...text];
    for (let cut = 1; cut < characters.length; cut++) {
      const left = characters.slice(0, cut).join('');
      const right = characters.slice(cut).join('');
      if (ids.has(left) && ids.has(right)) merges.push({ left, right, score });
    }
  }
  merges.sort(
    (a, b) => b.score - a.score || ids.get(a.left)! - ids.get(b.left)! || ids.get(a.right)! - ids.get(b.right)!,
  );
  return merges.map(({ left, right }) => [left, right]);
}
