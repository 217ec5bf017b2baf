"""Reference values of Hugging Face transformers for decoder.test.ts and tokenizer.test.ts.

    python make-reference.py        (needs torch, transformers, tokenizers; made with torch 2.13.0, transformers 5.18.0, tokenizers 0.23.2)

For a tiny random model of each family: the directory as transformers saves it (config.json, model.safetensors) and
expected.json with the ids, the last hidden states after the final norm, and the logits, all in float32.
tokenizer-ids.json holds ids of hard cases under the tokenizer that tokenizer.test.ts trains from the same texts.
"""
import json
import os

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

here = os.path.dirname(os.path.abspath(__file__))
common = dict(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=32, rms_norm_eps=1e-5, initializer_range=0.4,
              pad_token_id=0, bos_token_id=1, eos_token_id=2)
stretch = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
cases = {
    "llama": (LlamaForCausalLM, LlamaConfig(**common, tie_word_embeddings=True, rope_theta=10000.0)),
    "llama3": (LlamaForCausalLM, LlamaConfig(**common, tie_word_embeddings=False, rope_parameters={**stretch, "rope_theta": 50000.0})),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**common, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**common, head_dim=6, tie_word_embeddings=False)),
}
for name, (cls, config) in cases.items():
    torch.manual_seed(7)
    model = cls(config).eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if p.ndim == 1:  # norms and biases start at constants: make them matter
                p.add_(0.3 * torch.randn_like(p))
    model.save_pretrained(os.path.join(here, name))
    ids = torch.randint(3, 40, (1, 20))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
    with open(os.path.join(here, name, "expected.json"), "w") as f:
        json.dump({"ids": ids[0].tolist(),
                   "hidden": [round(x, 7) for x in out.hidden_states[-1].flatten().tolist()],
                   "logits": [round(x, 7) for x in out.logits.flatten().tolist()]}, f)
    os.remove(os.path.join(here, name, "generation_config.json"))

with open(os.path.join(here, "tokenizer-texts.json")) as f:
    given = json.load(f)
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.train_from_iterator(given["train"], trainers.BpeTrainer(
    vocab_size=420, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    min_frequency=2, show_progress=False))
merges = json.loads(tokenizer.to_str())["model"]["merges"]
from tokenizers import AddedToken
tokenizer.add_special_tokens([AddedToken(t, lstrip=True, normalized=False, special=True) for t in given["special"]])
with open(os.path.join(here, "tokenizer-ids.json"), "w") as f:
    json.dump({"merges": merges, "ids": [tokenizer.encode(t, add_special_tokens=False).ids for t in given["hard"]]}, f, ensure_ascii=False)
