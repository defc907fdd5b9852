#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/bench.sh [--compare OLD.json] [--rounds N] [--shared] [--operations [ARGUMENT OF GOOGLE BENCHMARK...]]
#
# Builds the benchmarks into build/bench and prints one table: every figure is a ratio of one run, beside its limit and
# its peer. The figures stay in build/bench/results.json. Peers that are missing have rows that say so: FAISS (package
# libfaiss-dev), torch in the Python that TORCH_PYTHON names (default python3), and llama.cpp in the checkout that
# LLAMA_CPP_DIR names. Needs an otherwise idle machine and less than a quarter of an hour on two cores; the load average at
# the start stands in the file.
#
#   --compare OLD.json  afterwards prints what moved beyond noise; status 1 if something got worse
#   --rounds N          rounds of each ratio (default 21; peers in torch and the engine take fewer)
#   --shared            for a machine that others use now: everything on one thread, by processor time; without the
#                       engine and without what several threads give
#   --operations        measures every operation instead (build/bench/operations.json)
#
# To publish a machine's figures, copy the file to bench/results/NAME.json and run bench/table.py pages.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

old='' rounds=21 operations=false shared=()
while (($# > 0)); do
  case $1 in
    --compare) old=${2:?--compare wants a file} && shift 2 ;;
    --rounds) rounds=${2:?--rounds wants a number} && shift 2 ;;
    --shared) shared=(--shared) && shift ;;
    --operations) operations=true && shift && break ;;
    *) die "unknown argument '$1': expected --compare, --rounds, --shared or --operations" ;;
  esac
done
[[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds $rounds: expected a number of at least 1"
[[ -z $old ]] || python3 "$root/bench/table.py" print "$old" >/dev/null

ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${bench_packages[@]}"
(ensure_packages libfaiss-dev) || echo "going on without FAISS: its rows say so"

say "Building"
configure bench
build bench
bin=$root/build/bench/bin
out=$root/build/bench

if $operations; then
  say "Operations"
  exec "$bin/hashevict_bench" --benchmark_out="$out/operations.json" --benchmark_out_format=json "$@"
fi

# The peers call the shared library.
python=${TORCH_PYTHON:-python3}
library=$root/build/release-shared/src/libhashevict.so
if "$python" -c 'import torch' 2>/dev/null || [[ -n ${LLAMA_CPP_DIR:-} ]]; then
  configure release-shared
  build release-shared --target hashevict_library
fi

few=$(((rounds + 4) / 5))
printf '{"load": "%s", "rows": []}\n' "$(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null)" >"$out/load.json"
say "Measuring"
parts=("$out"/{goals,decode,prefill,llama_cpp,load}.json)
threads=()
((${#shared[@]} == 0)) || threads=(--threads 1)
"$bin/hashevict_goals" "${shared[@]}" "$out/goals.json" "$rounds"
"$python" "$root/bench/peers/decode_sdpa.py" "$library" "${threads[@]}" --rounds "$few" --json "$out/decode.json" \
  --read-bandwidth "$bin/libhashevict_read_bandwidth.so"
"$python" "$root/bench/peers/prefill_sdpa.py" "$library" "${threads[@]}" --rounds "$(((few + 1) / 2))" \
  --json "$out/prefill.json"
"$root/bench/peers/llama_cpp.sh" "$library" "${threads[@]}" --rounds "$few" --json "$out/llama_cpp.json"
if ((${#shared[@]} == 0)); then
  "$bin/hashevict_engine_bench" --json "$out/engine.json"
  parts+=("$out/engine.json")
fi

say "Table"
python3 "$root/bench/table.py" collect "$out/results.json" "${parts[@]}"
say "Figures: $out/results.json"
[[ -z $old ]] || python3 "$root/bench/table.py" compare "$old" "$out/results.json"
