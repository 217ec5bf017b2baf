"""Reference ids of the Python library sentencepiece where segmentations tie, for tokenizer.test.ts beside this folder.

    python make-ties.py        (needs sentencepiece; made with sentencepiece 0.2.2)

A unigram model of digits, whose pairs have scores close to the sums of their digits': which segmentation wins is then a matter of how
sums are rounded. Two user-defined symbols overlap with themselves.
"""
import json
import os
import random

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

here = os.path.dirname(os.path.abspath(__file__))
draw = random.Random(3)
model = pb.ModelProto()
with open(os.path.join(here, "unigram.model"), "rb") as f:
    model.ParseFromString(f.read())
del model.pieces[:]


def add(text, score, kind):
    piece = model.pieces.add()
    piece.piece, piece.score, piece.type = text, score, kind


for text, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3), ("00", 4), ("111", 4)):
    add(text, 0, kind)
add("\u2581", -2.5, 1)
scores = [-3 - draw.random() * 6 for _ in range(10)]
for digit, score in enumerate(scores):
    add(str(digit), score, 1)
for pair in range(100):
    if pair != 0:
        add(f"{pair:02d}", scores[pair // 10] + scores[pair % 10], 1)
sp = spm.SentencePieceProcessor(model_proto=model.SerializeToString())
texts = ["0000", "000", "111111", "11110"] + ["".join(draw.choice("0123456789") for _ in range(draw.randint(3, 9))) for _ in range(150)]
with open(os.path.join(here, "unigram-ties.model"), "wb") as f:
    f.write(model.SerializeToString())
with open(os.path.join(here, "ties.json"), "w", encoding="utf8") as f:
    json.dump({"texts": texts, "ids": [sp.encode(text) for text in texts]}, f)
