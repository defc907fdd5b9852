# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Functions shared by the scripts next to this file. Source it; do not run it.
# shellcheck disable=SC2034  # used by the scripts that source it

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Debian packages, by purpose. CMake fetches other missing dependencies (cmake/dependencies.cmake).
library_packages=(g++ cmake ninja-build libhwy-dev libfmt-dev)
tools_packages=(libcli11-dev nlohmann-json3-dev)
test_packages=(libgtest-dev libgmock-dev libboost-context-dev)
bench_packages=(libbenchmark-dev)
python_packages=(python3-venv python3-dev)
check_packages=(clang clang-format clang-tidy ccache pkg-config shellcheck binutils gcc)

say() { printf '\n== %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# usage_if_asked FILE ARGUMENT...: if an argument asks for help, prints the opening comment of the script FILE and
# exits.
usage_if_asked() {
  local file=$1 argument
  shift
  for argument in "$@"; do
    if [[ $argument == -h || $argument == --help ]]; then
      sed -n '3,/^[^#]/s/^# \{0,1\}//p' "$file"
      exit 0
    fi
  done
}

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# ensure_packages PACKAGE...: installs the missing ones; fails if it cannot.
ensure_packages() {
  local package missing=() as_root=()
  if ! command -v apt-get >/dev/null; then
    echo "no apt-get here: going on with what is installed; CMake names or fetches what is missing"
    return 0
  fi
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if ((${#missing[@]} == 0)); then return 0; fi
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "not root, and no sudo: as root, run this, then start again: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "Installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# use_fast_build: uses Ninja and ccache if present, with one job per processor.
use_fast_build() {
  if command -v ninja >/dev/null; then export CMAKE_GENERATOR=${CMAKE_GENERATOR:-Ninja}; fi
  if command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}
    export CMAKE_CUDA_COMPILER_LAUNCHER=${CMAKE_CUDA_COMPILER_LAUNCHER:-ccache}
  fi
  CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
  export CMAKE_BUILD_PARALLEL_LEVEL
}

# configure PRESET [CMAKE ARGUMENT...]
configure() {
  use_fast_build
  (cd "$root" && cmake --preset "$@")
}

# build PRESET [ARGUMENT...]
build() { (cd "$root" && cmake --build --preset "$@"); }

# source_files: every C and C++ file of the project, one per line.
source_files() {
  local folder folders=()
  for folder in include src kernels tests tools python bench examples; do
    if [[ -d $root/$folder ]]; then folders+=("$root/$folder"); fi
  done
  find "${folders[@]}" -type f \
    \( -name '*.h' -o -name '*.hpp' -o -name '*.c' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) | sort
}
