"""Reference ids of Hugging Face's library in Rust for tokenizer-parts.test.ts: how it normalises and splits hard texts.

    python make-tokenizer-parts.py        (needs tokenizers; made with tokenizers 0.23.2)

Each case is a normalizer or a pre-tokenizer. All have one vocabulary, of every piece that any of them makes, so that an id says exactly
what was one piece.
"""
import json
import os

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers as pre

texts = ["活着的意义2 and café_3", "a b  c ", " it's 12.50, don't!", "\ufeffhello wo\ufeffrld \ufeff!", "x\u0085y\u2028z\u00a0w", "½ ² Ⅷ 34 ٣", "𠮷野家 麻辣",
         "ΟΔΟΣ Σ ǅ", "zero\u200dwidth\u200bjoin 👩\u200d👧", "e\u0301cole ÀÉ", "aab--a,b..", "\t tab\n", "$& price $1", "🍜", "soft\u00adhy\u0378"]
behaviours = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
parts = [pre.Whitespace(), pre.WhitespaceSplit(), pre.BertPreTokenizer(), pre.Digits(True), pre.Digits(False), pre.FixedLength(3),
         pre.ByteLevel(add_prefix_space=False), pre.ByteLevel(add_prefix_space=True), pre.Metaspace(), pre.Metaspace(prepend_scheme="first"),
         pre.Metaspace(split=False), pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=True)]),
         *(pre.Punctuation(b) for b in behaviours),
         *(pre.Split(p, b, invert=i) for b in behaviours for i in (False, True) for p in (" ", Regex(r"[aeiou]")))]
parts.append(pre.Split(Regex(r"(\p{N}{1,2})|(a|b)"), "removed"))
norms = [normalizers.Strip(), normalizers.Strip(left=False), normalizers.Strip(right=False), normalizers.Lowercase(), normalizers.BertNormalizer(),
         normalizers.BertNormalizer(lowercase=False, clean_text=False), normalizers.Replace("c", "$&")]


def tokenizer(part, vocab):
    made = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", ignore_merges=True))
    if part in parts:
        made.pre_tokenizer = part
    else:
        made.normalizer = part
    return made


def pieces(part, text):
    return [piece for piece, _ in part.pre_tokenize_str(text)] if part in parts else [part.normalize_str(text)]


vocab = {"<unk>": 0}
for part in parts + norms:
    for text in texts:
        for piece in pieces(part, text):
            vocab.setdefault(piece, len(vocab))
cases = []
for part in parts + norms:
    made = tokenizer(part, vocab)
    described = json.loads(made.to_str())
    cases.append({"normalizer": described["normalizer"], "pre_tokenizer": described["pre_tokenizer"],
                  "ids": [made.encode(text).ids for text in texts]})
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "tokenizer-parts.json"), "w", encoding="utf8") as f:
    json.dump({"texts": texts, "vocab": list(vocab), "cases": cases}, f, ensure_ascii=False)
