#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: keep_ptxas_report.sh COMPILER ARGUMENT...
#
# Runs a compiler and keeps what ptxas says of the kernels' registers and spills beside the object, as OBJECT.ptxas, for
# tests/cuda/check_resources.sh. Everything else it says goes where it would have gone.
object=
previous=
for argument in "$@"; do
  if [ "$previous" = -o ]; then object=$argument; fi
  previous=$argument
done
"$@" 2>"$object.messages"
status=$?
grep -E "^ptxas info|bytes stack frame" "$object.messages" >"$object.ptxas"
grep -vE "^ptxas info|bytes stack frame" "$object.messages" >&2
rm -f "$object.messages"
exit "$status"
