"""The PLE of train.mjs as PyTorch users write it (f32, eager, dense Adam), as a child of train.mjs.

argv: batch, fields, values per field, threads, device. Reads a number of steps per line on stdin, takes them, answers "done".
Needs torch. Run by `LARR_PYTHON=/path/to/python pnpm bench train`.
"""

import sys

import torch
from torch import nn
from torch.nn import functional as F

BATCH, FIELDS, VALUES, THREADS = map(int, sys.argv[1:5])
DEVICE = sys.argv[5]
DIM, EXPERT, TOWER, ROWS = 16, (256, 128), 64, 10 * BATCH
torch.set_num_threads(THREADS)
torch.manual_seed(1)


class Ple(nn.Module):
    def __init__(self):
        super().__init__()
        width = FIELDS * DIM
        self.tables = nn.ModuleList(nn.Embedding(VALUES, DIM) for _ in range(FIELDS))
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, EXPERT[0]), nn.ReLU(), nn.Linear(*EXPERT), nn.ReLU()) for _ in range(6)
        )
        self.gates = nn.ModuleList(nn.Linear(width, 4) for _ in range(2))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(EXPERT[1], TOWER), nn.ReLU(), nn.Linear(TOWER, 1)) for _ in range(2)
        )

    def forward(self, ids):
        x = torch.cat([table(ids[:, f]) for f, table in enumerate(self.tables)], 1)
        outputs = [expert(x) for expert in self.experts]
        probabilities = []
        for k in range(2):
            seen = torch.stack([outputs[2 * k], outputs[2 * k + 1], outputs[4], outputs[5]], 1)
            mixed = (torch.softmax(self.gates[k](x), 1).unsqueeze(2) * seen).sum(1)
            probabilities.append(torch.sigmoid(self.towers[k](mixed).squeeze(1)))
        return probabilities


model = Ple().to(DEVICE)
optimiser = torch.optim.Adam(model.parameters(), 8e-4)
ids = torch.randint(0, VALUES, (ROWS, FIELDS), device=DEVICE)
click = (torch.rand(ROWS, device=DEVICE) < 0.3).float()
order = click * (torch.rand(ROWS, device=DEVICE) < 0.3).float()
at = 0
for line in sys.stdin:
    for _ in range(int(line)):
        rows = slice(at, at + BATCH)
        ctr, cvr = model(ids[rows])
        loss = F.binary_cross_entropy(ctr, click[rows]) + F.binary_cross_entropy(ctr * cvr, order[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
        at = (at + BATCH) % ROWS
    print("done", flush=True)
