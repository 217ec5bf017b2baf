#!/usr/bin/env bash
# Builds LARR on a machine with an NVIDIA GPU and checks it there: every kernel against float64, compute-sanitizer, the torch package on
# CUDA, and speeds against PyTorch with their share of what the chip can do. One JSON report (docs/gpu.md holds what it last gave).
#
#   scripts/gpu-check.sh [--out DIR] [--only STEP,…] [--node DIR]
#
# Needs nvcc, CMake and a Python with PyTorch (python3, or the one that LARR_PYTHON names). Steps on the torch package and on training
# also need Node (on the PATH, or in the folder --node gives) and this workspace's node_modules and dist/; without them they are left
# out with a line. Nothing is fetched. It builds in packages/*/build, against PyTorch's LibTorch or the one that LIBTORCH names.
#
# Steps: probe build test sanitize bench peer-infonce peer-encoder build-torch test-torch lm lm7b train report. Each has a time limit; one
# that fails does not stop those that do not need it. All of it ends within 9 minutes: what there was no time for is left for the next
# call, which skips every step that passed on the same inputs (DIR/steps/*.stamp). DIR/report.json is written by every call. Ends with
# 1 where a step failed or is left, with 2 where called wrongly.
set -uo pipefail

script=$(realpath "${BASH_SOURCE[0]}")
root=$(dirname "$(dirname "$script")")
cd "$root"
all="probe build test sanitize bench peer-infonce peer-encoder build-torch test-torch lm lm7b train report"
total=525 # seconds

usage() {
  echo "gpu-check: $1. Usage: scripts/gpu-check.sh [--out DIR] [--only STEP,…] [--node DIR]; steps: $all" >&2
  exit 2
}

kernels=packages/native-cuda/build
torch=packages/torch/build

# ---- The steps. Each runs in a process of its own: JSON lines to stdout, the rest to stderr. 77: cannot be done here, the last line
# of stderr says why.

not_here() {
  echo "$1" >&2
  exit 77
}

need_node() {
  command -v node >/dev/null || not_here "no Node: give its folder with --node"
  for needed in "$@"; do [ -e "$needed" ] || not_here "$needed is missing: npm run setup makes it"; done
}

# configure FOLDER BUILD [option …]: keeps what a build folder that is there was configured with.
configure() {
  local source=$1 build=$2
  shift 2
  local generator=()
  [ -f "$build/CMakeCache.txt" ] || { command -v ninja >/dev/null && generator=(-G Ninja); }
  cmake -S "$source" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release "$@" >&2
}

step_probe() {
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv,noheader | head -n 1 |
    "$python" -c 'import json, sys; keys = "name driver memory smClock memoryClock powerLimit".split()
print(json.dumps({"gpu": dict(zip(keys, (x.strip() for x in sys.stdin.read().split(","))))}))'
  "$python" -c 'import json, os, platform, torch
p = torch.cuda.get_device_properties(0)
print(json.dumps({"machine": {"torch": torch.__version__, "cuda": torch.version.cuda, "python": platform.python_version(), "threads": os.cpu_count(),
  "computeCapability": f"{p.major}.{p.minor}", "multiprocessors": p.multi_processor_count, "bytes": p.total_memory}}))' || return 1
  printf '{"nvcc":"%s","cmake":"%s","node":"%s"}\n' "$(nvcc --version | sed -n 's/.*release \([^,]*\).*/\1/p')" \
    "$(cmake --version | sed -n 's/cmake version //p')" "$(node --version 2>/dev/null)"
  "$python" scripts/gpu_peer.py ceilings
}

step_build() {
  local headers=$root/packages/native-cuda/node_modules addon=OFF
  [ -e "$headers/node-api-headers" ] && addon=ON
  [ -f $kernels/CMakeCache.txt ] && headers= || headers="-DCMAKE_JS_INC=$headers/node-api-headers/include;$headers/node-addon-api"
  configure packages/native-cuda $kernels -DLARR_ADDON=$addon -DLARR_KERNEL_TESTS=ON ${headers:+"$headers"} &&
    cmake --build $kernels --parallel "$(nproc)" >&2 || return 1
  [ -x $kernels/Release/cuda_bench ] || { echo "nvcc was not found: no CUDA kernels were built" >&2; return 1; }
  printf '{"addon":%s}\n' "$([ $addon = ON ] && echo true || echo false)"
}

step_test() { $kernels/Release/kernel_tests --cuda 200; }

