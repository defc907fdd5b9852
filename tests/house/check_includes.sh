#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_includes.sh ROOT
#
# Includes point one way only, see "Layers" in CONTRIBUTING.md. Each rule names a folder, and what a quoted or project
# include in it may begin with; anything else fails with the line it stands on.
set -euo pipefail
cd "$1"

failed=0

# rule PATHS ALLOWED: every include of a project header, or of a header of CUDA, in the files found under PATHS (a
# shell pattern) must match the extended regular expression ALLOWED from its start.
rule() {
  local paths=$1 allowed=$2 file number include
  for file in $(compgen -G "$paths" || true); do
    if [[ -d $file ]]; then
      rule "$file/*" "$allowed"
      continue
    fi
    [[ $file =~ \.(h|hpp|c|cpp|cu|cuh)$ ]] || continue
    while IFS=: read -r number include; do
      if ! [[ $include =~ ^($allowed) ]]; then
        echo "$file:$number: may not include $include" >&2
        failed=1
      fi
    done < <(grep -nE '^ *# *include *("|<(hashevict/|core/|backend/|cpu/|kernels/|cuda|cub/|nv))' "$file" |
      sed -E 's/^([0-9]+): *# *include *["<]([^">]*)[">].*/\1:\2/')
  done
}

c_abi='hashevict/hashevict\.h$'
own='[a-z0-9_]+\.hpp$'  # beside the file
public='hashevict/[a-z_]+\.hpp$|hashevict/hashevict\.h$'

rule 'include/hashevict/hashevict.h' '$^'
rule 'include/hashevict/*.hpp' "$public"
rule 'src/*.[ch]pp' "backend/|core/|$c_abi"
rule 'src/core' "core/|$c_abi"
rule 'src/backend/[!r]*' "backend/|core/|$c_abi"
rule 'src/backend/registry.*' "backend/|core/|(cpu|cuda)/(cpu|cuda)_backend\.hpp$|$c_abi"
rule 'src/cpu' "cpu/|backend/|core/|hwy/|$c_abi"
rule 'src/cuda' "cuda/|backend/|core/|kernels/launch\.hpp$|cuda_runtime|$c_abi"
rule 'kernels' "kernels/|core/(center|kv_layout|rule)\.hpp$|cub/|cuda"
rule 'tests/reference' 'reference/'
rule 'tools/engine' "$own|engine/|$public"
rule 'tools/eval/[!m]*' "$own|eval/|(\.\./)?engine/|$public"
rule 'tools/eval/managed_memory*' "$own|$public|cuda_runtime_api\.h$"
rule 'tools/cli' "$own|cli/|(\.\./)?(eval|engine)/|$public"
rule 'examples' "$own|$public"
rule 'tests/consumer' "$own|$public"

exit "$failed"
