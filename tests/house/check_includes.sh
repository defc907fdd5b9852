#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_includes.sh ROOT
#
# Includes point one way only, see "Layers" in CONTRIBUTING.md. Each C++ file under ROOT, except in build folders,
# matches exactly one rule, which lists all that the file may include besides the C++ standard library. The check
# reports every other include with its line, and every file with no rule or two.
set -euo pipefail
cd "$1"

failed=0
fault() {
  echo "$1" >&2
  failed=1
}

patterns=()
lists=()
# rule PATHS ALLOWED: files whose path matches the pattern PATHS, in which * also matches slashes, may include whatever
# the extended regular expression ALLOWED matches from its start.
rule() {
  patterns+=("$1")
  lists+=("$2")
}

standard='[a-z_0-9]+$'
posix='((sys|arpa|netinet)/[a-z_]+|std[a-z]+|string|errno|fcntl|poll|pthread|sched|signal|spawn|time|unistd)\.h$'
c_abi='hashevict/hashevict\.h$'
own='[a-z0-9_]+\.hpp$'  # beside the file
public='hashevict/[a-z_]+\.hpp$|hashevict/hashevict\.h$'
cuda_runtime='cuda_(runtime|runtime_api|bf16|fp16)\.h$'
libcudacxx='cuda/[a-z_/]+$'  # ours end in .hpp
testing='gtest/|gmock/|support/|reference/'

rule 'include/hashevict/*.h' 'hashevict/[a-z_]+\.h$|(stddef|stdint|string)\.h$'
rule 'include/hashevict/*.hpp' "$public"
rule 'src/c_api.cpp' "backend/|core/|$c_abi"
rule 'src/core/!(machine.cpp)' "core/|fmt/|$c_abi"
rule 'src/core/machine.cpp' "core/|$posix|$c_abi"
rule 'src/backend/!(registry.cpp)' "backend/|core/|$c_abi"
rule 'src/backend/registry.cpp' "backend/|core/|(cpu|cuda)/(cpu|cuda)_backend\.hpp$|$c_abi"
rule 'src/cpu/*' "cpu/|backend/|core/|hwy/|$posix|$c_abi"
rule 'src/cuda/!(runtime.cpp)' "cuda/[a-z_]+\.hpp$|backend/|core/|kernels/launch\.hpp$|$c_abi"
rule 'src/cuda/runtime.cpp' "cuda/[a-z_]+\.hpp$|core/|$cuda_runtime|$c_abi"
kernels="kernels/|core/(center|kv_layout|layer|row_format|rule)\.hpp$"
rule 'kernels/!(detail/*_device.cuh)' "$kernels|simt/(cluster|host|launch)\.hpp$"
rule 'kernels/detail/*_device.cuh' "$kernels|cub/|$libcudacxx|$cuda_runtime"
rule 'tools/engine/*' "$own|engine/|hwy/|nlohmann/|$posix|$public"
command="$own|engine/|CLI/|fmt/|nlohmann/|$posix|$public"
shared='cli/[a-z0-9_]+\.hpp$'  # beside the folders of the demo and the replay
rule 'tools/cli/!(*/*)' "$command"
rule 'tools/cli/demo/*' "$shared|$command"
rule 'tools/cli/replay/!(managed_memory*)' "$shared|$command"
rule 'tools/cli/replay/managed_memory*' "$own|$public|$cuda_runtime"
rule 'python/src/*' "$own|nanobind/|Python\.h$|$public"
rule 'examples/*' "$own|$posix|$public"
rule 'bench/device_bench.cpp' "$own|benchmark/|kernels/clocks\.hpp$|$public"
rule 'bench/!(goals.cpp|prompt.cpp|engine_bench.cpp|small_model.hpp|device_bench.cpp|peers/*)' "$own|benchmark/|faiss/|flashinfer/|nlohmann/|omp\.h$|hwy/|$cuda_runtime|$posix|$public"
rule 'bench/goals.cpp' "$own|core/rule\.hpp$|cpu/(scan_kernel|select_kernel|highway_targets)\.hpp$|hwy/|nlohmann/|$posix|$public"
rule 'bench/@(prompt.cpp|engine_bench.cpp|small_model.hpp)' "$own|engine/|nlohmann/|$public"
rule 'bench/peers/llama_cpp/*' "\.\./\.\./ratio\.hpp$|ggml(-cpu)?\.h$|nlohmann/|$public"
rule 'tests/reference/*' 'reference/'
rule 'tests/consumer/*' "$posix|$public"
rule 'tests/@(support|cuda)/*' "$own|cuda/foreign\.hpp$|$testing|$cuda_runtime|$posix|$public"
rule 'tests/@(api|fuzz|operations|properties)/*' "$own|properties/|$testing|$posix|$public"
rule 'tests/@(core|cpu)/*' "$own|core/|cpu/|hwy/|xmmintrin\.h$|$testing|$posix|$public"
rule 'tests/simt/*' "$own|simt/|kernels/|cuda/[a-z_]+\.hpp$|$cuda_runtime|core/|boost/context/|sanitizer/|$testing|$posix|$public"
rule 'tests/recipes/*' "$own|core/|kernels/|$testing|$posix|$public"
rule 'tests/@(cli|engine)/*' "$own|(\.\./)?(cli|engine)/|fmt/|nlohmann/|$testing|$posix|$public"

spelled_out='^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]([^">]*)[">]'

# check_file FILE ALLOWED
check_file() {
  local file=$1 allowed=$2 number text included
  while IFS=: read -r number text; do
    if [[ $text =~ $spelled_out ]]; then
      included=${BASH_REMATCH[1]}
      [[ $included =~ ^($standard|$allowed) ]] || fault "$file:$number: may not include $included"
    else
      fault "$file:$number: includes what no rule can read"
    fi
  done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' "$file")
}

while read -r file; do
  allowed=()
  for i in "${!patterns[@]}"; do
    # shellcheck disable=SC2053  # a pattern
    if [[ $file == ${patterns[i]} ]]; then allowed+=("${lists[i]}"); fi
  done
  if ((${#allowed[@]} == 1)); then
    check_file "$file" "${allowed[0]}"
  else
    fault "$file: stands under ${#allowed[@]} rules of check_includes.sh, not one"
  fi
done < <(find . \( -path './build*' -o -path './.*' -o -path ./tests/house/planted \) -prune -o -type f \
  -regextype posix-extended -regex '.*\.(h|hh|hpp|hxx|c|cc|cpp|cxx|cu|cuh|inc|inl)' -printf '%P\n' | sort)

exit "$failed"
