#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/gpu_check.sh --pack [CMAKE ARGUMENT...]
#        scripts/gpu_check.sh [--seconds N] [STEP...]
#
# Runs all checks that need a GPU, in two halves, for a GPU that is available for a few minutes only.
#
# --pack builds tests and benchmarks into build/gpu_pack, with everything that they need to run. It needs nvcc but no
# GPU. Kernels are compiled for sm_90 (H100, H200); arguments go to CMake, for instance
# -DCMAKE_CUDA_ARCHITECTURES=80-real. If $FLASHINFER_INCLUDE_DIR names FlashInfer's headers, its attention is measured
# as well.
#
# Without --pack it runs the contents of build/gpu_pack on this machine's GPU. If there is no pack, it makes one for
# that GPU first. Tests, compute-sanitizer and benchmarks each have a time limit and end within N seconds in all
# (default 540). After each step, summary.txt and results.tar.gz in $OUT (default: build/gpu_results) hold the results
# so far.
# scripts/gpu_run.sh --help names the steps.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

build_dir=$root/build/gpu
pack=$root/build/gpu_pack
most_bytes=$((64 * 1024 * 1024))
programs=(hashevict_cuda_graph_test hashevict_operations_test hashevict_cuda_stress_test hashevict_properties_test
  hashevict_device_bench)
# Libraries that every Linux machine has, or that come with its driver.
system_libraries='^(linux-vdso|ld-linux[^/]*|libc|libm|libpthread|libdl|librt|libcuda)\.so'
cxx_runtime='^(libstdc\+\+|libgcc_s)\.so'

# fingerprint: a hash of the sources that a pack is made from.
fingerprint() {
  local path
  (
    cd "$root"
    for path in CMakeLists.txt cmake include src kernels tests bench scripts; do
      if [[ -e $path ]]; then find "$path" -type f; fi
    done | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum | cut -c 1-16
  )
}

configure_and_build() {
  local flash_infer=()
  if [[ -n ${FLASHINFER_INCLUDE_DIR-} ]]; then
    [[ -f $FLASHINFER_INCLUDE_DIR/flashinfer/attention/decode.cuh ]] ||
      die "FLASHINFER_INCLUDE_DIR = $FLASHINFER_INCLUDE_DIR: expected a folder with flashinfer/attention/decode.cuh"
    flash_infer=("-DFLASHINFER_INCLUDE_DIR=$FLASHINFER_INCLUDE_DIR")
  fi
  use_fast_build
  # Programs look for libraries only next to themselves, also for the libraries of their libraries (DT_RPATH).
  # shellcheck disable=SC2016  # the loader expands $ORIGIN
  cmake -S "$root" -B "$build_dir" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DHASHEVICT_CUDA=ON \
    -DCMAKE_CUDA_ARCHITECTURES=90-real -DHASHEVICT_BUILD_TOOLS=OFF -DHASHEVICT_BUILD_EXAMPLES=OFF \
    -DHASHEVICT_BUILD_BENCHMARKS=ON -DHASHEVICT_INSTALL=OFF -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$build_dir/bin" \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$ORIGIN' \
    -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags -DCMAKE_GTEST_DISCOVER_TESTS_DISCOVERY_MODE=PRE_TEST \
    "${flash_infer[@]}" "$@"
  cmake --build "$build_dir" --target "${programs[@]}"
}

# libraries_of FILE...: the shared libraries that the loader finds for the files, one `name path` per line.
libraries_of() {
  ldd "$@" | sed -nE 's/^\t(\S+) => (\S.*) \(0x[0-9a-f]+\)$/\1 \2/p; s/^\t(\S+) => not found$/\1 missing/p' | sort -u
}

# cached NAME: CMake's value of a cache entry.
cached() { sed -n "s/^$1:[^=]*=//p" "$build_dir/CMakeCache.txt"; }

# collect DIR: copies the programs, their libraries and the runner.
collect() {
  local into=$1 name path
  install -d "$into/runtime"
  for name in "${programs[@]}"; do
    install -m 755 "$build_dir/bin/$name" "$into/$name"
    strip --strip-unneeded "$into/$name"
  done
  while read -r name path; do
    if [[ $name =~ $system_libraries ]]; then continue; fi
    [[ $path != missing ]] || die "$name, which the programs need, is not found on this machine"
    if [[ $name =~ $cxx_runtime ]]; then
      install -m 644 "$path" "$into/runtime/$name"
    else
      install -m 644 "$path" "$into/$name"
      strip --strip-unneeded "$into/$name"
    fi
  done < <(libraries_of "${programs[@]/#/$build_dir/bin/}")
  install -m 755 "$root/scripts/gpu_run.sh" "$into/run.sh"
  fingerprint >"$into/SOURCES"
  {
    printf 'sources %s, %s\n' "$(cat "$into/SOURCES")" "$(git -C "$root" describe --always --dirty 2>/dev/null || true)"
    printf 'sm      %s\n' "$(cached CMAKE_CUDA_ARCHITECTURES)"
    printf 'peer    %s\n' "$([[ $(cached FLASHINFER_INCLUDE_DIR) == /* ]] && echo FlashInfer || echo none)"
  } >"$into/PACK"
}

# verify DIR: finds faults that would otherwise show only on the other machine.
verify() {
  local in=$1 name path pattern filter bytes
  while read -r name path; do
    [[ $name =~ $system_libraries || $path == "$in"/* ]] || die "the pack lacks $name"
  done < <(LD_LIBRARY_PATH=$in/runtime libraries_of "${programs[@]/#/$in/}")
  for name in "${programs[@]}"; do
    "$in/$name" --help >/dev/null || die "$name does not start"
  done
  filter=$("$in/run.sh" --short-filter)
  while read -r pattern; do  # without a GPU, the cases that run on the CPU alone are listed
    [[ -n $("$in/hashevict_operations_test" --gtest_list_tests --gtest_filter="${pattern%/cuda}/cpu") ]] ||
      die "scripts/gpu_run.sh: short_filter: $pattern names no test"
  done < <(tr : '\n' <<<"$filter")
  (($("$in/hashevict_device_bench" --short --benchmark_list_tests | wc -l) == 12)) || die "--short: other than 12 names"
  bytes=$(du -sb "$in" | cut -f 1)
  ((bytes <= most_bytes)) || die "the pack takes $bytes bytes: expected at most $most_bytes"
}

make_pack() {
  local fresh=$pack.partial
  ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}"
  PATH=$PATH:/usr/local/cuda/bin
  command -v nvcc >/dev/null || die "no nvcc: the CUDA toolkit is needed"
  say "Building"
  configure_and_build "$@"
  say "Packing"
  rm -rf "$fresh"
  collect "$fresh"
  verify "$fresh"
  rm -rf "$pack"
  mv "$fresh" "$pack"
  cat "$pack/PACK"
  say "Packed: $(du -sh "$pack" | cut -f 1) in build/gpu_pack; scripts/gpu_check.sh runs it"
}

if [[ ${1-} == --pack ]]; then
  make_pack "${@:2}"
  exit 0
fi

note=
if [[ ! -x $pack/run.sh ]]; then
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1) || die "no GPU answers nvidia-smi"
  make_pack "-DCMAKE_CUDA_ARCHITECTURES=${capability/./}-real"
elif [[ $(cat "$pack/SOURCES" 2>/dev/null) != "$(fingerprint)" ]]; then
  note='build/gpu_pack was made from other sources than those here'
  printf 'note: %s\n' "$note" >&2
fi
exec "$pack/run.sh" --out "${OUT:-$root/build/gpu_results}" --note "$note" "$@"
