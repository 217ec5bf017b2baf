"""PyTorch's side of scripts/gpu-check.sh: what a PyTorch user gets on this GPU, one JSON line for each case.

    python3 scripts/gpu_peer.py ceilings            the chip: bytes/s of a copy, FLOP/s of matrix products
    python3 scripts/gpu_peer.py infonce [--sizes 2400,8192]   symmetric InfoNCE, forward and backward
    python3 scripts/gpu_peer.py encoder [--sizes 64,1024]     the scene encoder's layer and head over rows
    python3 scripts/gpu_peer.py lm [--documents 16] training steps of transformers' Qwen2, as scripts/gpu-lm.mjs trains ours
    python3 scripts/gpu_peer.py lm7b --training lora [--config llama-7b] [--documents 8] [--pieces 2]    of its Llama of 7 B; or --training full

Needs torch with CUDA; `lm` and `lm7b` need transformers too. Times are medians of CUDA events or of whole, synchronised steps. `infonce` and
`encoder` are written as PyTorch users write them and run eager, through torch.compile, and through torch.compile with CUDA graphs;
their errors are those against the same in float64.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["ceilings", "infonce", "encoder", "lm", "lm7b"])
parser.add_argument("--device", default="cuda")
parser.add_argument("--sizes", help="batches of infonce, rows of encoder")
parser.add_argument("--layers", type=int, default=24)
parser.add_argument("--documents", type=int, default=16)
parser.add_argument("--length", type=int, default=1024)
parser.add_argument("--config", default="llama-7b", choices=["llama-7b", "llama-tiny"])
parser.add_argument("--training", default="lora", choices=["lora", "full"])
parser.add_argument("--pieces", type=int, default=1)
parser.add_argument("--dtypes", default="bf16,f32")
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--peak", type=float, default=989e12)
options = parser.parse_args()
device = torch.device(options.device)


def tell(**row):
    print(json.dumps(row), flush=True)


def seconds_of(work, repeats=20, budget=None):
    """The median time of `work` on the device, by events, after a warm-up; `budget`: seconds in all, in place of `repeats`."""

    def once():
        if device.type == "cpu":
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000

    for _ in range(3):
        rough = once()
    if budget is not None:
        repeats = int(min(100, max(3, budget / rough)))
    return statistics.median(once() for _ in range(repeats))


def sizes(default):
    return [int(n) for n in options.sizes.split(",")] if options.sizes else default


def relative(got, wanted):
    """The largest difference over the largest value."""
    return ((got.double() - wanted).abs().max() / wanted.abs().max()).item()


def measured(work, budget=0.25):
    """{ms, peakBytes}: the time of `work` and the most memory that it takes beyond what was there, or {failed}."""
    try:
        work()
        before = peak = 0
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated()
        return {"ms": seconds_of(work, budget=budget) * 1000, "peakBytes": peak - before}
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"failed": "out of memory"}
    except Exception as error:  # a compiler's trouble is one row's, not the others'
        return {"failed": f"{type(error).__name__}: {error}".split("\n")[0][:200]}


def forms(function):
    """The ways a PyTorch user runs a function, compiled for each shape."""
    return {
        "eager": function,
        "compile": torch.compile(function, dynamic=False),
        "compile, graph": torch.compile(function, dynamic=False, mode="reduce-overhead"),
    }


def symmetric_infonce(q, k, scale):
    logits = scale * (q @ k.T)
    target = torch.arange(len(q), device=q.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def infonce():
    d = 128
    torch._dynamo.config.cache_size_limit = torch._dynamo.config.recompile_limit = 64
    for way, of in forms(symmetric_infonce).items():
        for batch in sizes([2400, 8192, 16384, 32768, 65536]):
            if "graph" in way and batch > 2400:
                continue  # launches cost nothing there
            torch.manual_seed(batch)
            q = torch.randn(batch, d, device=device)
            # Values that bf16 holds exactly, so that both types compute the same loss.
            q, k = (F.normalize(x).bfloat16() for x in (q, 2 * q + torch.randn(batch, d, device=device)))
            scale = torch.tensor(1 / 0.07, device=device, requires_grad=True)

            def gradients(of, dtype):
                leaves = [x.to(dtype).detach().requires_grad_() for x in (q, k)]
                loss = of(*leaves, scale.to(dtype) if dtype == torch.float64 else scale)
                return loss.detach(), *torch.autograd.grad(loss, leaves)

            for name, dtype in [("bf16", torch.bfloat16), ("f32", torch.float32)]:
                leaves = [x.to(dtype).detach().requires_grad_() for x in (q, k)]

                def step():
                    for x in (*leaves, scale):
                        x.grad = None
                    of(*leaves, scale).backward()

                row = measured(step)
                if batch <= 8192 and "failed" not in row:
                    exact, got = gradients(symmetric_infonce, torch.float64), gradients(of, dtype)
                    row["lossError"] = abs(got[0].item() - exact[0].item())
                    row["gradientError"] = max(relative(got[1], exact[1]), relative(got[2], exact[2]))
                    del exact, got
                tell(bench="infonce", case={"B": batch, "d": d, "dtype": name}, peer=way, **row)
                del leaves
                if device.type == "cuda":
                    torch.cuda.empty_cache()


def encoder():
    n, d, heads, ffn, hidden, out, entries = 10, 128, 4, 512, 256, 128, 1000
    torch.manual_seed(1)
    shapes = {"in_proj": (3 * d, d), "out_proj": (d, d), "ffn1": (ffn, d), "ffn2": (d, ffn), "head1": (hidden, d), "head2": (out, hidden)}
    exact = {"agg": torch.randn(d), "field": 0.2 * torch.randn(n, d), "table": torch.randn(entries, d)}
    for name, (rows, columns) in shapes.items():
        exact[name + "_weight"] = torch.randn(rows, columns) / columns**0.5
        exact[name + "_bias"] = 0.2 * torch.randn(rows)
    for name in ("norm1", "norm2"):
        exact[name + "_weight"], exact[name + "_bias"] = 1 + 0.2 * torch.randn(d), 0.2 * torch.randn(d)
    exact = {name: x.to(device, torch.bfloat16).double() for name, x in exact.items()}

    def linear(w, name, x):
        return F.linear(x, w[name + "_weight"], w[name + "_bias"])

    def tail(w, x, attended):
        """What follows attention: x and attended [..., d] → [..., d]."""
        h = F.layer_norm(x + linear(w, "out_proj", attended), (d,), w["norm1_weight"], w["norm1_bias"])
        return F.layer_norm(h + linear(w, "ffn2", F.gelu(linear(w, "ffn1", h))), (d,), w["norm2_weight"], w["norm2_bias"])

    def head(w, pooled):
        return linear(w, "head2", F.gelu(linear(w, "head1", pooled)))

    def layer(w, rows):
        """rows [R, n] of entries, -1 = missing → z [R, out], every token through the layer."""
        r = len(rows)
        tokens = w["table"][rows.clamp(min=0)] + w["field"]
        x = torch.cat([w["agg"].expand(r, 1, d), tokens], 1)
        there = torch.cat([torch.ones_like(rows[:, :1], dtype=torch.bool), rows >= 0], 1)[:, None, None]
        q, k, v = (t.view(r, 1 + n, heads, d // heads).transpose(1, 2) for t in linear(w, "in_proj", x).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=there).transpose(1, 2).reshape(r, 1 + n, d)
        return head(w, tail(w, x, attended)[:, 0])

    def fold(w):
        """One logit a head, and one value, for the aggregation token (row 0) and every entry."""
        field_of = torch.arange(entries, device=device) % n
        x = torch.cat([w["agg"][None], w["table"] + w["field"][field_of]])
        q, k, v = linear(w, "in_proj", x).chunk(3, -1)
        logits = (q[0] * k).view(-1, heads, d // heads).sum(-1) / (d // heads) ** 0.5
        return {**w, "logits": logits, "v": v}

    def folded(w, rows):
        """The same for the aggregation token alone (docs/kernels.md, B), composed from operators."""
        r = len(rows)
        index = torch.cat([torch.zeros_like(rows[:, :1]), rows.clamp(min=0) + 1], 1)
        logits = w["logits"][index]
        logits[:, 1:].masked_fill_((rows < 0)[:, :, None], float("-inf"))
        shares = torch.softmax(logits, 1)  # [R, 1 + n, heads]
        attended = torch.einsum("rnh,rnhe->rhe", shares, w["v"][index].view(r, 1 + n, heads, d // heads)).reshape(r, d)
        return head(w, tail(w, w["agg"].expand(r, d), attended))

    torch._dynamo.config.cache_size_limit = torch._dynamo.config.recompile_limit = 64
    ways = forms(layer)
    ways.update({"folded, " + way: of for way, of in forms(folded).items()})
    most = 131072  # rows at a time: the layer's activations of a million would not fit
    with torch.no_grad():
        for way, of in ways.items():
            for total in sizes([64, 4096, 65536, 1048576]):
                if "compile" in way and total == 65536 or "graph" in way and total > 4096:
                    continue  # a compilation each, and launches cost nothing there
                # Entry e is a text of field e mod n; one field in ten is missing.
                torch.manual_seed(total)
                rows = torch.randint(0, entries // n, (total, n), device=device) * n + torch.arange(n, device=device)
                rows[torch.rand(total, n, device=device) < 0.1] = -1
                parts = rows.split(most)
                wanted = layer(exact, rows[:1024])
                for name, dtype in [("bf16", torch.bfloat16), ("f32", torch.float32)]:
                    weights = {key: x.to(dtype) for key, x in exact.items()}
                    if "folded" in way:
                        weights = {key: x.to(dtype) for key, x in fold({key: x.float() for key, x in weights.items()}).items()}

                    def work():
                        for part in parts:
                            of(weights, part)

                    row = measured(work)
                    if "failed" not in row:
                        row["rowsPerSecond"] = total / row["ms"] * 1000
                        row["error"] = relative(of(weights, parts[0])[:1024], wanted)
                    tell(bench="encoder", case={"rows": total, "dtype": name}, peer=way, **row)


def ceilings():
    source = torch.randn(1 << 30, device=device)
    target = torch.empty_like(source)
    tell(ceiling="copy", unit="bytes/s", value=2 * source.nbytes / seconds_of(lambda: target.copy_(source)))
    del source, target
    n = 8192
    for dtype, name in [(torch.bfloat16, "bf16"), (torch.float32, "f32"), (torch.float32, "tf32")]:
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
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


class LowRank(torch.nn.Module):
    """A frozen bf16 linear layer and two narrow f32 matrices beside it: W x + 2 B A x, as Hu et al. 2021 have it."""

    def __init__(self, base, rank):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = torch.nn.Parameter(torch.empty(rank, base.in_features, device=device).uniform_(-1, 1) / base.in_features**0.5)
        self.b = torch.nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x):
        return self.base(x) + 2 * F.linear(F.linear(x, self.a), self.b)


def lm7b():
    """Whole steps (forward, backward, clipping, AdamW) of transformers' Llama with random bf16 weights made on the device.

    lora: as a user without PEFT writes it. full: weights, gradients and both moments in bf16, rounded to the nearest (8 bytes a
    weight: what fits one GPU of 80 GB; with f32 master weights and moments it is 16 to 18, 108 to 121 GB). Of the two, checkpointing of
    layers is on only where it does not fit otherwise."""
    import transformers
    from transformers import LlamaConfig, LlamaForCausalLM

    large = options.config == "llama-7b"
    h, f, n, heads, vocabulary = (4096, 11008, 32, 32, 32_000) if large else (64, 176, 2, 4, 500)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=h,
        num_hidden_layers=n,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=f,
        max_position_embeddings=max(options.length, 1024),
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(1)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = LlamaForCausalLM(config).train()
    torch.set_default_dtype(torch.float32)
    assert next(model.parameters()).dtype == torch.bfloat16
    adapters = 0
    if options.training == "lora":
        model.requires_grad_(False)
        for layer in model.model.layers:
            for part in (layer.self_attn, layer.mlp):
                for name, linear in list(part.named_children()):
                    if isinstance(linear, torch.nn.Linear):
                        setattr(part, name, LowRank(linear, 64))
                        adapters += 64 * (linear.in_features + linear.out_features)
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=1e-4, betas=(0.9, 0.98), weight_decay=0.1, fused=device.type == "cuda")
    count, length = options.documents // options.pieces, options.length
    tokens = count * options.pieces * length
    # As stepFlops counts for ours: products and causal attention's pairs; the last token of a document predicts nothing.
    each = 4 if options.training == "lora" else 6
    matrices = n * (4 * h * h + 3 * h * f)
    scored = (length - 1) / length
    flops = tokens * (each * (matrices + scored * vocabulary * h) + 6 * adapters + 12 * n * h * (length + 1) / 2)
    row = {
        "bench": "lm7b",
        "case": {"task": "train", "dtype": "bf16", "device": options.device, "config": options.config, "training": options.training,
                 "pieces": options.pieces, "layers": n, "documents": count * options.pieces, "length": length},
        "peer": "transformers, " + ("LoRA by hand" if options.training == "lora" else "bf16 throughout, rounded to the nearest"),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }

    def step():
        start = time.perf_counter()
        optimizer.zero_grad()
        total = 0
        for _ in range(options.pieces):
            batch = torch.randint(0, vocabulary, (count, length)).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                loss = model(input_ids=batch, labels=batch).loss / options.pieces
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, total

    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        try:
            for _ in range(2):
                step()
            times, losses = zip(*(step() for _ in range(options.steps)))
        except torch.OutOfMemoryError:
            optimizer.zero_grad()
            torch.cuda.empty_cache()
            continue
        seconds = statistics.median(times)
        tell(**row, peerValue=tokens / seconds, unit="tokens/s", checkpointing=checkpointing, secondsPerStep=times, flopsPerToken=flops / tokens,
             modelFlopsPerSecond=flops / seconds, shareOfPeak=flops / seconds / options.peak, loss=losses[-1],
             parameters=sum(p.numel() for p in learnt), memory=torch.cuda.max_memory_allocated() if device.type == "cuda" else None)
        return
    tell(**row, failed="out of memory")


{"ceilings": ceilings, "infonce": infonce, "encoder": encoder, "lm": lm, "lm7b": lm7b}[options.what]()
sys.stdout.flush()
