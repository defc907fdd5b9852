#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_resources.sh FOLDER
#
# Checks every kernel against the budget below: registers, and no spills, as ptxas reported them when the objects in
# FOLDER were compiled (cmake/keep_ptxas_report.sh). Prints the largest numbers of each kernel.
set -euo pipefail

# Registers that each kernel may use, as its comment says. Attention has a second budget for many queries at a time.
declare -A budget=(
  [attend]=168 [attend_wide]=255 [attend_mma]=168 [attend_mma_wide]=255 [decode]=168 [decode_wide]=255 [encode_bulk]=64 [encode_step]=64 [evict]=128
  [prefill_centers]=64 [prefill_choose]=128 [prefill_count]=32 [prefill_gather]=64 [prefill_move]=64
  [prefill_accumulate]=64 [prefill_weigh]=64 [prefill_attend]=255 [copy_slots]=64)

failed=0
declare -A largest
reports=("$1"/*.ptxas)
[[ -s ${reports[0]} ]] || {
  echo "no report of ptxas in $1" >&2
  exit 1
}
# name of a kernel that spilled registers, one line per compiled kernel
while read -r kernel spilled registers; do
  if [[ -z ${budget[$kernel]-} ]]; then
    echo "$kernel: has no budget: add one here and beside the kernel" >&2
    failed=1
    continue
  fi
  if ((spilled > 0)); then
    echo "$kernel: spills $spilled bytes" >&2
    failed=1
  fi
  if ((registers > budget[$kernel])); then
    echo "$kernel: takes $registers registers: at most ${budget[$kernel]} were meant" >&2
    failed=1
  fi
  if ((registers > ${largest[$kernel]:-0})); then largest[$kernel]=$registers; fi
done < <(cat "${reports[@]}" | c++filt | awk '
  /Compiling entry function/ {
    kernel = substr($0, index($0, "hashevict::kernels::") + 20)
    queries = kernel ~ /, [48]> >|^decode<.*Tile<[48],/ ? "_wide" : ""
    if (kernel ~ /MmaShape/) queries = kernel ~ /, 64> >/ ? "_mma" : "_mma_wide"
    sub(/[^a-z_0-9].*/, "", kernel)
    if (kernel == "attend" || kernel == "decode") kernel = kernel queries
  }
  /bytes stack frame/ { spilled = $5 + $9 }
  /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); print kernel, spilled, substr($0, RSTART + 5, RLENGTH - 5) }')
for kernel in "${!budget[@]}"; do
  printf '%-18s %3s of %3s registers\n' "$kernel" "${largest[$kernel]:-none}" "${budget[$kernel]}"
done | sort
if ((${#largest[@]} < ${#budget[@]})); then
  echo "a kernel above was not compiled" >&2
  failed=1
fi
exit "$failed"
