#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/test_python.sh [--transformers [VERSION...]]
#
# Builds the wheel of the Python package, installs it into a virtual environment of its own (build/python/venv), and runs
# ruff, mypy and the tests there. The tests compare with the command `hashevict`, which is built of the same objects;
# HASHEVICT_COMMAND names another.
#
# --transformers also runs the tests that need torch and transformers, in one more environment for each VERSION
# (default: the newest and two older ones). PyPI's torch is the CUDA build; without the CUDA libraries that only a GPU
# needs, its environment takes 3 GB (build/python/venv-torch).
#
# Exits with 77, as a skipped test does, if a package is missing and no package index answers.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/lib_python.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

versions=()
if [[ ${1-} == --transformers ]]; then
  versions=("${@:2}")
  if ((${#versions[@]} == 0)); then versions=(newest 5.12.1 5.2.0); fi
elif (($# > 0)); then
  die "say --transformers or nothing; try --help"
fi
ensure_packages "${library_packages[@]}" "${tools_packages[@]}" "${python_packages[@]}"
use_fast_build
cd "$root"

# install WHEEL VENV
install() { packages "$2" --force-reinstall --no-deps "$1"; }

say "Building the wheel"
environment "$work/venv" build scikit-build-core nanobind ninja numpy safetensors pytest ruff mypy matplotlib
rm -rf "$work/dist"
"$work/venv/bin/python" -m build --wheel --no-isolation --outdir "$work/dist" -C build-dir="$work/build" \
  -C cmake.define.HASHEVICT_BUILD_TOOLS=ON -C "build.targets=_native;hashevict_cli" "$package" >"$work/build.log" 2>&1 ||
  { tail -n 50 "$work/build.log"; die "the wheel does not build; all of it in $work/build.log"; }
if grep -n 'python/src/.*warning:' "$work/build.log"; then die "the extension module compiles with the warnings above"; fi
wheel=$(ls "$work"/dist/*.whl)
echo "$wheel: $(stat -c %s "$wheel") bytes"
install "$wheel" "$work/venv"

say "Ruff and mypy"
cd "$package"  # where the settings are
ruff=("$work/venv/bin/ruff" --config pyproject.toml)
python_sources=(. ../lab/rivals ../lab/tests ../scripts)
"${ruff[@]}" check "${python_sources[@]}"
"${ruff[@]}" format --check "${python_sources[@]}"
"$work/venv/bin/mypy"
MYPYPATH=../lab:. "$work/venv/bin/mypy" --package rivals

say "Tests without torch"
export HASHEVICT_COMMAND=${HASHEVICT_COMMAND:-$work/build/hashevict/tools/cli/hashevict}
[[ -x $HASHEVICT_COMMAND ]] || die "HASHEVICT_COMMAND: $HASHEVICT_COMMAND is no program"
cd "$work"  # not beside the sources, whose folder would shadow the installed package
pytest=(-m pytest -q -p no:cacheprovider --rootdir "$root" -c "$package/pyproject.toml")
"$work/venv/bin/python" "${pytest[@]}" "$package/tests"

if ((${#versions[@]} > 0)); then torch_environment; fi
for version in "${versions[@]}"; do
  venv=$(transformers_environment "$version" pytest matplotlib)
  install "$wheel" "$venv"
  say "Tests with transformers $("$venv/bin/python" -c 'import transformers; print(transformers.__version__)')"
  "$venv/bin/python" "${pytest[@]}" -W ignore "$package/tests"
  "$venv/bin/python" "${pytest[@]}" -W ignore "$root/lab/tests"
done
say "Python: passed"
