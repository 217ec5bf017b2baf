"""Reference values of Hugging Face transformers for decoder.test.ts and tokenizer.test.ts.

    python make-reference.py        (needs torch, transformers, tokenizers; made with torch 2.13.0, transformers 5.18.0, tokenizers 0.23.2)

For a tiny random model of each family: the directory as transformers saves it (config.json, model.safetensors) and
expected.json with the ids, the last hidden states after the final norm, and the logits, all in float32. rotary.json: hidden states
of the llama case with its rotary frequencies stretched otherwise.
tokenizer-ids.json holds ids of hard cases under the tokenizer that tokenizer.test.ts trains from the same texts. published-ids.json
holds ids of hard cases under published tokenizers, which are not part of this repository: it is made again where LARR_TOKENIZERS
names a folder with <name>/tokenizer.json of each.
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

# Other stretchings of the rotary frequencies: the llama case's weights under each of them.
rotary = []
for parameters in ({"rope_type": "linear", "factor": 2.5},
                   {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8},
                   {"rope_type": "yarn", "factor": 3.0, "original_max_position_embeddings": 12, "beta_fast": 4.0, "beta_slow": 0.5,
                    "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}):
    config = LlamaConfig(**common, tie_word_embeddings=True, rope_parameters={**parameters, "rope_theta": 10000.0})
    model = LlamaForCausalLM.from_pretrained(os.path.join(here, "llama"), config=config).eval()
    ids = list(range(3, 33))
    with torch.no_grad():
        hidden = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    rotary.append({"rope_scaling": parameters, "ids": ids, "hidden": [round(x, 7) for x in hidden.flatten().tolist()]})
with open(os.path.join(here, "rotary.json"), "w") as f:
    json.dump(rotary, f)

# Baichuan 2 7B is a Llama whose queries, keys and values are stacked in one W_pack and whose head's rows are normalised; transformers
# does not ship it. The directory has its names and form, the expected values are those of the Llama with the same weights mapped.
from safetensors.torch import save_file
torch.manual_seed(8)
model = LlamaForCausalLM(LlamaConfig(**{**common, "num_key_value_heads": 4}, tie_word_embeddings=False)).eval()
weights = {}
with torch.no_grad():
    for key, p in model.named_parameters():
        if p.ndim == 1:
            p.add_(0.3 * torch.randn_like(p))
    for key, p in model.named_parameters():
        if key.endswith("self_attn.q_proj.weight"):
            attention = key[: -len("q_proj.weight")]
            weights[attention + "W_pack.weight"] = torch.cat(
                [model.get_parameter(attention + f"{x}_proj.weight") for x in "qkv"], 0).clone()
        elif not key.endswith(("k_proj.weight", "v_proj.weight")):
            weights[key] = p.clone()
    model.lm_head.weight.copy_(torch.nn.functional.normalize(model.lm_head.weight))
    ids = torch.randint(3, 40, (1, 20))
    out = model(ids, output_hidden_states=True)
os.makedirs(os.path.join(here, "baichuan"), exist_ok=True)
save_file(weights, os.path.join(here, "baichuan", "model.safetensors"), metadata={"format": "pt"})
with open(os.path.join(here, "baichuan", "config.json"), "w") as f:
    json.dump({"architectures": ["BaichuanForCausalLM"], "model_type": "baichuan", "vocab_size": 40, "hidden_size": 16,
               "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32,
               "model_max_length": 32, "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": False,
               "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}, f, indent=2)
with open(os.path.join(here, "baichuan", "expected.json"), "w") as f:
    json.dump({"ids": ids[0].tolist(),
               "hidden": [round(x, 7) for x in out.hidden_states[-1].flatten().tolist()],
               "logits": [round(x, 7) for x in out.logits.flatten().tolist()]}, f)

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

published = ["qwen3", "llama2"]
folder = os.environ.get("LARR_TOKENIZERS")
if folder:
    with open(os.path.join(here, "published-ids.json")) as f:
        texts = json.load(f)["texts"]
    out = {"texts": texts, "special": ["<poi_name>", "</poi_name>"], "ids": {}}
    for name in published:
        tokenizer = Tokenizer.from_file(os.path.join(folder, name, "tokenizer.json"))
        tokenizer.add_special_tokens([AddedToken(t, lstrip=True, normalized=False, special=True) for t in out["special"]])
        out["ids"][name] = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    with open(os.path.join(here, "published-ids.json"), "w") as f:
        json.dump(out, f, ensure_ascii=False)
