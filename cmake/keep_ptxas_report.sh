#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: keep_ptxas_report.sh COMPILER ARGUMENT...
#
# Runs a compiler and writes ptxas' report on the kernels' registers and spills next to the object, as OBJECT.ptxas, for
# tests/cuda/check_resources.sh. All other output goes where the compiler would send it.
object=
previous=
for argument in "$@"; do
  if [ "$previous" = -o ]; then object=$argument; fi
  previous=$argument
done
if [ -z "$object" ]; then exec "$@"; fi
"$@" 2>"$object.messages"
status=$?
grep -E "^ptxas info|bytes stack frame" "$object.messages" >"$object.ptxas"
grep -vE "^ptxas info|bytes stack frame" "$object.messages" >&2
rm -f "$object.messages"
exit "$status"
