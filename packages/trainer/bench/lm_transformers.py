"""The decoder of lm.mjs in Hugging Face transformers, as a child of lm.mjs.

First line on stdin: {"task", "dtype", "pooling", "threads", "shape", "batches": [[{"ids", "prompt"}]]}. Each line after it is a number of steps to take, in turn over the
batches; the answer is the processor seconds they took. Each batch is padded to its longest text, as DataCollatorForLanguageModeling pads, and the loss
leaves out prompts and padding. Needs torch and transformers. Run by `LARR_PYTHON=/path/to/python pnpm bench lm`.
"""

import json
import resource
import sys

import torch
from transformers import LlamaConfig, LlamaForCausalLM

job = json.loads(sys.stdin.readline())
shape, train, bf16 = job["shape"], job["task"] == "train", job["dtype"] == "bf16"
torch.set_num_threads(job["threads"])
torch.manual_seed(1)
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=shape["vocabularySize"],
        hidden_size=shape["hiddenSize"],
        intermediate_size=shape["feedForwardSize"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["keyValueHeads"],
        max_position_embeddings=shape["contextLength"],
        rms_norm_eps=shape["normEpsilon"],
        tie_word_embeddings=shape["tiedHead"],
        use_cache=False,
    )
)
if bf16 and not train:
    model = model.to(torch.bfloat16)
optimiser = torch.optim.AdamW(model.parameters(), 3e-4, fused=True)


def collate(texts):
    longest = max(len(t["ids"]) for t in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, t in enumerate(texts):
        n = len(t["ids"])
        ids[i, :n] = torch.tensor(t["ids"])
        mask[i, :n] = 1
        labels[i, t["prompt"] : n] = ids[i, t["prompt"] : n]
    return ids, mask, labels


def train_step(ids, mask, labels):
    optimiser.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    loss.item()


@torch.no_grad()
def embed_step(ids, mask, _):
    states = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
    if job["pooling"] == "last":
        states[torch.arange(len(states)), mask.sum(1) - 1].float().numpy()
        return
    weight = mask.unsqueeze(2)
    ((states * weight).sum(1).float() / weight.sum(1)).numpy()


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


at = 0
for line in sys.stdin:
    before = processor_seconds()
    for _ in range(int(line)):
        (train_step if train else embed_step)(*collate(job["batches"][at % len(job["batches"])]))
        at += 1
    print(processor_seconds() - before, flush=True)
