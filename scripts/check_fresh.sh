#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: scripts/check_fresh.sh [--form plain|cuda] [--root FOLDER] [--keep]
#
# Checks the first steps of a newcomer. Makes a pristine root file system with debootstrap (Debian or Ubuntu, with the
# release and the mirror of this machine's apt), copies the committed tree into it, and follows the README there, with
# no compiler, no CMake and no ccache beforehand. Needs root.
#
# --form plain  no CUDA compiler. First as a user without sudo, whom the scripts must tell what to install. Then with
#               only the packages of the README's section on installing, its way from a clone to find_package, with
#               Makefiles. Then, as a user for whom root has installed the packages that were named, the README's two
#               commands in their short forms, and check_install.sh for both kinds of library. All this in one folder,
#               so that each step compiles only what the ones before it did not.
# --form cuda   mounts this machine's CUDA toolkit (copies it if mounting is refused), and scripts/test.sh runs every
#               test. Then the library that it built is installed and a project links it.
# Without --form it runs both; `cuda` only if this machine has nvcc.
# --root FOLDER the place of the root file systems; it must not exist. Default: a new folder under /var/tmp.
# --keep        keeps them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
usage_if_asked "${BASH_SOURCE[0]}" "$@"

forms=()
place=
keep=0
while (($# > 0)); do
  case $1 in
    --form)
      [[ ${2-} == plain || ${2-} == cuda ]] || die "--form ${2-}: expected plain or cuda"
      forms+=("$2")
      shift
      ;;
    --root)
      place=${2-}
      [[ -n $place && ! -e $place ]] || die "--root $place: expected a folder that does not exist yet"
      shift
      ;;
    --keep) keep=1 ;;
    *) die "unknown argument $1; try --help" ;;
  esac
  shift
done
((EUID == 0)) || die "not root: a root file system can be made by root alone"

# The toolkit's folder as nvcc itself names it, since the nvcc in PATH may be a script or a link that stands elsewhere.
toolkit=
if nvcc=$(PATH=$PATH:/usr/local/cuda/bin command -v nvcc); then
  toolkit=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
  toolkit=$(realpath "${toolkit:-/nonexistent}") || toolkit=
