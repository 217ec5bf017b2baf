"""Trains models with the library's own nmt_nfkc map and encodes random text: python live.py OUT; the test compares (LARR_PYTHON)."""
import io
import json
import os
import random
import sys

import sentencepiece as spm

here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "texts.json"), encoding="utf8") as f:
    given = json.load(f)
draw = random.Random(5)
words = [w for line in given["train"] for w in line.split()]
blocks = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x1E00, 0x1F00), (0x2000, 0x2070), (0x2100, 0x2190), (0x2460, 0x2500),
          (0x3000, 0x30FF), (0x3200, 0x3400), (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xF900, 0xFB00), (0xFB00, 0xFE00), (0xFF00, 0xFFEF),
          (0x1F300, 0x1F650), (0x600, 0x700), (0x1100, 0x1200)]


def text():
    parts = []
    for _ in range(draw.randint(1, 12)):
        if draw.random() < 0.5:
            parts.append(draw.choice(words))
        else:
            a, b = draw.choice(blocks)
            parts.append("".join(chr(draw.randrange(a, b)) for _ in range(draw.randint(1, 4))))
        parts.append(draw.choice(["", " ", " ", "  ", "\u3000"]))
    return "".join(parts)


texts = given["hard"] + [text() for _ in range(2000)]
out = {"texts": texts, "ids": {}}
for name, options in {"nfkc-unigram": dict(model_type="unigram"), "nfkc-bpe": dict(model_type="bpe", byte_fallback=True, vocab_size=600),
                      "cf-unigram": dict(model_type="unigram", normalization_rule_name="nmt_nfkc_cf", add_dummy_prefix=False)}.items():
    blob = io.BytesIO()
    spm.SentencePieceTrainer.train(sentence_iterator=iter([t for t in given["train"] for _ in range(3)]), model_writer=blob,
                                   **{**dict(vocab_size=400, hard_vocab_limit=False, num_threads=1, minloglevel=2), **options})
    with open(os.path.join(sys.argv[1], f"{name}.model"), "wb") as f:
        f.write(blob.getvalue())
    sp = spm.SentencePieceProcessor(model_proto=blob.getvalue())
    out["ids"][name] = [sp.encode(t) for t in texts]
with open(os.path.join(sys.argv[1], "live.json"), "w", encoding="utf8") as f:
    json.dump(out, f)
