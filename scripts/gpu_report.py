"""The report of scripts/gpu-check.sh: DIR/report.json from what its steps wrote to DIR/steps, and the tables of it on stdout.

    python3 scripts/gpu_report.py DIR

Floors are the least time that the chip's measured ceilings (step probe) allow: for InfoNCE the four products of 2·B²·d operations at the
rate of a large matrix product of the type (f32: three tf32 products, as the kernel takes them); for the encoder the folded form's
products, or its rows in and out, whichever takes longer. A share is the floor over the time. Ratios are the peer's time over ours.
Of lm7b the aims are 9,000 tokens/s and 40 % of the peak; the arithmetic counted is what gpu-lm.mjs says.
"""

import datetime
import glob
import json
import os
import sys

folder = sys.argv[1]


def lines(step):
    """The JSON objects that a step printed; a line cut off in the middle is no result."""
    rows = []
    try:
        with open(os.path.join(folder, "steps", step + ".out")) as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    rows.append(row)
    except FileNotFoundError:
        pass
    return rows


def rounded(x, digits=4):
    return float(f"{x:.{digits}g}") if isinstance(x, float) else x


probe = {}
ceilings = {}
for row in lines("probe"):
    if "ceiling" in row:
        ceilings[row["ceiling"]] = {"value": rounded(row["value"]), "unit": row["unit"]}
    else:
        probe.update(row)


def ceiling(name):
    return ceilings.get(name, {}).get("value")


def infonce_floor(case):
    """Milliseconds."""
    flops = 8 * case["B"] ** 2 * case["d"]
    rate = ceiling("matmul bf16") if case["dtype"] == "bf16" else (ceiling("matmul tf32") or 0) / 3
    return flops / rate * 1000 if rate else None


def encoder_floor(case):
    """Milliseconds, d = 128, feed-forward 512, head 128 → 256 → 128, 10 fields."""
    flops = case["rows"] * (2 * 10 * 128 + 2 * 128 * 128 + 4 * 128 * 512 + 2 * 128 * 256 + 2 * 256 * 128)
    moved = case["rows"] * 4 * (10 + 128)
    rate = ceiling("matmul bf16") if case["dtype"] == "bf16" else (ceiling("matmul tf32") or 0) / 3
    return max(flops / rate, moved / ceiling("copy")) * 1000 if rate and ceiling("copy") else None


def joined(bench, ours, key, floor):
    """One entry a case: our time, the floor's share of it, and every peer's time over ours."""
    peers = {}
    for row in lines("peer-" + bench):
        name = key(row["case"])
        entry = {k: rounded(v) for k, v in row.items() if k not in ("bench", "case", "peer")}
        peers.setdefault(name, {"case": row["case"], "peers": {}})["peers"][row["peer"]] = entry
    found = []
    for name in sorted(set(ours) | set(peers), key=str):
        entry = {"case": peers[name]["case"] if name in peers else ours[name]["case"], **ours.get(name, {})}
        entry["peers"] = peers.get(name, {}).get("peers", {})
        if "ms" in entry:
            least = floor(entry["case"])
            if least:
                entry |= {"floorMs": rounded(least), "shareOfFloor": rounded(least / entry["ms"])}
            for peer in entry["peers"].values():
                if "ms" in peer:
                    peer["ratio"] = rounded(peer["ms"] / entry["ms"])
            best = min((p for p in entry["peers"].items() if "ms" in p[1]), key=lambda p: p[1]["ms"], default=None)
            if best:
                entry |= {"bestPeer": best[0], "ratio": best[1]["ratio"]}
        found.append(entry)
    return found


bench = lines("bench")
infonce = {}
for row in bench:
    if row.get("bench") != "infonce":
        continue
    case = row["case"]
    name = (case["d"], case["dtype"], case["B"])
    ms = min(row["ms"], row["graphMs"])
    detail = {k: rounded(v) for k, v in row.items() if k not in ("bench", "case", "loss")}
    entry = infonce.setdefault(name, {"case": {k: v for k, v in case.items() if k != "path"}, "paths": {}})
    entry["paths"][case["path"]] = detail
    entry["ms"] = min(ms, entry.get("ms", ms))
infonce = joined("infonce", infonce, lambda c: (c["d"], c["dtype"], c["B"]), infonce_floor)

# Of the encoder's forms, the one that the peers run: rows on the device in, vectors on the device out; the fewest entries.
encoder = {}
encoder_forms = []
for row in bench:
    if row.get("bench") != "encoder":
        continue
    case = row["case"]
    encoder_forms.append({"case": case, **{k: rounded(v) for k, v in row.items() if k not in ("bench", "case", "device")}})
    if not case.get("form", "device encode").startswith("device encode"):
        continue
    name = (case["dtype"], case["rows"])
    ms = case["rows"] / row["rowsPerSecond"] * 1000
    if name not in encoder or ms < encoder[name]["ms"]:
        encoder[name] = {"case": {"rows": case["rows"], "dtype": case["dtype"]}, "ms": rounded(ms), "rowsPerSecond": rounded(row["rowsPerSecond"])}
encoder = joined("encoder", encoder, lambda c: (c["dtype"], c["rows"]), encoder_floor)

language_model = {}
for row in lines("lm"):
    entry = language_model.setdefault(row["case"]["dtype"], {"case": row["case"]})
    entry["ours" if "ours" in row else "peer"] = {k: row[k] for k in ("ours", "peerValue", "shareOfPeak", "memory", "loss", "secondsPerStep") if k in row}
