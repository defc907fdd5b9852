#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_resources.sh BUDGETS FOLDER
#
# Checks every kernel against BUDGETS (kernels/budgets.txt): the number of its instances, their registers, the blocks
# that a multiprocessor has room for, and no spills, as ptxas reported them when the objects in FOLDER were compiled
# (cmake/keep_ptxas_report.sh). Prints the largest numbers of each kernel.
set -euo pipefail

reports=("$2"/*.ptxas)
[[ -s ${reports[0]} ]] || {
  echo "no report of ptxas in $2" >&2
  exit 1
}
cat "${reports[@]}" | c++filt | awk -v budgets="$1" -f "$(dirname "$0")/kernel_names.awk" -f <(cat <<'AWK'
BEGIN {
  while ((getline line < budgets) > 0) {
    if (line ~ /^#/ || split(line, field, " ") == 0) continue
    instances[field[1]] = field[2]
    registers[field[1]] = field[3]
    blocks[field[1]] = field[4]
  }
}
function fail(text) { print kernel ": " text; failed = 1 }
/Compiling entry function/ {
  kernel = name_of($0)
  match($0, / for .sm_[0-9a-z]+/)
  architecture = substr($0, RSTART + 6, RLENGTH - 6)
  architectures[architecture] = 1
  if (!(kernel in registers)) fail("has no budget in " budgets)
  ++seen[kernel, architecture]
}
/bytes stack frame/ && kernel in registers && $5 + $9 > 0 { fail("spills " $5 + $9 " bytes") }
/Used [0-9]+ registers/ && kernel in registers {
  match($0, /Used [0-9]+/)
  used = substr($0, RSTART + 5, RLENGTH - 5) + 0
  if (used > registers[kernel]) fail("takes " used " registers: at most " registers[kernel] " were meant")
  room = int(65536 / (int((used + 7) / 8) * 8 * 128))
  if (blocks[kernel] != "-" && room < blocks[kernel]) {
    fail("leaves room for " room " blocks: " blocks[kernel] " were meant")
  }
  if (used > most[kernel]) most[kernel] = used
}
END {
  for (kernel in registers) {
    for (architecture in architectures) {
      number = seen[kernel, architecture] + 0
      if (number == 0) fail("was not compiled for " architecture)
      if (instances[kernel] != "-" && number > instances[kernel]) {
        fail("has " number " instances for " architecture ": at most " instances[kernel] " were meant")
      }
    }
    printf "%-20s %3d of %3d registers\n", kernel, most[kernel], registers[kernel] | "sort"
  }
  close("sort")
  exit failed
}
AWK
)