step_sanitize() {
  command -v compute-sanitizer >/dev/null || not_here "compute-sanitizer is not installed"
  local tool rc failed=0 log=$steps/sanitize-
  for tool in memcheck racecheck synccheck; do
    timeout -k 2 $((limit / 3 - 4)) compute-sanitizer --tool $tool --error-exitcode 9 $kernels/Release/kernel_tests --cuda 2 small >"$log$tool.log" 2>&1
    rc=$?
    printf '{"tool":"%s","finished":%s,"rc":%d,"summary":"%s"}\n' $tool "$([ $rc -eq 124 ] && echo false || echo true)" $rc \
      "$(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|Device not supported' "$log$tool.log" | tail -n 1 | tr -d '"=\\' | sed 's/^ *//')"
    grep -q 'Device not supported' "$log$tool.log" && not_here "compute-sanitizer does not support this device or its driver"
    # Cut off by the clock is no finding, unless it had found something; and it has not passed either.
    [ $rc -eq 0 ] && continue
    [ $rc -eq 124 ] && [ $failed -eq 0 ] && failed=124
    [ $rc -eq 124 ] && ! grep -qE 'Invalid|Race reported|Error:|Barrier error' "$log$tool.log" || { failed=1; tail -n 30 "$log$tool.log" >&2; }
  done
  return $failed
}

step_bench() { $kernels/Release/cuda_bench; }
step_peer_infonce() { "$python" scripts/gpu_peer.py infonce; }
step_peer_encoder() { "$python" scripts/gpu_peer.py encoder; }

step_build_torch() {
  local headers=$root/packages/torch/node_modules
  need_node "$headers/node-api-headers" packages/torch/dist/index.js packages/core/dist/index.js
  local release=$root/$torch/Release
  [ -f $torch/CMakeCache.txt ] && set -- || set -- "-DCMAKE_JS_INC=$headers/node-api-headers/include;$headers/node-addon-api"
  configure packages/torch $torch -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$release" "$@" && cmake --build $torch --parallel "$(nproc)" >&2 || return 1
  local load="import('./packages/torch/dist/index.js').then((t) => {
    const { build, ...versions } = t.versions();
    if (!t.cudaAvailable()) throw new Error('LibTorch ' + versions.libtorch + ' sees no CUDA device');
    if (t.ones([4], { device: 'cuda' }).sum().item() !== 4) throw new Error('a wrong sum on CUDA');
    console.log(JSON.stringify(versions));
  })"
  rm -f "$steps/library-path"
  node -e "$load" && return
  echo "once more with PyTorch's CUDA libraries on LD_LIBRARY_PATH" >&2
  "$python" -c 'import glob, importlib.util, os
torch = os.path.dirname(importlib.util.find_spec("torch").origin)
print(":".join([*sorted(glob.glob(os.path.dirname(torch) + "/nvidia/*/lib")), torch + "/lib"]))' >"$steps/library-path"
  LD_LIBRARY_PATH=$(cat "$steps/library-path") node -e "$load"
}

# vitest NAME FILE …: one JSON line with the counts and what failed.
vitest() {
  local report=$steps/vitest-$1.json
  node node_modules/vitest/vitest.mjs run "${@:2}" --maxWorkers=8 --reporter=json --outputFile="$report" --reporter=dot >&2
  local rc=$?
  "$python" - "$1" "$report" <<'P'
import json, sys
name, path = sys.argv[1:]
try:
    report = json.load(open(path))
except OSError as error:
    sys.exit(f"vitest wrote no report: {error}")
failed = []
for file in report["testResults"]:
    failed += [{"test": t["fullName"], "message": (t["failureMessages"] or [""])[0].split("\n    at ")[0][:400]} for t in file["assertionResults"] if t["status"] == "failed"]
    if file["status"] != "passed" and not any(t["status"] == "failed" for t in file["assertionResults"]):
        failed.append({"test": file["name"], "message": (file.get("message") or "")[:400]})
print(json.dumps({"tests": name, **{key: report[f"num{key.capitalize()}Tests"] for key in ("total", "passed", "failed", "pending")}, "failures": failed}))
P
  return $rc
}

step_test_torch() {
  need_node node_modules/vitest packages/torch/dist/index.js
  [ -e $torch/Release/larr_torch.node ] || not_here "the torch addon is not built"
  local failed=0
  vitest cuda packages/torch/src/cuda.test.ts || failed=1
  if [ -e $kernels/Release/larr_native.node ]; then
    vitest addon packages/native-cuda/src/environments.test.ts packages/native-cuda/src/infonce.test.ts || failed=1
    LARR_DEVICE=cuda vitest scene packages/native-cuda/src/scene-scorer.test.ts || failed=1
  fi
  vitest torch packages/torch --exclude '**/cuda.test.ts' || failed=1
  return $failed
}

