"""Values of PyTorch for operators whose arguments could be passed on wrongly: defaults, order, options.

    python3 test/reference/operators.py > test/reference/operators.json     (written with PyTorch 2.13.0)

Every case is the operator's name in this package, its arguments (tensors as {"tensor": values, "shape", "dtype"}), and what
PyTorch's own operator gives for them.
"""
import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(20)
cases = []


def encode(value):
    if isinstance(value, torch.Tensor):
        dtype = {torch.float64: "f64", torch.int64: "i64", torch.bool: "bool", torch.int32: "i32"}[value.dtype]
        return {"tensor": value.reshape(-1).tolist(), "shape": list(value.shape), "dtype": dtype}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if isinstance(value, dict):
        return {"options": {k: encode(v) for k, v in value.items()}}
    return value


def case(name, arguments, result):
    cases.append({"operator": name, "arguments": encode(arguments), "result": encode(result)})


def r(*shape):
    return torch.randn(*shape, dtype=torch.float64)


x, y, v, w = r(3, 4), r(3, 4), r(4), r(4)
case("add", [x, v], x + v)
case("sub", [x, 2], x - 2)
case("div", [x, v], x / v)
case("pow", [x, 3], x**3)
case("remainder", [x, 0.3], torch.remainder(x, 0.3))
case("gelu", [x], F.gelu(x))
case("gelu", [x, "tanh"], F.gelu(x, approximate="tanh"))
case("softplus", [x * 10, 2, 5], F.softplus(x * 10, 2, 5))
case("clamp", [x, -0.5, 0.5], x.clamp(-0.5, 0.5))
case("clamp", [x, None, 0.5], x.clamp(max=0.5))
case("minimum", [x, 0.1], x.clamp(max=0.1))
case("maximum", [x, y], torch.maximum(x, y))
for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    case(name, [torch.tensor([1, 2, 3]), torch.tensor([2, 2, 2])], getattr(torch.tensor([1, 2, 3]), name)(torch.tensor([2, 2, 2])))
case("sum", [x, 1, True], x.sum(1, True))
case("mean", [x, [0, 1]], x.mean())
case("variance", [x], x.var())
case("variance", [x, 0, True, False], x.var(0, unbiased=False, keepdim=True))
case("amax", [x, 1], x.amax(1))
case("argmax", [x], x.argmax())
case("argmax", [x, 1, True], x.argmax(1, True))
case("argmin", [x, 0], x.argmin(0))
case("norm", [x], x.norm())
case("norm", [x, 1, 1], x.norm(1, 1))
case("logsumexp", [x, 0, True], x.logsumexp(0, True))
case("cumsum", [x, 1], x.cumsum(1))
case("any", [x > 0.5, 1], (x > 0.5).any(1))
case("all", [x > -9], (x > -9).all())
case("max", [x, 1], list(x.max(1)))
case("topk", [x, 2], list(x.topk(2)))
case("topk", [x, 2, 0, False], list(x.topk(2, 0, False)))
case("sort", [x, 0, True], list(x.sort(0, True)))
case("argsort", [x, 1], x.argsort(1))
case("unique", [torch.tensor([5, 1, 5, 3])], list(torch.unique(torch.tensor([5, 1, 5, 3]), return_inverse=True)))
case("bincount", [torch.tensor([0, 2, 2]), 5], torch.bincount(torch.tensor([0, 2, 2]), minlength=5))
case("nonzero", [torch.tensor([[0, 2], [3, 0]])], torch.tensor([[0, 2], [3, 0]]).nonzero())
a, b = r(3, 2), r(2, 4)
case("addmm", [x, a, b, 0.5, 2], torch.addmm(x, a, b, beta=0.5, alpha=2))
lw, lb = r(5, 4), r(5)
case("linear", [x, lw, lb], F.linear(x, lw, lb))
case("transpose", [r(2, 3, 4), 0, -1], None)
case("slice", [x, 1, 1, None, 2], x[:, 1::2])
case("slice", [x, 1, None, -1], x[:, :-1])
case("narrow", [x, 1, 1, 2], x[:, 1:3])
case("select", [x, 0, -1], x[-1])
case("flip", [x, [0]], x.flip(0))
case("repeat", [v, [2, 1]], v.repeat(2, 1))
case("repeatInterleave", [x, 2, 0], x.repeat_interleave(2, 0))
case("split", [x, [1, 3], 1], list(x.split([1, 3], 1)))
case("split", [x, 2], list(x.split(2)))
case("chunk", [x, 2, 1], list(x.chunk(2, 1)))
case("tril", [x, -1], x.tril(-1))
case("triu", [x, 1], x.triu(1))
case("diagonal", [x, 1], x.diagonal(1))
i = torch.tensor([[0, 3], [1, 1], [2, 0]])
case("gather", [x, 1, i], x.gather(1, i))
case("scatterAdd", [x, 1, i, r(3, 2)], None)
case("indexAdd", [x, 0, torch.tensor([0, 0]), y[:2]], x.index_add(0, torch.tensor([0, 0]), y[:2]))
case("indexCopy", [x, 0, torch.tensor([2, 0]), y[:2]], x.index_copy(0, torch.tensor([2, 0]), y[:2]))
case("maskedFill", [x, x > 0, 7], x.masked_fill(x > 0, 7))
case("oneHot", [torch.tensor([1, 0]), 3], F.one_hot(torch.tensor([1, 0]), 3))
case("softmax", [x, 0], x.softmax(0))
case("logSoftmax", [x, -1], x.log_softmax(-1))
case("layerNorm", [x, [4], v, w], F.layer_norm(x, [4], v, w))
case("layerNorm", [x, [4], None, None, 0.1], F.layer_norm(x, [4], eps=0.1))
case("rmsNorm", [x, [4], v], F.rms_norm(x, [4], v, eps=1e-6))
mean, variance = r(4), torch.rand(4, dtype=torch.float64)
case("batchNorm", [x, mean, variance, v, w, False], F.batch_norm(x, mean.clone(), variance.clone(), v, w, False))
case("batchNorm", [x, mean, variance, v, w, True, 0.3], F.batch_norm(x, mean.clone(), variance.clone(), v, w, True, 0.3))
case("normalize", [x], F.normalize(x, dim=-1))
t = torch.tensor([1, 3, 0])
case("crossEntropy", [x, t], F.cross_entropy(x, t))
case("crossEntropy", [x, t, {"weight": v.abs(), "ignoreIndex": 3, "reduction": "sum", "labelSmoothing": 0.2}],
     F.cross_entropy(x, t, v.abs(), ignore_index=3, reduction="sum", label_smoothing=0.2))
