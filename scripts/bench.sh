#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/bench.sh [ARGUMENT OF GOOGLE BENCHMARK...]
#
# Builds the benchmarks into build/bench, with FAISS as a peer if available. Measures the ratios for which
# docs/performance.md states goals (build/bench/goals.json), then every operation (build/bench/operations.json).
# Arguments go to the latter, for instance --benchmark_filter=attend. For the ratios of attention alone, run
# build/bench/bin/hashevict_goals --only attend. Needs an otherwise idle machine.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${bench_packages[@]}"
(ensure_packages libfaiss-dev) || echo "going on without FAISS: its comparison is left out"

say "Building"
configure bench
build bench

bin=$root/build/bench/bin
say "Goals"
"$bin/hashevict_goals" "$root/build/bench/goals.json"
say "Operations"
"$bin/hashevict_bench" --benchmark_out="$root/build/bench/operations.json" --benchmark_out_format=json "$@"
say "Figures: $root/build/bench/goals.json $root/build/bench/operations.json"
