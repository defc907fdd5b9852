#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_code.sh CUOBJDUMP BUDGETS FOLDER
#
# Checks the machine code of attend, attend_bulk, decode and decode_cluster in the objects of FOLDER against BUDGETS
# (kernels/budgets.txt): its size, the loads of keys and values that a turn has in flight, no generic access and no local
# memory. Prints the largest numbers of each kernel. Exits with 77 where there is no CUOBJDUMP.
set -euo pipefail

if [[ ! -x $1 ]]; then
  echo "skipped: cuobjdump was not found (PyPI: nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm, in one folder)"
  exit 77
fi
objects=("$3"/attend.*o "$3"/attend_bulk.*o "$3"/decode.*o "$3"/decode_cluster.*o)
for object in "${objects[@]}"; do
  [[ -s $object ]] || {
    echo "no object $object" >&2
    exit 1
  }
  "$1" -sass "$object"
done | c++filt | awk -v budgets="$2" -f "$(dirname "$0")/kernel_names.awk" -f <(cat <<'AWK'
BEGIN {
  while ((getline line < budgets) > 0) {
    if (line ~ /^#/ || split(line, field, " ") == 0 || field[5] == "-") continue
    code[field[1]] = field[5]
    loads[field[1]] = field[6]
    least[field[1]] = 1e9
  }
}
function fail(text) { print kernel " for " architecture ": " text; failed = 1 }
function finish() {
  if (kernel == "") return
  ++kernels
  if (!(kernel in code)) { fail("has no budget in " budgets); return }
  if (instructions * 16 > code[kernel] * 1024) {
    fail("has " instructions * 16 / 1024 " KiB of code: at most " code[kernel] " were meant")
  }
  if (generic > 0) fail(generic " generic accesses")
  if (local > 0) fail(local " accesses to local memory")
  if (rows < loads[kernel]) fail(rows " loads of 16 bytes of keys and values: at least " loads[kernel] " were meant")
  if (instructions > most[kernel]) most[kernel] = instructions
  if (rows < least[kernel]) least[kernel] = rows
}
/^[ \t]*arch = sm_/ { architecture = $3 }
/Function :/ {
  finish()
  kernel = name_of($0)
  instructions = generic = local = rows = 0
}
/^[ \t]*\/\*[0-9a-f]+\*\/ / && !/ NOP/ {
  ++instructions
  if (/ (LD|ST|ATOM|RED)(\.| )/) ++generic
  if (/ (LDL|STL)/) ++local
  if (/LDG\.E\.NA[.A-Z0-9]*\.128/) ++rows
}
END {
  finish()
  if (kernels == 0) { print "no kernel was found"; failed = 1 }
  for (kernel in code) {
    printf "%-20s %4d of %3d KiB of code, %2d loads of rows\n", kernel, most[kernel] * 16 / 1024 + 0.5, code[kernel],
           least[kernel] | "sort"
  }
  close("sort")
  exit failed
}
AWK
)
