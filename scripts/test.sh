#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/test.sh [--short] [CMAKE ARGUMENT...]
#
# Installs missing packages (Debian and derivatives), builds the library, the command and all tests into build/release,
# and runs the whole suite. Arguments go to CMake, for instance -DHASHEVICT_WARNINGS_AS_ERRORS=ON.
#
# --short  builds and runs only the suites of the API, the core and the operations
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

preset='test'
if [[ ${1-} == --short ]]; then
  preset='test-short'
  shift
fi

ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${test_packages[@]}"

if nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc); then
  say "CUDA compiler found ($nvcc): the CUDA backend is built as well"
else
  say "No CUDA compiler found: the CPU backend is built; kernels still run on the host, in the tests"
fi

say "Building"
configure test "$@"
build "$preset"

say "Testing"
log=$root/build/release/ctest.log
outcome=passed
(cd "$root" && ctest --preset "$preset" --parallel "$(nproc)") 2>&1 | tee "$log" || outcome=FAILED
printf '\nscripts/test.sh: %s, %s in %d s\n' "$outcome" "$(grep 'tests passed' "$log" || echo 'no test was run')" "$SECONDS"
[[ $outcome == passed ]]
