#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/lint.sh [FILE...]
#
# Runs clang-tidy (with the checks of .clang-tidy; findings are errors) over the given files, or over all files of the
# library and the tools that the build compiles.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${test_packages[@]}" "${bench_packages[@]}" \
  clang clang-tidy
configure clang-release >/dev/null

files=("$@")
if (($# == 0)); then
  mapfile -t files < <(sed -n 's/^ *"file": "\(.*\.cpp\)".*/\1/p' "$root/build/clang-release/compile_commands.json" |
    grep -E "^$root/(src|tools)/" | sort -u)
  ((${#files[@]} > 0)) || die "no file of src or tools in compile_commands.json"
fi
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p "$root/build/clang-release"
echo "clang-tidy: ${#files[@]} files clean"
