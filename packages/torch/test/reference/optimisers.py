"""Parameters after steps of PyTorch's optimisers, in float64.

    python3 test/reference/optimisers.py > test/reference/optimisers.json     (written with PyTorch 2.13.0)

The gradient at step t (from 1) of a parameter p is sin(p · t) for dense ones; for tables, rows `rows[t - 1]` (which repeat) get
the gradient cos(row · t), once for each time that they are named.
"""
import json
import sys

import torch

start = [[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]]
steps = 10


def dense(make):
    p = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimiser = make(p)
    for t in range(1, steps + 1):
        p.grad = torch.sin(p.detach() * t)
        optimiser.step()
    return p.tolist()


rows = [[0, 2, 2], [1, 2, 0], [3, 3, 3], [0, 1, 2], [4, 0, 4]]
table = [[0.1 * i - 0.3 * j for j in range(3)] for i in range(6)]


def sparse(make):
    p = torch.tensor(table, dtype=torch.float64, requires_grad=True)
    optimiser = make(p)
    for t, picked in enumerate(rows, start=1):
        index = torch.tensor(picked)
        p.grad = torch.sparse_coo_tensor(index[None], torch.cos(p.detach()[index] * t), p.shape)
        optimiser.step()
    return p.tolist()


def clipped():
    a = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    a.grad = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64)
    b.grad = torch.tensor([0.25, -4.0, 1.0], dtype=torch.float64)
    norm = torch.nn.utils.clip_grad_norm_([a, b], 1.5)
    return {"norm": norm.item(), "a": a.grad.tolist(), "b": b.grad.tolist()}


json.dump(
    {
        "start": start,
        "steps": steps,
        "adamw": dense(lambda p: torch.optim.AdamW([p], lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
        "adam": dense(lambda p: torch.optim.Adam([p], lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)),
        "table": table,
        "rows": rows,
        # SparseAdam adds eps before the bias correction, Adam (and RowwiseAdam) after it: an eps that vanishes leaves no difference.
        "sparseAdam": sparse(lambda p: torch.optim.SparseAdam([p], lr=0.05, betas=(0.8, 0.95), eps=1e-15)),
        "adagrad": sparse(lambda p: torch.optim.Adagrad([p], lr=0.05, eps=1e-3, initial_accumulator_value=0.1)),
        "clip": clipped(),
    },
    sys.stdout,
    separators=(",", ":"),
)
sys.stdout.write("\n")
