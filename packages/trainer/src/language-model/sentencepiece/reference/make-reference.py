"""Reference ids of the Python library sentencepiece for tokenizer.test.ts beside this folder.

    python make-reference.py        (needs sentencepiece; made with sentencepiece 0.2.2)

Small models of both types, trained from texts.json, and ids.json: for each model the ids and the decoded text of every hard case.
The library's own map of characters, nmt_nfkc, is too large to store (240 KB): with LARR_PYTHON set, the test has live.py train models
with it and encode random text.
"""
import io
import json
import os

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "texts.json"), encoding="utf8") as f:
    given = json.load(f)
lines = [line for line in given["train"] for _ in range(3)]
# A map of its own: full-width letters and ligatures replaced, a zero-width space dropped, an ideographic space made a blank.
rules = {"\uff21": "A", "\uff22": "B", "\ufb01": "fi", "\u200b": "", "\u3000": " ", "\u00a0": " ", "e\u0301": "\u00e9", "\u2460": "1"}
tsv = os.path.join(here, "rules.tsv")
with open(tsv, "w") as f:
    for a, b in rules.items():
        f.write(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n")
common = dict(vocab_size=400, hard_vocab_limit=False, num_threads=1, minloglevel=2)
models = {
    # As Llama 2 and Baichuan 2 have it.
    "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
                split_digits=True, allow_whitespace_only_pieces=True, vocab_size=560, character_coverage=0.98),
    "bpe-symbols": dict(model_type="bpe", user_defined_symbols=["<sep>", "火锅", "12.50"], control_symbols=["<ctrl>"], pad_id=3,
                        add_dummy_prefix=False, normalization_rule_tsv=tsv),
    "unigram": dict(model_type="unigram", normalization_rule_tsv=tsv, character_coverage=0.98),
    "unigram-suffix": dict(model_type="unigram", treat_whitespace_as_suffix=True, byte_fallback=True, vocab_size=600,
                           normalization_rule_name="identity", user_defined_symbols=["<sep>", "soup"]),
}
out = {}
for name, options in models.items():
    blob = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=blob, **{**common, **options})
    model = pb.ModelProto()
    model.ParseFromString(blob.getvalue())
    model.trainer_spec.ClearField("input")
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    if name == "bpe":  # A piece that must fall apart again.
        longest = max((p for p in model.pieces if p.type == 1), key=lambda p: len(p.piece))
        longest.type = 5
    sp = spm.SentencePieceProcessor(model_proto=model.SerializeToString())
    ids = [sp.encode(text) for text in given["hard"]]
    out[name] = {"ids": ids, "decoded": [sp.decode(i) for i in ids]}
    with open(os.path.join(here, f"{name}.model"), "wb") as f:
        f.write(model.SerializeToString())
os.remove(tsv)
with open(os.path.join(here, "ids.json"), "w", encoding="utf8") as f:
    json.dump(out, f, ensure_ascii=False)
