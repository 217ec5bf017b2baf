#!/bin/sh
# Builds the kernels and kernel_tests with AddressSanitizer + UndefinedBehaviorSanitizer, then with ThreadSanitizer, and runs a short
# set of the tests in each: four threads, so that there is concurrency to look at on small machines too. Ends with an error at the first
# finding.
#   packages/native-cuda/scripts/sanitize.sh [sanitizer, both unless told: address,undefined or thread] [random cases, 60 unless told]
set -eu
cd "$(dirname "$0")/.."
which=${1:-address,undefined thread}
cases=${2:-60}
# ThreadSanitizer of older compilers does not know the address layouts that newer systems draw; without the random part it does.
fixed=
setarch -R true 2>/dev/null && fixed="setarch -R"
for sanitizer in $which; do
  build=.cache/sanitize-$(echo "$sanitizer" | tr , -)
  [ -f "$build/CMakeCache.txt" ] && [ "$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")" != "$PWD" ] && rm -rf "$build"
  generator=
  [ ! -f "$build/CMakeCache.txt" ] && command -v ninja >/dev/null && generator="-G Ninja"
  cmake -S . -B "$build" $generator -DLARR_ADDON=OFF -DLARR_KERNEL_TESTS=ON -DCMAKE_BUILD_TYPE=Release "-DLARR_SANITIZE=$sanitizer" >/dev/null
  cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN)" >/dev/null
  echo "== $sanitizer"
  LARR_THREADS=4 ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 \
    $fixed "$build/Release/kernel_tests" "$cases" small
done