step_lm() {
  need_node packages/torch/dist/index.js packages/trainer/dist/pretraining/pretrain.js
  [ -e $torch/Release/larr_torch.node ] || not_here "the torch addon is not built"
  node --expose-gc scripts/gpu-lm.mjs --device cuda && "$python" scripts/gpu_peer.py lm --device cuda
}

# A Llama of 7 B with random weights, LoRA and full; each in a process of its own, whose peak of memory is then its own. What does not fit
# or fails does not stop the others.
step_lm7b() {
  need_node packages/torch/dist/index.js packages/trainer/dist/pretraining/pretrain.js
  [ -e $torch/Release/larr_torch.node ] || not_here "the torch addon is not built"
  "$python" -c 'import sys, torch; sys.exit(torch.cuda.get_device_properties(0).total_memory < 79e9)' || not_here "7 B want a GPU of 80 GB"
  export PYTORCH_ALLOC_CONF=expandable_segments:True PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
  local rc=0 model="--device cuda --config llama-7b --dtypes bf16 --length 1024 --steps 3"
  node --expose-gc scripts/gpu-lm.mjs $model --training lora --documents 16 --pieces 2 || rc=$?
  node --expose-gc scripts/gpu-lm.mjs $model --training compact --documents 32 --pieces 4 || rc=$?
  model=${model/--dtypes bf16/}
  "$python" scripts/gpu_peer.py lm7b $model --training lora --documents 16 --pieces 2 || rc=$?
  "$python" scripts/gpu_peer.py lm7b $model --training full --documents 32 --pieces 4 || rc=$?
  return $rc
}

step_train() {
  need_node packages/torch/dist/index.js packages/trainer/dist/models/index.js
  [ -e $torch/Release/larr_torch.node ] || not_here "the torch addon is not built"
  LARR_PYTHON=$python node packages/trainer/bench/train.mjs --device cuda &&
    LARR_PYTHON=$python node packages/trainer/bench/train.mjs --device cuda --batch 16384
}

step_report() { "$python" scripts/gpu_report.py "$out"; }

if [ "${1-}" = --step ]; then
  # Written by build-torch where LibTorch does not find CUDA's libraries by itself.
  [ "$2" != build-torch ] && [ -f "$steps/library-path" ] && LD_LIBRARY_PATH=$(cat "$steps/library-path") && export LD_LIBRARY_PATH
  "step_${2//-/_}"
  exit
fi

# ---- The caller's side.

out=.cache/gpu-check only=
while [ $# -gt 0 ]; do
  case $1 in
    --out | --only | --node)
      [ $# -gt 1 ] || usage "$1 needs a value"
      case $1 in --out) out=$2 ;; --only) only=${2//,/ } ;; --node) PATH=$(realpath "$2"):$PATH ;; esac
      shift 2
      ;;
    *) usage "unknown argument $1" ;;
  esac
done
for step in $only; do case " $all " in *" $step "*) ;; *) usage "there is no step $step" ;; esac; done

[ -d /usr/local/cuda/bin ] && PATH=$PATH:/usr/local/cuda/bin
python=$(command -v "${LARR_PYTHON:-python3}") || usage "no Python: LARR_PYTHON must name one that has PyTorch"
mkdir -p "$out/steps"
out=$(realpath "$out")
steps=$out/steps
if [ -z "${LIBTORCH-}" ]; then
  LIBTORCH=$("$python" -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("torch").origin))' 2>/dev/null) ||
    usage "$python has no PyTorch"
fi
export PATH LIBTORCH python out steps root PYTHONUNBUFFERED=1 TORCHINDUCTOR_CACHE_DIR="$out/inductor"
nvidia-smi -L >"$steps/gpus.txt" 2>/dev/null || { echo "gpu-check: there is no NVIDIA GPU here (nvidia-smi finds none)" >&2; exit 1; }

limit_of() {
  case $1 in
    probe) echo 60 ;; build) echo 180 ;; test) echo 100 ;; sanitize) echo 130 ;; bench) echo 90 ;; peer-infonce | peer-encoder) echo 90 ;;
    build-torch) echo 120 ;; test-torch) echo 130 ;; lm) echo 110 ;; lm7b) echo 170 ;; train) echo 90 ;; report) echo 15 ;;
  esac
}

