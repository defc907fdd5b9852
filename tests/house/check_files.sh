#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_files.sh ROOT
#
# Every source file names its licence at the top, and none is longer than 800 lines.
set -euo pipefail
cd "$1"

failed=0
folders=()
for folder in include src kernels tests tools bench examples cmake scripts; do
  if [[ -d $folder ]]; then folders+=("$folder"); fi
done
while read -r file; do
  if ! head -n 3 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0'; then
    echo "$file: no SPDX-License-Identifier in the first three lines" >&2
    failed=1
  fi
  lines=$(wc -l <"$file")
  if ((lines > 800)); then
    echo "$file: $lines lines; 800 is the most" >&2
    failed=1
  fi
done < <(find "${folders[@]}" -type f -regextype posix-extended \
  -regex '.*\.(h|hpp|c|cpp|cu|cuh|py|sh|cmake)' ! -path 'tests/house/planted/*' | sort)
exit "$failed"
