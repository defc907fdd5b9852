#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/check_headers.sh
#
# Compiles each public header alone, by g++ and clang++, as C++17 and C++20, and the C ABI also as C99 and C11.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

flags=(-fsyntax-only -Wall -Wextra -Wconversion -pedantic-errors -Werror -I "$root/include")
compiled=0
failed=0

# check COMPILER LANGUAGE STANDARD HEADER
check() {
  compiled=$((compiled + 1))
  if ! printf '#include "hashevict/%s"\n' "$4" | "$1" -x "$2" "-std=$3" "${flags[@]}" -; then
    echo "hashevict/$4 does not stand alone: $1 -std=$3" >&2
    failed=$((failed + 1))
  fi
}

for path in "$root"/include/hashevict/*.h*; do
  header=${path##*/}
  for standard in c++17 c++20; do
    check g++ c++ "$standard" "$header"
    check clang++ c++ "$standard" "$header"
  done
done
for standard in c99 c11; do
  check gcc c "$standard" hashevict.h
  check clang c "$standard" hashevict.h
done
echo "headers: $((compiled - failed)) of $compiled compilations clean"
((failed == 0))
