# The composed loss in PyTorch, eager: forward and backward. Started by infonce.mjs with the allocator tuned; one JSON line asks for one
# run ({"B", "d", "dtype", "scale", "seed"}), one answers it ({"ms", "loss"}); with "onlyMake" the inputs are made and nothing else.
import json, sys, time
import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]))
problems = {}


def problem(b, d, seed):
    if (b, d) not in problems:
        problems.clear()
        g = torch.Generator().manual_seed(seed)
        problems[b, d] = [F.normalize(torch.randn(b, d, generator=g), dim=1).requires_grad_() for _ in range(2)]
    return problems[b, d]


def run(b, d, dtype, scale, seed):
    q, k = problem(b, d, seed)
    s = torch.tensor(scale, requires_grad=True)
    q.grad = k.grad = None
    target = torch.arange(b)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        logits = s * (q @ k.T)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    loss.backward()
    return {"ms": (time.perf_counter() - start) * 1e3, "loss": loss.item()}


for line in sys.stdin:
    r = json.loads(line)
    if r["onlyMake"]:
        problem(r["B"], r["d"], r["seed"])
        print("{}", flush=True)
        continue
    print(json.dumps(run(r["B"], r["d"], r["dtype"], r["scale"], r["seed"])), flush=True)
