"""PyTorch's side of scripts/gpu-check.sh: what a PyTorch user gets on this GPU, one JSON line for each case.

    python3 scripts/gpu_peer.py ceilings            the chip: bytes/s of a copy, FLOP/s of matrix products
    python3 scripts/gpu_peer.py lm [--documents 16] training steps of transformers' Qwen2, as scripts/gpu-lm.mjs trains ours

Needs torch with CUDA; `lm` needs transformers too. Times are medians of CUDA events or of whole, synchronised steps.
"""

import argparse
import json
import statistics
import sys
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["ceilings", "lm"])
parser.add_argument("--device", default="cuda")
parser.add_argument("--layers", type=int, default=24)
parser.add_argument("--documents", type=int, default=16)
parser.add_argument("--length", type=int, default=1024)
parser.add_argument("--dtypes", default="bf16,f32")
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--peak", type=float, default=989e12)
options = parser.parse_args()
device = torch.device(options.device)


def tell(**row):
    print(json.dumps(row), flush=True)


def seconds_of(work, repeats=20):
    """The median time of `work` on the GPU, by events, after a warm-up."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times)


def ceilings():
    source = torch.randn(1 << 30, device=device)
    target = torch.empty_like(source)
    tell(ceiling="copy", unit="bytes/s", value=2 * source.nbytes / seconds_of(lambda: target.copy_(source)))
    del source, target
    n = 8192
    for dtype, name in [(torch.bfloat16, "bf16"), (torch.float32, "f32")]:
        a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
        tell(ceiling=f"matmul {name}", unit="FLOP/s", value=2 * n**3 / seconds_of(lambda: a @ b))


def lm():
    import transformers
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=32_000,
        hidden_size=896,
        num_hidden_layers=options.layers,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        max_position_embeddings=max(options.length, 1024),
        rope_theta=1_000_000.0,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    for dtype in options.dtypes.split(","):
        torch.manual_seed(1)
        model = Qwen2ForCausalLM(config).to(device).train()
        weights = sum(p.numel() for p in model.parameters())
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.1, fused=device.type == "cuda")
        count = options.documents // 2 if dtype == "f32" else options.documents
        tokens = count * options.length
        times = []
        for i in range(2 + options.steps):
            ids = torch.randint(0, config.vocab_size, (count, options.length))
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"):
                batch = ids.to(device)
                loss = model(input_ids=batch, labels=batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            last = loss.item()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if i >= 2:
                times.append(time.perf_counter() - start)
        seconds = statistics.median(times)
        flops = tokens * (6 * weights + 6 * options.length * options.layers * 14 * 64)
        tell(
            bench="lm",
            case={"task": "train", "dtype": dtype, "device": options.device, "layers": options.layers, "documents": count, "length": options.length},
            peer="transformers",
            peerValue=tokens / seconds,
            unit="tokens/s",
            secondsPerStep=times,
            modelFlopsPerSecond=flops / seconds,
            shareOfPeak=flops / seconds / options.peak,
            loss=last,
            parameters=weights,
            memory=torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
            versions={"torch": torch.__version__, "transformers": transformers.__version__},
        )
        del model, optimizer, loss
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


{"ceilings": ceilings, "lm": lm}[options.what]()
sys.stdout.flush()
