#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: bench/peers/llama_cpp.sh LIBRARY [--json FILE] [--threads N] [--rounds N]
#
# Compares decode attention with the CPU flash attention of llama.cpp over the same keys and values. LIBRARY is
# libhashevict.so of the preset release-shared; LLAMA_CPP_DIR names a checkout of llama.cpp, of which this builds ggml
# into build/llama_cpp. Without one FILE gets a row that says so.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$root/scripts/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"
(($# > 0)) || die "which library? see --help"

library=$(realpath -m "$1") json=''
shift
arguments=("$@")
while (($# > 0)); do
  [[ $1 != --json ]] || json=${2:?--json wants a file}
  shift
done

skip() {
  echo "skipped: $1"
  if [[ -n $json ]]; then
    printf '{"rows": [{"section": "decode attention beside llama.cpp, speed", "name": "all", "skipped": "%s"}]}\n' \
      "$1" >"$json"
  fi
  exit 0
}

[[ -n ${LLAMA_CPP_DIR:-} ]] || skip "LLAMA_CPP_DIR names no checkout of llama.cpp"
[[ -e $LLAMA_CPP_DIR/ggml/CMakeLists.txt ]] || skip "$LLAMA_CPP_DIR holds no ggml"
[[ -e $library ]] || skip "$library was not built"
build=$root/build/llama_cpp
cmake -S "$root/bench/peers/llama_cpp" -B "$build" -DCMAKE_BUILD_TYPE=Release \
  -DLLAMA_CPP_DIR="$(realpath "$LLAMA_CPP_DIR")" -DHASHEVICT_LIBRARY="$library" >/dev/null
cmake --build "$build" --target llama_cpp_attention --parallel "${JOBS:-2}" >/dev/null
exec "$build/llama_cpp_attention" "${arguments[@]}"