# The files that a step's outcome hangs on.
inputs_of() {
  local native="packages/native-cuda/cpp packages/native-cuda/CMakeLists.txt" peer=scripts/gpu_peer.py
  local addon="$native packages/torch/cpp packages/torch/operators packages/torch/scripts packages/torch/CMakeLists.txt"
  case $1 in
    probe) echo $peer ;;
    build | test | sanitize | bench) echo $native ;;
    peer-*) echo $peer ;;
    build-torch) echo $addon ;;
    test-torch) echo "$addon packages/torch/src packages/torch/dist packages/native-cuda/src packages/native-cuda/dist" ;;
    lm | lm7b) echo "$addon packages/torch/dist packages/trainer/dist scripts/gpu-lm.mjs $peer" ;;
    train) echo "$addon packages/torch/dist packages/trainer/dist packages/trainer/bench" ;;
  esac
}

machine="$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1) $(nvcc --version | tail -n 1) $LIBTORCH $(node --version 2>/dev/null)"
stamp_of() {
  local paths=()
  for path in $(inputs_of "$1"); do [ -e "$path" ] && paths+=("$path"); done
  { echo "$machine"; [ "$1" = build ] || [ "$1" = build-torch ] || sed -n "/^step_${1//-/_}()/,/^}/p" "$script"; find "${paths[@]}" -type f -print0 | sort -z | xargs -0 sha256sum; } |
    sha256sum | cut -d' ' -f1
}

# Whether what a build made is there.
built() {
  case $1 in
    build) [ -x $kernels/Release/cuda_bench ] ;;
    build-torch) [ -e $torch/Release/larr_torch.node ] ;;
  esac
}

needs() {
  case $1 in test | sanitize | bench | build-torch) echo build ;; test-torch | lm | lm7b | train) echo build-torch ;; esac
}

outcome() { # step, status, seconds, line
  "$python" -c 'import json, sys; print(json.dumps(dict(zip(("step", "status", "seconds", "line"), (sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])))))' \
    "$@" >"$steps/$1.json"
  printf 'gpu-check: %-12s %-9s %6.1f s  %s\n' "$1" "$2" "$3" "$4" >&2
}

declare -A status
for step in $all; do
  case " ${only:-$all} report " in *" $step "*) ;; *) continue ;; esac
  [ "$step" = report ] && stamp= || stamp=$(stamp_of "$step")
  if [ -n "$stamp" ] && [ "$(cat "$steps/$step.stamp" 2>/dev/null)" = "$stamp" ] && { [[ $step != build* ]] || built "$step"; }; then
    printf 'gpu-check: %-12s passed before on the same inputs\n' "$step" >&2
    continue
  fi
  rm -f "$steps/$step.stamp"
  needed=$(needs "$step")
  if [ -n "$needed" ] && { [ "${status[$needed]-passed}" != passed ] || ! built "$needed"; }; then
    [ "${status[$needed]-}" = skipped ] && status[$step]=skipped || status[$step]=left
    outcome "$step" "${status[$step]}" 0 "needs $needed"
    continue
  fi
  limit=$(limit_of "$step") left=$((total - SECONDS))
  [ "$step" = report ] || left=$((left - 10))
  if [ "$left" -lt 5 ]; then
    status[$step]=left
    outcome "$step" left 0 "no time was left for it"
    continue
  fi
  started=$(date +%s%N)
  export limit=$((limit < left ? limit : left))
  timeout -k 5 $limit bash "$script" --step "$step" >"$steps/$step.out" 2>"$steps/$step.err"
  rc=$?
  seconds=$(awk "BEGIN { print ($(date +%s%N) - $started) / 1e9 }")
  case $rc in
    0) status[$step]=passed && [ -n "$stamp" ] && echo "$stamp" >"$steps/$step.stamp" ;;
    77) status[$step]=skipped ;;
    124 | 137) [ "$limit" -eq "$left" ] && status[$step]=left || status[$step]="cut off" ;;
    *) status[$step]=failed ;;
  esac
  line=
  case ${status[$step]} in skipped) line=$(tail -n 1 "$steps/$step.err") ;; failed | "cut off") line="exit status $rc" ;; left) line="cut off: no more time" ;; esac
  outcome "$step" "${status[$step]}" "$seconds" "$line"
  if [ "${status[$step]}" = failed ]; then
    { tail -n 25 "$steps/$step.out"; tail -n 25 "$steps/$step.err"; } | cut -c1-300 | sed 's/^/    /' >&2
  fi
done

cat "$steps/report.out"
for step in "${!status[@]}"; do case ${status[$step]} in passed | skipped) ;; *) exit 1 ;; esac; done
