#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/gpu_check.sh [--pack | --quick]
#
# Everything that only a GPU can show, in one go, on a machine that needs CUDA, a C++ compiler and CMake, and no
# internet: builds for the GPU that is there, runs every test on the device, compute-sanitizer's four tools over a short
# form of the suite, the replay of a captured step for a thousand tokens, and the device benchmarks. Results lie as JSON
# in build/gpu (or $OUT, if that is set), and a table at the end says what passed.
#
# --pack   on a machine with the packages installed: copies what a bare machine would lack (Highway, fmt, GoogleTest,
#          Google Benchmark, nlohmann-json; and FlashInfer's headers, if $FLASHINFER_INCLUDE_DIR names them) to
#          build/vendor, which is used where it is found
# --quick  leaves out the sanitizers and the benchmarks
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

vendor=$root/build/vendor
build_dir=$root/build/gpu
out=${OUT:-$build_dir/results}

pack() {
  local package file
  rm -rf "$vendor"
  (cd "$root" && ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${test_packages[@]}" \
    "${bench_packages[@]}")
  while IFS= read -r package; do
    while IFS= read -r file; do
      if [[ $file == /usr/include/* || $file == /usr/lib/* || $file == /usr/share/cmake/* ]] && [[ ! -d $file ]]; then
        install -d "$vendor$(dirname "$file")"
        cp -d "$file" "$vendor$file"
      fi
    done < <(dpkg -L "$package")
  done < <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 'libhwy*' 'libbenchmark*' libfmt-dev libgtest-dev \
    libgmock-dev nlohmann-json3-dev | sed -n 's/^installed //p')
  if [[ -n ${FLASHINFER_INCLUDE_DIR-} ]]; then
    [[ -f $FLASHINFER_INCLUDE_DIR/flashinfer/attention/decode.cuh ]] ||
      die "FLASHINFER_INCLUDE_DIR = $FLASHINFER_INCLUDE_DIR: expected a folder with flashinfer/attention/decode.cuh"
    install -d "$vendor/usr/include"
    cp -r "$FLASHINFER_INCLUDE_DIR/flashinfer" "$vendor/usr/include"
  fi
  say "Packed: $(du -sh "$vendor" | cut -f1) in $vendor"
}

quick=0
case ${1-} in
  --pack)
    pack
    exit 0
    ;;
  --quick) quick=1 ;;
  '') ;;
  *) die "unknown argument $1; try --help" ;;
esac

PATH=$PATH:/usr/local/cuda/bin
command -v nvcc >/dev/null || die "no nvcc: the CUDA toolkit is needed"
command -v cmake >/dev/null || die "no cmake: 3.24 or later is needed"
nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader || die "no GPU answers nvidia-smi"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
mkdir -p "$out"

table=()
failed=0
# check NAME COMMAND...: runs a command, keeps its output in $out/NAME.log and its outcome in the table.
check() {
  local name=$1 start=$SECONDS outcome=passed
  shift
  say "$name"
  if ! "$@" >"$out/$name.log" 2>&1; then
    outcome=FAILED
    failed=$((failed + 1))
    tail -n 40 "$out/$name.log"
  fi
  table+=("$(printf '%-14s %-8s %5d s  %s' "$name" "$outcome" "$((SECONDS - start))" \
    "$(grep -E 'tests? ran|ERROR SUMMARY|RACECHECK SUMMARY|PASSED' "$out/$name.log" | tail -n 1)")")
}

configure_and_build() {
  local arguments=()
  if [[ -d $vendor ]]; then
    arguments+=("-DCMAKE_PREFIX_PATH=$vendor/usr")
  fi
  use_fast_build
  cmake -S "$root" -B "$build_dir" -DCMAKE_BUILD_TYPE=Release -DHASHEVICT_CUDA=ON \
    -DCMAKE_CUDA_ARCHITECTURES="$capability-real" -DHASHEVICT_BUILD_TOOLS=OFF -DHASHEVICT_BUILD_EXAMPLES=OFF \
    -DHASHEVICT_BUILD_BENCHMARKS=ON "${arguments[@]}" &&
    cmake --build "$build_dir" --target hashevict_operations_test hashevict_properties_test hashevict_cuda_graph_test \
      hashevict_device_bench
}

check build configure_and_build
if ((failed > 0)); then die "the build failed: see $out/build.log"; fi
export LD_LIBRARY_PATH=$vendor/usr/lib/x86_64-linux-gnu:$vendor/usr/lib:${LD_LIBRARY_PATH-}
bin=$build_dir/bin
on_device=--gtest_filter='*/cuda'
short='--gtest_filter=*Encode.Every*/cuda:*Evict.EveryWidth*/cuda:*Decode.Presets*/cuda:*Decode.SeveralTokens*/cuda:*Attend.Ragged*/cuda:*Prefill.Recent*/cuda:*Prefill.WindowKeeps*/cuda'
check operations "$bin/hashevict_operations_test" "$on_device" "--gtest_output=json:$out/operations.json"
check properties "$bin/hashevict_properties_test" "$on_device" "--gtest_output=json:$out/properties.json"
check graph "$bin/hashevict_cuda_graph_test" "--gtest_output=json:$out/graph.json"
if ((quick == 0)); then
  for tool in memcheck racecheck initcheck synccheck; do
    check "$tool" timeout 100 compute-sanitizer --tool "$tool" --error-exitcode 1 "$bin/hashevict_operations_test" \
      "$short"
  done
  check bench "$bin/hashevict_device_bench" "--benchmark_out=$out/bench.json" --benchmark_out_format=json \
    --benchmark_min_time=0.05
fi

printf '\n==== GPU check, %d s; logs and JSON in %s\n' "$SECONDS" "$out"
printf '%s\n' "${table[@]}"
((failed == 0))
