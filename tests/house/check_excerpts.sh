#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: check_excerpts.sh ROOT
#
# A page under ROOT/docs quotes code after a line "<!-- FILE -->". FILE must contain the lines of the block, one after
# the other. Indentation does not count.
set -euo pipefail
cd "$1"

failed=0
fault() {
  echo "$1" >&2
  failed=1
}

quoted=0
while IFS=: read -r page number mark; do
  file=${mark#<!-- }
  file=${file% -->}
  if [[ ! -f $file ]]; then
    fault "$page:$number: quotes $file, which does not exist"
    continue
  fi
  quoted=$((quoted + 1))
  block=$(awk -v mark="$number" 'NR == mark + 1 && !/^```/ { exit } NR <= mark + 1 { next } /^```/ { exit }
    { sub(/^[ \t]+/, ""); print }' "$page")
  if [[ -z $block ]]; then
    fault "$page:$number: no block of code follows"
  elif [[ $'\n'$(sed 's/^[[:space:]]*//' "$file")$'\n' != *$'\n'"$block"$'\n'* ]]; then
    fault "$page:$number: these lines do not stand in $file"
  fi
done < <(grep -rnE --include='*.md' '^<!-- [^ ]+ -->$' docs | sort)
((quoted > 0)) || fault "docs: no page quotes anything"
exit "$failed"
