#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_files.sh ROOT
#
# Every source file under ROOT, except in build folders, must name its licence at the top. At least half of the files
# have at most 100 lines. A file of more than 400 lines needs a reason in tests/house/long_files.txt; no file has more
# than 800. The list contains no file that needs no reason.
set -euo pipefail
cd "$1"

failed=0
fault() {
  echo "$1" >&2
  failed=1
}

list=tests/house/long_files.txt
declare -A reasons
while IFS= read -r line; do
  [[ $line == '#'* ]] && continue
  if [[ $line =~ ^([^:]+):\ (.+)$ ]]; then
    reasons[${BASH_REMATCH[1]}]=${BASH_REMATCH[2]}
  else
    fault "$list: '$line' is not PATH: REASON"
  fi
done <"$list"

files=0
short=0
while read -r file; do
  mapfile -t text <"$file"
  if [[ ${text[*]:0:3} != *'SPDX-License-Identifier: Apache-2.0'* ]]; then
    fault "$file: no SPDX-License-Identifier in the first three lines"
  fi
  lines=${#text[@]}
  files=$((files + 1))
  if ((lines <= 100)); then short=$((short + 1)); fi
  if ((lines > 800)); then
    fault "$file: $lines lines; 800 is the most"
  elif ((lines > 400)) && [[ ! -v reasons[$file] ]]; then
    fault "$file: $lines lines; more than 400 need a reason in $list"
  elif ((lines <= 400)) && [[ -v reasons[$file] ]]; then
    fault "$list: $file has $lines lines and needs no reason"
  fi
  unset "reasons[$file]"
done < <(find . \( -path './build*' -o -path './.*' -o -path ./tests/house/planted \) -prune -o -type f \
  -regextype posix-extended -regex '.*(\.(h|hpp|c|cpp|cu|cuh|py|sh|cmake)|/CMakeLists\.txt)' -printf '%P\n' | sort)

for file in "${!reasons[@]}"; do fault "$list: there is no file $file"; done
if ((2 * short < files)); then fault "$short of $files files have at most 100 lines; half of them must"; fi
exit "$failed"
