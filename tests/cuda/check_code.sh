#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_code.sh CUOBJDUMP BUDGETS FOLDER
#
# Checks the machine code of attend, attend_bulk, decode and decode_cluster in the objects of FOLDER against BUDGETS
# (kernels/budgets.txt): its size, the copies of keys and values that a multiprocessor has in flight, no generic access
# and no local memory. Prints the largest numbers of each kernel. Exits with 77 where there is no CUOBJDUMP.
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
    blocks[field[1]] = field[4]
    code[field[1]] = field[5]
    flight[field[1]] = field[6]
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
  # Of the threads of all blocks: 16 bytes a copy, copies an entry, and as many entries as a wait leaves, and one.
  kib = blocks[kernel] * 128 * 16 * (copies == 1e9 ? 0 : copies) * (left + 1) / 1024
  if (flight[kernel] == 0 && copies < 1e9) fail("copies rows by threads: it was meant to have bulk copies")
  if (kib < flight[kernel]) fail("has " kib " KiB of copies in flight: at least " flight[kernel] " were meant")
  if (rows > 0) fail(rows " loads of rows into registers: they were meant to be copied")
  if (instructions > most[kernel]) most[kernel] = instructions
  if (kib < least[kernel]) least[kernel] = kib
}
/^[ \t]*arch = sm_/ { architecture = $3 }
/Function :/ {
  finish()
  kernel = name_of($0)
  instructions = generic = local = rows = zeroing = left = 0
  copies = 1e9
}
/^[ \t]*\/\*[0-9a-f]+\*\/ / && !/ NOP/ {
  ++instructions
  if (/ (LD|ST|ATOM|RED)(\.| )/) ++generic
  if (/ (LDL|STL)/) ++local
  if (/LDG\.E\.NA[.A-Z0-9]*\.128/) ++rows
  # A copy of 16 bytes or of zeros takes a predicate; others bring no rows of a turn. Groups end with LDGDEPBAR.
  if (/LDGSTS\.E\.BYPASS\.[.A-Z0-9]*128 [^;]*, !?U?P[0-9T]+ *;/) ++zeroing
  if (/LDGDEPBAR/ && zeroing > 0) {
    if (zeroing < copies) copies = zeroing
    zeroing = 0
  }
  if (match($0, /DEPBAR\.LE SB0, 0x[0-9]+ *;/)) {
    number = substr($0, RSTART + 17, 1) + 0
    if (number > left) left = number
  }
}
END {
  finish()
  if (kernels == 0) { print "no kernel was found"; failed = 1 }
  for (kernel in code) {
    printf "%-20s %4d of %3d KiB of code, %2d KiB in flight\n", kernel, most[kernel] * 16 / 1024 + 0.5, code[kernel],
           least[kernel] | "sort"
  }
  close("sort")
  exit failed
}
AWK
)
