import { addedToken, type TokenizerJson } from '../tokenizer-training.js';
import type { SentencePieceModel } from './model-file.js';
import { BLANK } from './normalisation.js';

/**
 * The model as a `tokenizer.json`, for programs that read no `tokenizer.model` of a tokenizer class of their own. Hugging Face's
 * library gives the same ids with it, with these exceptions: control symbols written out in a text become their ids there, the sign
 * for a blank (U+2581) written out is not folded as blanks are, and no piece is made by way of one that is unused.
 */
export function sentencePieceJson(model: SentencePieceModel, added: readonly string[]): TokenizerJson {
  const { pieces, kind, byteFallback, unknownId, normaliser } = model;
  const { addDummyPrefix, removeExtraWhitespace, charactersMap } = normaliser;
  const own = pieces.flatMap(({ text, type }, id) => {
    if (type === 'control' || type === 'unknown') return [addedToken(id, text)];
    return type === 'user-defined' ? [{ ...addedToken(id, text), special: false }] : [];
  });
  const normalizers: object[] = [];
  if (charactersMap.length > 0) {
    normalizers.push({ type: 'Precompiled', precompiled_charsmap: Buffer.from(charactersMap).toString('base64') });
  }
  if (removeExtraWhitespace) {
    normalizers.push(
      { type: 'Strip', strip_left: true, strip_right: true },
      { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
    );
  }
  if (addDummyPrefix) normalizers.push({ type: 'Prepend', prepend: BLANK });
  normalizers.push({ type: 'Replace', pattern: { String: ' ' }, content: BLANK });
  const decoders: object[] = [
    { type: 'Replace', pattern: { String: BLANK }, content: ' ' },
    { type: 'ByteFallback' },
    { type: 'Fuse' },
  ];
  if (addDummyPrefix) decoders.push({ type: 'Strip', content: ' ', start: 1, stop: 0 });
  const joinable = pieces.flatMap((piece, id) => (piece.type === 'normal' ? [{ ...piece, id }] : []));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      ...own,
      ...added.map((token, i) => ({ ...addedToken(pieces.length + i, token, true), rstrip: true })),
    ],
    normalizer: { type: 'Sequence', normalizers },
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: 'Sequence', decoders },
    model:
      kind === 'unigram'
        ? {
            type: 'Unigram',
            unk_id: unknownId,
            vocab: pieces.map(({ text, score }): [string, number] => [text, score]),
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
