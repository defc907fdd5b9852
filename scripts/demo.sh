#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/demo.sh [ARGUMENT OF hashevict demo...]
#
# Installs missing packages (Debian and derivatives), builds the library and the command into build/release, and shows
# what a bounded cache costs and saves on real text. The report goes to ./hashevict-demo, or to the folder after --out.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

out=hashevict-demo
arguments=("$@")
for ((i = 0; i < $#; ++i)); do
  case ${arguments[i]} in
    --out) out=${arguments[i + 1]-} ;;
    --out=*) out=${arguments[i]#--out=} ;;
  esac
done

ensure_packages "${library_packages[@]}" "${tools_packages[@]}"

say "The demo runs on the CPU backend, which is built without the CUDA kernels"

say "Building"
configure release -DHASHEVICT_CUDA=OFF
build release --target hashevict_cli

say "Running hashevict demo"
"$root/build/release/bin/hashevict" demo "$@"

say "Done in $SECONDS s"
printf 'backend  CPU\nreport   %s\ndata     %s\ncommand  %s\n' "$(realpath "$out/report.html")" \
  "$(realpath "$out/report.json")" "$root/build/release/bin/hashevict"
