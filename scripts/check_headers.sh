#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/check_headers.sh
#
# Compiles each public header alone, by g++ and clang++, as C++17 and C++20, and the C ABI also as C99 and C11. Without
# exceptions and RTTI the C ABI must compile, and the error of the C++ face must name the C ABI.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

flags=(-fsyntax-only -Wall -Wextra -Wconversion -pedantic-errors -Werror -I "$root/include")
compiled=0
failed=0

# compile COMPILER LANGUAGE STANDARD HEADER [FLAG...]
# A declaration follows, since ISO C wants one in every translation unit.
compile() { printf '#include "hashevict/%s"\nextern int declared;\n' "$4" | "$1" -x "$2" "-std=$3" "${flags[@]}" "${@:5}" -; }

# check COMPILER LANGUAGE STANDARD HEADER [FLAG...]
check() {
  compiled=$((compiled + 1))
  if ! compile "$@"; then
    echo "hashevict/$4 does not stand alone: $1 -std=$3 ${*:5}" >&2
    failed=$((failed + 1))
  fi
}

# check_refused COMPILER: the C++ face without exceptions.
check_refused() {
  compiled=$((compiled + 1))
  local said
  if said=$(compile "$1" c++ c++17 cache.hpp -fno-exceptions 2>&1) ||
    [[ $said != *"include <hashevict/hashevict.h>, the C ABI"* ]]; then
    echo "hashevict/cache.hpp does not name the C ABI: $1 -fno-exceptions" >&2
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
for path in "$root"/include/hashevict/*.h; do
  for standard in c99 c11; do
    check gcc c "$standard" "${path##*/}"
    check clang c "$standard" "${path##*/}"
  done
done
for compiler in g++ clang++; do
  check "$compiler" c++ c++17 hashevict.h -fno-exceptions -fno-rtti
  check "$compiler" c++ c++17 hashevict.h -DHASHEVICT_HIDDEN
  check "$compiler" c++ c++17 cache.hpp -fno-rtti
  check_refused "$compiler"
done
echo "headers: $((compiled - failed)) of $compiled compilations as expected"
((failed == 0))