fi
if ((${#forms[@]} == 0)); then
  forms=(plain)
  if [[ -n $toolkit ]]; then forms+=(cuda); else say "No nvcc on this machine: the form cuda is left out"; fi
fi
for form in "${forms[@]}"; do
  if [[ $form == cuda && ! (-f $toolkit/include/cuda_runtime.h && -d $toolkit/nvvm/libdevice) ]]; then
    die "--form cuda: nvcc names the toolkit '$toolkit'; expected a folder with include/cuda_runtime.h, nvvm/libdevice"
  fi
done
if [[ -n $(git -C "$root" status --porcelain 2>/dev/null) ]]; then
  say "Uncommitted changes are not checked: the tree is that of $(git -C "$root" rev-parse --short HEAD)"
fi

ensure_packages debootstrap
if [[ -z $place ]]; then place=$(mktemp -d /var/tmp/hashevict-fresh.XXXXXX); else mkdir -p "$place"; fi
place=$(realpath "$place")

# Everything below a root is mounted in a mount namespace of the command that runs there, so the mounts vanish when that
# command ends, however it ends. Where namespaces are refused, nothing is mounted.
can_mount=0
if unshare --mount true 2>/dev/null; then can_mount=1; fi

clean_up() {
  local status=$?
  if ((status != 0)); then
    printf '\n==== scripts/check_fresh.sh: FAILED (exit %d) after %d s in the part: %s\n' "$status" "$SECONDS" "$current"
    df -h "$place" | tail -n 1
    grep -E '^(MemTotal|MemAvailable)' /proc/meminfo
  fi
  if ((keep)); then
    say "Kept: $place"
  else
    rm -rf --one-file-system "$place"
  fi
}
current='set-up'
trap clean_up EXIT
trap 'exit 143' HUP INT TERM  # a shell that a signal ends would not clean up

# The release and the mirror of this machine's apt, as URL and codename.
mirror_and_release() {
  local codename
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  apt-get indextargets --format "\$(REPO_URI) \$(CODENAME)" 'Created-By: Packages' 'Component: main' |
    awk -v codename="$codename" '$2 == codename { print; exit }'
}

make_base() {
  local mirror release components=main
  read -r mirror release < <(mirror_and_release) || true
  [[ -n ${release-} ]] || die "apt on this machine names no mirror of its own release"
  if [[ $(. /etc/os-release && echo "$ID") == ubuntu ]]; then components=main,universe; fi
  say "Making a root file system of $release from $mirror"
  debootstrap --variant=minbase --components="$components" "$release" "$place/base" "$mirror" >"$place/debootstrap.log" ||
    { tail -n 20 "$place/debootstrap.log"; die "debootstrap failed"; }
  # The settings by which this machine reaches its mirror; nothing else is copied.
  cp /etc/resolv.conf /etc/hosts "$place/base/etc/"
  apt-config dump Acquire | grep -E '^Acquire::https?::' >"$place/base/etc/apt/apt.conf.d/99mirror" || true
}

# in_root FOLDER USER COMMAND: runs a shell command in a root file system, with a login's environment and none of this
# machine's.
in_root() {
  local tree=$1 user=$2 command=$3
  # shellcheck disable=SC2016  # expanded by the shell that is started
  local run='
    if (($4)); then
      mount -t proc proc "$1/proc"
      mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
      mount -t devpts devpts "$1/dev/pts"
      if [[ -d $1/usr/local/cuda ]]; then mount --bind -o ro "$5" "$1/usr/local/cuda"; fi
    fi
    exec chroot "$1" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
      su -s /bin/bash "$2" -c "$3"'
  local wrap=(bash)
  if ((can_mount)); then wrap=(unshare --mount --pid --fork --kill-child --propagation private bash); fi
  "${wrap[@]}" -c "$run" in_root "$tree" "$user" "$command" "$can_mount" "$toolkit" </dev/null
}

# The path of the committed tree in a root; it contains a space.
checkout='/home/newcomer/hash evict/hashevict'
at="cd '$checkout'"

# pristine NAME: a copy of the base with the committed tree in it, as if the user newcomer had cloned it.
pristine() {
  local tree=$place/$1
  cp -a "$place/base" "$tree"
  chroot "$tree" useradd --create-home newcomer
  install -d "$tree$checkout"
  git -C "$root" archive HEAD | tar -x -C "$tree$checkout"
  chroot "$tree" chown -R newcomer:newcomer /home/newcomer
}

# discard NAME: removes a root that passed, since two of them and a copied toolkit take more than 10 GB.
discard() {
  if ((!keep)); then rm -rf --one-file-system "${place:?}/$1"; fi
}

# must_fail_naming PATTERN COMMAND...: the command must fail, and its output must have a line that matches.
must_fail_naming() {
  local pattern=$1 output status=0
  shift
  output=$("$@" 2>&1) || status=$?
  printf '%s\n' "$output"
  ((status != 0)) || die "expected a failure: $*"
  grep -qE "$pattern" <<<"$output" || die "expected a line that matches '$pattern': $*"
}

table=()
# part TITLE COMMAND...: runs a command and records its duration.
part() {
  local title=$1 start=$SECONDS
  current=$title
  shift
  say "$title"
  "$@"
  table+=("$(printf '%-64s %5d s' "$title" "$((SECONDS - start))")")
}

refused_without_sudo() {
  must_fail_naming 'apt-get install .*g\+\+ cmake' in_root "$1" newcomer "$at && scripts/demo.sh --quick"
  must_fail_naming 'apt-get install .*libgtest-dev' in_root "$1" newcomer "$at && scripts/test.sh --short"
}

# install_packages ROOT PACKAGES: installs packages as root; a comment may follow them.
install_packages() {
  in_root "$1" root "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends >/dev/null $2"
}

install_what_was_named() {
  local packages
  packages=$(in_root "$1" newcomer "$at && scripts/test.sh --short" 2>&1 | sed -n 's/.*apt-get install //p') || true
  install_packages "$1" "$packages"
}

demo() {
  in_root "$1" newcomer "$at && scripts/demo.sh --quick --out /home/newcomer/report"
  [[ -s $1/home/newcomer/report/report.html ]] || die "scripts/demo.sh wrote no report.html"
}

# The commands of README.md, Installing, to the letter except for sudo and the clone; then its find_package from another
# project.
install_by_readme() {
  local tree=$1 commands packages
  # shellcheck disable=SC2016  # backquotes of Markdown
  mapfile -t commands < <(sed -n '/^## Installing/,/^## [^I]/p' "$root/README.md" | sed -n '/^```sh/,/^```/{/^```/!p}')
  packages=${commands[0]#sudo apt-get install }
  [[ $packages != "${commands[0]}" && ${commands[1]} == 'git clone '*' hashevict '* ]] ||
    die "README.md, Installing: expected sudo apt-get install, then git clone, then what to do there"
  install_packages "$tree" "$packages"
  in_root "$tree" newcomer "set -eux; $at/..; $(printf '%s\n' "${commands[@]:2}")
    cmake -S hashevict/tests/consumer/cpp -B consumer -DCMAKE_PREFIX_PATH=\$HOME/hashevict
    cmake --build consumer
    ctest --test-dir consumer --output-on-failure --no-tests=error"
}

check_installs() {
  install_packages "$1" "pkg-config binutils gcc"
  local kind
  for kind in static shared; do
    in_root "$1" newcomer "$at && scripts/check_install.sh $kind --build build/release -DHASHEVICT_CUDA=OFF"
  done
}

plain_form() {
  local tree=$place/plain
  pristine plain
  part "plain: a user without sudo is told what to install" refused_without_sudo "$tree"
  part "plain: installing as the README says, and find_package" install_by_readme "$tree"
  part "plain: root installs the packages named" install_what_was_named "$tree"
  part "plain: scripts/demo.sh --quick" demo "$tree"
  part "plain: scripts/test.sh --short" in_root "$tree" newcomer "$at && scripts/test.sh --short"
  part "plain: scripts/check_install.sh, static and shared" check_installs "$tree"
  discard plain
}

# The packages that another project needs to use an installed library with the CUDA backend.
link_what_was_built() {
  in_root "$1" root "$at && cmake --install build/release --prefix /opt/hashevict >/dev/null &&
    cmake -S tests/consumer/cpp -B /tmp/consumer -G Ninja -DCMAKE_PREFIX_PATH=/opt/hashevict &&
    cmake --build /tmp/consumer && ctest --test-dir /tmp/consumer --output-on-failure --no-tests=error"
}

cuda_form() {
  local tree=$place/cuda
  pristine cuda
  install -d "$tree/usr/local/cuda"
  if ((!can_mount)); then cp -a "$toolkit/." "$tree/usr/local/cuda/"; fi
  part "cuda: scripts/test.sh, by root, with nvcc and without ccache" \
    in_root "$tree" root "$at && scripts/test.sh -DHASHEVICT_WARNINGS_AS_ERRORS=ON"
  part "cuda: another project links what was installed" link_what_was_built "$tree"
  discard cuda
}

part "a pristine root file system" make_base
for form in "${forms[@]}"; do
  "${form}_form"
done
printf '\n==== scripts/check_fresh.sh: passed in %d s\n' "$SECONDS"
printf '%s\n' "${table[@]}"
