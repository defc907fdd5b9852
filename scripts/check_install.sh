#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/check_install.sh static|shared [--build FOLDER] [CMAKE ARGUMENT...]
#
# Installs the library and the command, moves the installed tree elsewhere, and builds and runs the consumers in
# tests/consumer against it: through find_package in C++ and in plain C, and through pkg-config in C. find_package must
# reject a package of another ABI. For the shared library it also checks the exported symbols and the ABI in its name.
# Then it builds the library inside another project, in C (static) or in hostile C++ (shared): see check_subproject.sh.
#
# --build FOLDER  where to build. Objects of the static library are those of the shared one, so both can share a folder.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

case ${1-} in
  static) preset=release ;;
  shared) preset=release-shared ;;
  *) die "say static or shared; try --help" ;;
esac
kind=$1
shift
folder=$root/build/$preset
if [[ ${1-} == --build ]]; then
  folder=$(realpath -m "${2:?}")
  shift 2
fi
ensure_packages "${library_packages[@]}" "${tools_packages[@]}" gcc pkg-config binutils

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/moved

say "Installing ($kind) and moving"
configure "$preset" -B "$folder" "$@" >/dev/null
cmake --build "$folder"
cmake --install "$folder" --prefix "$work/installed" >/dev/null
mv "$work/installed" "$prefix"
if grep -rlIF -e "$work/installed" -e "$root" "$prefix"; then
  die "the installed files above know where they were built or installed"
fi

# consume NAME: builds tests/consumer/NAME as a project of its own and runs its tests.
consume() {
  say "Consumer in $1 through find_package ($1, $preset)"
  cmake -S "$root/tests/consumer/$1" -B "$work/$1" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build "$work/$1"
  ctest --test-dir "$work/$1" --output-on-failure --no-tests=error
}
use_fast_build
consume cpp
consume c

say "Consumer in C through pkg-config ($preset)"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$prefix/lib64/pkgconfig
PKG_CONFIG_PATH+=:$prefix/lib/$(gcc -print-multiarch)/pkgconfig
export PKG_CONFIG_PATH
pkg-config --print-errors --exists hashevict
version=$(pkg-config --modversion hashevict)
library_dir=$(pkg-config --variable=libdir hashevict)
read -ra flags < <(pkg-config --cflags hashevict)
read -ra libraries < <(pkg-config --libs hashevict)
gcc -std=c11 "${flags[@]}" "$root"/tests/consumer/c/*.c -o "$work/by_pkg_config" "${libraries[@]}"
installed_says=$(LD_LIBRARY_PATH=$library_dir "$work/by_pkg_config")
echo "$installed_says"

IFS=. read -r major minor _ <<<"$version"
abi=$major
other=$((major + 1)).0
if ((major == 0)); then  # the minor number is part of the ABI
  abi=0.$minor
  other=0.$((minor == 0 ? 1 : minor - 1))
fi
say "Versions that find_package takes"
# takes VERSION: whether a project that asks for VERSION finds the package.
takes() {
  mkdir -p "$work/takes"
  printf '%s\n' 'cmake_minimum_required(VERSION 3.22)' 'project(takes LANGUAGES CXX)' \
    "find_package(hashevict $1 CONFIG REQUIRED)" >"$work/takes/CMakeLists.txt"
  cmake -S "$work/takes" -B "$work/takes/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/takes/log" 2>&1
}
takes "$abi" || die "find_package does not take version $abi of $version: $(<"$work/takes/log")"
if takes "$other"; then die "find_package takes version $other, whose ABI is another than that of $version"; fi

say "Installed command"
"$prefix/bin/hashevict" --version | tee "$work/version"
grep -qF "$version" "$work/version" || die "the command and hashevict.pc disagree on the version"

if [[ $kind == shared ]]; then
  "$root/scripts/check_symbols.sh" "$library_dir/libhashevict.so"
  soname=$(objdump -p "$library_dir/libhashevict.so" | awk '$1 == "SONAME" { print $2 }')
  [[ $soname == libhashevict.so.$abi ]] || die "the library is called $soname: expected libhashevict.so.$abi"
fi

case $kind in
  static) language=c ;;
  shared) language=cpp ;;
esac
"$root/scripts/check_subproject.sh" "$language" | tee "$work/subproject"
[[ $(tail -n 1 "$work/subproject") == "$installed_says" ]] || die "codes differ between subproject and installed library"
echo "install: $kind library relocatable, usable from C++, C and pkg-config"