for entry in language_model.values():
    if "ours" in entry and "peer" in entry:
        entry["ratio"] = rounded(entry["ours"]["ours"] / entry["peer"]["peerValue"])

# By the kind of training. The peer's full training is in bf16 throughout: with f32 weights and moments it does not fit.
seven_billion = {}
for row in lines("lm7b"):
    training = {"compact": "full"}.get(row["case"]["training"], row["case"]["training"])
    entry = seven_billion.setdefault(training, {"training": training, "aim": {"tokensPerSecond": 9000, "shareOfPeak": 0.4}})
    kept = ("case", "ours", "peer", "peerValue", "shareOfPeak", "flopsPerToken", "recompute", "checkpointing", "memory", "parameters", "loss", "secondsPerStep", "lastStep", "failed")
    entry["peer" if "peer" in row else "ours"] = {k: row[k] for k in kept if k in row}
for entry in seven_billion.values():
    if "ours" in entry and "peerValue" in entry.get("peer", {}):
        entry["ratio"] = rounded(entry["ours"]["ours"] / entry["peer"]["peerValue"])

steps = []
for path in glob.glob(os.path.join(folder, "steps", "*.json")):
    name = os.path.basename(path)[: -len(".json")]
    if not name.startswith("vitest-"):
        with open(path) as file:
            steps.append(json.load(file))
order = "probe build test sanitize bench peer-infonce peer-encoder build-torch test-torch lm lm7b train".split()
steps = sorted((s for s in steps if s["step"] in order), key=lambda s: order.index(s["step"]))

report = {
    "report": "larr gpu-check",
    "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    **probe,
    "ceilings": ceilings,
    "steps": steps,
    "kernelTests": next(iter(lines("test")), None),
    "sanitizers": lines("sanitize"),
    "torchTests": lines("test-torch"),
    "libtorch": next(iter(lines("build-torch")), None),
    "infonce": infonce,
    "encoder": encoder,
    "encoderForms": encoder_forms,
    "lm": list(language_model.values()),
    "lm7b": list(seven_billion.values()),
    "train": [row for row in lines("train") if "bench" in row],
}
path = os.path.join(folder, "report.json")
with open(path + ".partial", "w") as file:
    json.dump(report, file, indent=1)
    file.write("\n")
os.replace(path + ".partial", path)


def table(rows):
    rows = [[("" if x is None else f"{x:.4g}" if isinstance(x, float) else str(x)) for x in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(x.rjust(w) for x, w in zip(row, widths)).rstrip())
    print()


print(probe.get("gpu", {}).get("name", "GPU unknown"), "|", ", ".join(f"{k} {v['value']:.3g} {v['unit']}" for k, v in ceilings.items()))
table([["step", "status", "s"], *([s["step"], s["status"], rounded(s["seconds"], 3)] for s in steps)])
for row in report["sanitizers"]:
    print(f"{row['tool']}: {row['summary'] or 'no summary'}{'' if row['finished'] else ' (cut off)'}")
print("kernel tests:", report["kernelTests"])
for row in report["torchTests"]:
    print(f"tests {row['tests']}: {row['passed']} of {row['total']} passed, {row['failed']} failed, {row['pending']} skipped")
    for failure in row["failures"][:8]:
        print("   ", failure["test"], "|", failure["message"].split("\n")[0][:160])
print()


def peer_of(entry, name):
    found = entry["peers"].get(name, {})
    return found.get("ms", found.get("failed"))


def error_of(entry):
    paths = entry.get("paths", {})
    return (paths.get("best") or paths.get("portable") or {}).get("gradientError")


names = ("eager", "compile", "compile, graph")
if infonce:
    table([["B", "dtype", "ours ms", "of floor", *(n + " ms" for n in names), "ratio to best", "dq error"],
           *([e["case"]["B"], e["case"]["dtype"], e.get("ms"), e.get("shareOfFloor"), *(peer_of(e, n) for n in names), e.get("ratio"),
              error_of(e)] for e in infonce)])
if encoder:
    names = ("eager", "compile", "folded, compile")
    table([["rows", "dtype", "ours rows/s", "of floor", *(n + " ms" for n in names), "ratio to best"],
           *([e["case"]["rows"], e["case"]["dtype"], e.get("rowsPerSecond"), e.get("shareOfFloor"), *(peer_of(e, n) for n in names), e.get("ratio")] for e in encoder)])
for entry in language_model.values():
    print("lm", entry["case"]["dtype"], "tokens/s: ours", round(entry.get("ours", {}).get("ours", 0)), "transformers", round(entry.get("peer", {}).get("peerValue", 0)), "ratio", entry.get("ratio"))
if seven_billion:
    def memory_of(entry):
        """The most that tensors took, in GB."""
        memory = entry.get("memory")
        return rounded((memory["peak"] if isinstance(memory, dict) else memory) / 1e9, 3) if memory else entry.get("failed")

    table([["7 B", "ours tokens/s", "of peak", "GB", "aim tokens/s", "of peak", "transformers tokens/s", "of peak", "GB", "ratio"],
           *([e["training"], e.get("ours", {}).get("ours"), e.get("ours", {}).get("shareOfPeak"), memory_of(e.get("ours", {})), e["aim"]["tokensPerSecond"], e["aim"]["shareOfPeak"],
              e.get("peer", {}).get("peerValue"), e.get("peer", {}).get("shareOfPeak"), memory_of(e.get("peer", {})), e.get("ratio")] for e in seven_billion.values())])
for row in report["train"]:
    print("train", json.dumps(row["case"]), "ours", row.get("ours"), row.get("peer"), row.get("peerValue"), "ratio", row.get("ratio"))
print(path)