p = torch.rand(3, 4, dtype=torch.float64)
case("binaryCrossEntropyWithLogits", [x, p], F.binary_cross_entropy_with_logits(x, p))
case("binaryCrossEntropyWithLogits", [x, p, {"weight": v.abs(), "positiveWeight": w.abs(), "reduction": "none"}],
     F.binary_cross_entropy_with_logits(x, p, v.abs(), pos_weight=w.abs(), reduction="none"))
case("binaryCrossEntropy", [x.sigmoid(), p, {"weight": v.abs()}], F.binary_cross_entropy(x.sigmoid(), p, v.abs()))
case("mseLoss", [x, y, {"reduction": "sum"}], F.mse_loss(x, y, reduction="sum"))
case("where", [x > 0, x, 0.5], torch.where(x > 0, x, 0.5))
case("einsum", ["ij,kj->ik", [x, y]], torch.einsum("ij,kj->ik", x, y))
case("outer", [v, w], torch.outer(v, w))
e = torch.tensor([[0, 2], [1, 1]], dtype=torch.int32)
case("embedding", [x, e], F.embedding(e, x))
bag, offsets = torch.tensor([0, 2, 1, 1]), torch.tensor([0, 3])
case("embeddingBag", [x, bag, offsets], F.embedding_bag(bag, x, offsets, mode="sum"))
case("embeddingBag", [x, bag, offsets, {"mode": "mean", "paddingIndex": 2}], F.embedding_bag(bag, x, offsets, mode="mean", padding_idx=2))
case("embeddingBag", [x, bag, offsets, {"weights": v}], F.embedding_bag(bag, x, offsets, mode="sum", per_sample_weights=v))
q, k, u = r(1, 2, 3, 4), r(1, 2, 3, 4), r(1, 2, 3, 4)
case("scaledDotProductAttention", [q, k, u], F.scaled_dot_product_attention(q, k, u))
case("scaledDotProductAttention", [q, k, u, {"isCausal": True, "scale": 0.3}], F.scaled_dot_product_attention(q, k, u, is_causal=True, scale=0.3))
m = torch.tensor([[True, False, True], [True, True, True], [False, False, True]])
case("scaledDotProductAttention", [q, k, u, {"mask": m}], F.scaled_dot_product_attention(q, k, u, attn_mask=m))
case("scaledDotProductAttention", [r(1, 4, 3, 4), k, u, {"enableGqa": True}], None)

# Where the arguments are drawn inside the call, the result is worked out from them afterwards.
def decode(value):
    dtype = {"f64": torch.float64, "i64": torch.int64, "bool": torch.bool, "i32": torch.int32}[value["dtype"]]
    return torch.tensor(value["tensor"], dtype=dtype).reshape(value["shape"])

for c in cases:
    if c["result"] is None:
        args = [decode(a) if isinstance(a, dict) and "tensor" in a else a for a in c["arguments"]]
        if c["operator"] == "transpose":
            c["result"] = encode(args[0].transpose(args[1], args[2]))
        elif c["operator"] == "scatterAdd":
            c["result"] = encode(args[0].scatter_add(args[1], args[2], args[3]))
        elif c["operator"] == "scaledDotProductAttention":
            c["result"] = encode(F.scaled_dot_product_attention(args[0], args[1], args[2], enable_gqa=True))

json.dump(cases, sys.stdout, separators=(",", ":"))
sys.stdout.write("\n")
