#!/bin/sh
# Builds the kernels and kernel_tests with AddressSanitizer + UndefinedBehaviorSanitizer, then with ThreadSanitizer, and runs a short
# set of the tests in each. LARR_THREADS=4 so that there is concurrency to look at on small machines too.
#   packages/native-cuda/scripts/sanitize.sh [random cases, 15 unless told]
set -eu
cd "$(dirname "$0")/.."
cases=${1:-15}
for sanitizer in address,undefined thread; do
  build=.cache/sanitize-$(echo $sanitizer | tr , -)
  cmake -S . -B "$build" -DLARR_ADDON=OFF -DLARR_KERNEL_TESTS=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo -DLARR_SANITIZE=$sanitizer >/dev/null
  cmake --build "$build" >/dev/null
  echo "== $sanitizer"
  LARR_THREADS=4 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1 "$build/Release/kernel_tests" "$cases" small
done
