#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/format.sh [--check]
#
# Formats every C and C++ file in place. With --check it changes nothing and fails if a file would change. Versions of
# clang-format other than 14 break some lines differently.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

mode=(-i)
if [[ ${1-} == --check ]]; then
  mode=(--dry-run --Werror)
elif (($# > 0)); then
  die "unknown argument $1; try --help"
fi

ensure_packages clang-format
source_files | tr '\n' '\0' | xargs -0 clang-format --style=file "${mode[@]}"
