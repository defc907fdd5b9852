#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_loads.sh CUOBJDUMP FOLDER
#
# Requires ordinary loads of all memory that an earlier launch may have written, since launches overlap. The machine
# code of the objects in FOLDER may load through the read-only path (LDG...CONSTANT) only single floats, as in
# projections and weights of importances, and only in kernels that multiply by a projection.
set -euo pipefail

objects=("$2"/*.o)
[[ -s ${objects[0]} ]] || {
  echo "no objects in $2" >&2
  exit 1
}
for object in "${objects[@]}"; do
  "$1" -sass "$object"
done | c++filt | awk '
  /Function :/ {
    kernel = substr($0, index($0, "hashevict::kernels::") + 20)
    sub(/[^a-z_0-9].*/, "", kernel)
    ++kernels
  }
  /LDG[.A-Z0-9]*\.CONSTANT/ {
    match($0, /LDG[.A-Z0-9]*\.CONSTANT/)
    load = substr($0, RSTART, RLENGTH)
    multiplies = kernel ~ /^(encode_bulk|encode_step|evict|decode|decode_cluster|prefill_choose|prefill_steps)$/
    if (!multiplies || load ~ /\.(U8|S8|U16|S16|64|128)/) wrong[kernel ": " load]++
    else projections++
  }
  END {
    for (load in wrong) { print load ", " wrong[load] " times: expected an ordinary load"; failed = 1 }
    if (kernels == 0 || projections == 0) { print "no kernel or no load of a projection was found"; failed = 1 }
    else print kernels " functions, " projections " loads of projections"
    exit failed
  }'
