#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/check_symbols.sh LIBHASHEVICT.SO
#
# Fails unless the shared library exports exactly the functions that the C ABI (include/hashevict/*.h) declares.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"
[[ $# == 1 && -f $1 ]] || die "give one shared library; try --help"

declared=$(cat "$root"/include/hashevict/*.h | tr '\n' ' ' | grep -oE 'HASHEVICT_API [^;(]*\(' | grep -oE 'hashevict_[a-z_0-9]+\(' | tr -d '(' |
  sort)
exported=$(nm -D --defined-only --format=posix "$1" | awk '{ print $1 }' | sort)
if ! diff <(echo "$declared") <(echo "$exported"); then
  die "declared in include/hashevict/*.h (<) and exported by $1 (>) differ"
fi
echo "symbols: exactly the $(wc -l <<<"$exported") functions of the C ABI are exported"
