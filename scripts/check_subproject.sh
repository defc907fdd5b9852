#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/check_subproject.sh c|cpp
#
# Builds the library inside another project, tests/consumer/subproject_c or subproject_cpp, from a copy of the source in
# a folder whose name has spaces. Prints the consumer's output: codes must be the same in every build.
# c also links a program without any shared object, if apt can get Highway's source.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"
[[ $# == 1 && ($1 == c || $1 == cpp) ]] || die "say c or cpp; try --help"
ensure_packages "${library_packages[@]}" gcc binutils

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source_copy="$work/an engine/third party/hashevict"
project="$work/an engine/subproject_$1"
build="$work/an engine/build"
mkdir -p "$source_copy"
cp -R "$root"/{CMakeLists.txt,cmake,include,kernels,src} "$source_copy"
cp -R "$root/tests/consumer/"{c,"subproject_$1"} "$work/an engine"
use_fast_build

# highway_source: the folder of Highway's source, or nothing if apt cannot get it. apt's own lists name no sources, so a
# separate copy of them with sources is read.
highway_source() {
  local apt=$work/apt
  mkdir -p "$apt/lists/partial" "$apt/parts" "$work/highway"
  local lists=/etc/apt/sources.list
  sed -sn 's/^deb /deb-src /p' "$lists" "$lists".d/*.list >"$apt/parts/all.list" 2>/dev/null || true
  sed 's/^Types:.*/Types: deb-src/' "$lists".d/*.sources >"$apt/parts/all.sources" 2>/dev/null || true
  (
    cd "$apt"
    settings=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/parts" -o Dir::State::lists="$apt/lists")
    apt-get "${settings[@]}" -qq update && apt-get "${settings[@]}" -qq source --download-only highway
    tar -xf highway_*.orig.tar.* -C "$work/highway" --strip-components=1
  ) >"$apt/log" 2>&1 || return 0
  echo "$work/highway"
}

settings=()
if [[ $1 == c ]]; then
  highway=$(highway_source)
  if [[ -n $highway ]]; then
    settings=(-DHASHEVICT_BUNDLE_HIGHWAY=ON -DFETCHCONTENT_SOURCE_DIR_HWY="$highway")
  else
    echo "no source of Highway here: the link without shared objects is not tried"
  fi
fi

say "Subproject of $1"
cmake -S "$project" -B "$build" -DHASHEVICT_SOURCE="$source_copy" "${settings[@]}" >"$work/configure.log" 2>&1 ||
  die "$(<"$work/configure.log")"
cmake --build "$build" >"$work/build.log" 2>&1 || die "$(tail -n 100 "$work/build.log")"
if grep -E 'warning:' "$work/build.log"; then die "the build above has warnings"; fi
targets=$(cmake --build "$build" --target help | grep -oE 'hashevict_[a-z_]+' | sort -u | tr '\n' ' ')
[[ $targets == "hashevict_entry hashevict_library hashevict_objects " ]] ||
  die "the subproject has targets beside the library: $targets"

if [[ $1 == c ]]; then
  grep -qF -- '-O3 -DNDEBUG' "$work/configure.log" || die "nothing says that the library is optimised"
fi
if ((${#settings[@]} > 0)); then
  archive=$(find "$build" -name libhashevict.a)
  gcc -I "$source_copy/include" "$root/tests/consumer/c/consumer.c" "$archive" -lstdc++ -lm -lpthread -o "$work/by_hand"
  "$work/by_hand"
  if ldd "$work/by_hand" | grep -F hwy; then die "Highway was to be inside libhashevict.a"; fi
  "$build/consumer_without_shared_objects"
fi
if [[ $1 == cpp ]]; then
  exported=$(nm -D --defined-only "$build/libengine.so" | grep -E 'hashevict|hwy' || true)
  [[ -z $exported ]] || die "an engine with HASHEVICT_HIDDEN exports of the library: $exported"
fi
"$build/consumer"
