#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: run.sh [--seconds N] [--out DIR] [--note TEXT] [STEP...]
#
# Runs the programs next to this file on this machine's GPU, without a compiler, CMake or network.
# scripts/gpu_check.sh --pack puts this file and the programs together.
#
# Steps, in this order, or only those given: graph, operations, bench_short, stress, properties, memcheck, racecheck,
# initcheck, synccheck, bench. Each has its own time limit, and all of them end within N seconds (default 540). After
# each step, DIR (default: results, next to this file) holds summary.txt and results.tar.gz, with all logs and JSON so
# far.
# Exit status: 0 if no step failed, 1 if one did, 2 for bad arguments, 128 + the signal's number if a signal ended it.
set -euo pipefail
export LC_ALL=C # logs are bytes

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
steps=(graph operations bench_short stress properties memcheck racecheck initcheck synccheck bench)
default_seconds=540
# Time limit of each step at default_seconds; scaled in proportion for other values.
declare -A limits=([graph]=60 [operations]=90 [bench_short]=60 [stress]=90 [properties]=90 [memcheck]=100
  [racecheck]=100 [initcheck]=60 [synccheck]=60 [bench]=$default_seconds)
on_device='*/cuda'
# Cases for the sanitizers, which slow everything down. gpu_check.sh --pack checks that each pattern names a test.
short_filter='*Encode.Every*/cuda:*Evict.EveryWidth*/cuda:*Decode.Presets*/cuda:*Decode.SeveralTokens*/cuda'
short_filter+=':*Attend.Ragged*/cuda:*Prefill.Recent*/cuda:*Prefill.WindowKeeps*/cuda'
kept_bytes=$((256 * 1024)) # of a long file's beginning, and of its end

seconds=$default_seconds
out=$here/results
note=
asked=()

bad_argument() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

read_arguments() {
  while (($# > 0)); do
    case $1 in
      -h | --help)
        sed -n '3,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
      --short-filter) # for gpu_check.sh --pack
        printf '%s\n' "$short_filter"
        exit 0
        ;;
      --seconds | --out | --note)
        (($# > 1)) || bad_argument "$1: expected a value behind it"
        case $1 in
          --seconds) seconds=$2 ;;
          --out) out=$2 ;;
          --note) note=$2 ;;
        esac
        shift
        ;;
      *)
        [[ " ${steps[*]} " == *" $1 "* ]] || bad_argument "$1: expected an option or one of: ${steps[*]}"
        asked+=("$1")
        ;;
    esac
    shift
  done
  [[ $seconds =~ ^[1-9][0-9]{0,5}$ ]] || bad_argument "--seconds $seconds: expected a whole number from 1 to 999999"
}

# find_sanitizer: the path of compute-sanitizer, from PATH or CUDA's install folders; empty if not found.
find_sanitizer() {
  local folder file
  if command -v compute-sanitizer; then return; fi
  for folder in /usr/local/cuda* /opt/cuda* /usr/lib/nvidia-cuda-toolkit; do
    for file in "$folder"/{bin,compute-sanitizer,extras/compute-sanitizer}/compute-sanitizer; do
      if [[ -x $file ]]; then
        printf '%s\n' "$file"
        return
      fi
    done
  done
}

# command_of STEP: sets `command`; if there is nothing to run, sets `skipped` to the reason.
command_of() {
  local step=$1
  skipped=
  case $step in
    graph | stress) command=("$here/hashevict_cuda_${step}_test" "--gtest_output=json:$work/$step.json") ;;
    operations | properties)
      command=("$here/hashevict_${step}_test" "--gtest_filter=$on_device" "--gtest_output=json:$work/$step.json")
      ;;
    bench_short | bench)
      command=("$here/hashevict_device_bench" "--benchmark_out=$work/$step.json" --benchmark_out_format=json)
      if [[ $step == bench_short ]]; then command+=(--short); fi
      ;;
    *)
      command=("$sanitizer" --tool "$step" --error-exitcode 1 --print-limit 100 "$here/hashevict_operations_test"
        "--gtest_filter=$short_filter")
      if [[ -z $sanitizer ]]; then skipped='no compute-sanitizer'; fi
      ;;
  esac
}

# tests_passed LOG: the number of passed tests in a GoogleTest log.
tests_passed() { sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$1" | tail -n 1; }

# judge STEP STATUS: sets `outcome` and `detail` from the status and the step's output. A program that exits with 0 but
# has tested or measured nothing on the device has failed.
judge() {
  local step=$1 status=$2 log=$work/$1.log passed summary measured
  outcome=FAILED
  detail="exit status $status"
  case $step in
    bench_short | bench)
      measured=$(grep -c '"median_us"' "$work/$step.json" 2>/dev/null) || true
      detail="${measured:-0} benchmarks measured"
      if ((status == 0)) && ((measured > 0)) && ! grep -q '"error_occurred": true' "$work/$step.json"; then
        outcome=passed
      fi
      ;;
    *)
      passed=$(tests_passed "$log")
      summary=$(grep -aE 'SUMMARY: ' "$log" | tail -n 1) || true
      if ((status == 0)) && ((${passed:-0} > 0)); then outcome=passed; fi
      detail="${passed:-0} tests passed"
      if grep -aq '^\[  SKIPPED \] [0-9]' "$log"; then
        detail+=", $(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1) skipped"
      fi
      if grep -aq '^\[  FAILED  \] [0-9]' "$log"; then
        detail+=", $(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' "$log" | tail -n 1) failed"
      fi
      if [[ $step == *check ]]; then
        [[ $summary == *'SUMMARY: 0 '* ]] || outcome=FAILED
        detail+="; ${summary:-no summary of the sanitizer}"
      fi
      ;;
  esac
  if ((status != 0)); then detail+=" (exit status $status)"; fi
}

# note_outcome STEP OUTCOME DETAIL [SECONDS]
note_outcome() {
  table[$1]=$(printf '%-12s %-10s %7s  %s' "$1" "$2" "${4:+$4 s}" "$3")
  outcomes[$1]=$2
}

# figures FILE: one line per benchmark in FILE, JSON by Google Benchmark.
figures() {
  awk '
    function text(line) { sub(/^[^:]*: *"/, "", line); sub(/"[^"]*$/, "", line); return line }
    function number(line) { sub(/^[^:]*: */, "", line); return line + 0 }
    /"device":/ { printf "%s\n", text($0) }
    /"(read|copy)_bytes_per_second":/ { printf "%s %.0f GB/s\n", /read/ ? "reading" : "copying", text($0) * 1e-9 }
    /"name":/ { name = text($0); sub(/\/iterations:.*$/, "", name); split("", value); phases = "" }
    /"cycles:/ {
      key = $0; sub(/^[^"]*"cycles:/, "", key); sub(/".*$/, "", key)
      phases = phases sprintf("  %s %.0f", key, number(substr($0, index($0, "\": "))))
    }
    /"(median_us|of_read|graph_us|graph_of_read|graph_calls|of_l2)":/ {
      key = $0; sub(/^[^"]*"/, "", key); sub(/".*$/, "", key); value[key] = number($0)
    }
    /^ *}/ && ("median_us" in value) {
      printf "%-66s %9.1f us %6.3f of read | graph of %4d: %9.1f us %6.3f | %5.1f L2\n", name, value["median_us"],
        value["of_read"], value["graph_calls"], value["graph_us"], value["graph_of_read"], value["of_l2"]
      if (phases != "") printf "  cycles of phases:%s\n", phases
      split("", value)
    }' "$1"
}

write_summary() {
  local step counted=() outcome count
  printf 'hashevict GPU check: %d of %d s\n' "$SECONDS" "$seconds"
  printf 'device  %s\n' "$device"
  if [[ -f $here/PACK ]]; then sed 's/^/pack    /' "$here/PACK"; fi
  if [[ -n $note ]]; then printf 'NOTE    %s\n' "$note"; fi
  printf '\n'
  for step in "${asked[@]}"; do printf '%s\n' "${table[$step]}"; done
  for outcome in passed FAILED 'TIMED OUT' 'cut off' skipped running 'not run'; do
    count=0
    for step in "${asked[@]}"; do
      if [[ ${outcomes[$step]} == "$outcome" ]]; then count=$((count + 1)); fi
    done
    if ((count > 0)); then counted+=("$count $outcome"); fi
  done
  printf '\n%s\n' "$(IFS=,; printf '%s' "${counted[*]}" | sed 's/,/, /g')"
  for step in bench_short bench; do
    if [[ -s $work/$step.json ]]; then
      printf '\n%s\n' "$step"
      figures "$work/$step.json"
    fi
  done
}

# shorten FILE: keeps the beginning and the end of a file that is too long to bring back.
shorten() {
  local size
  size=$(stat -c %s "$1")
  if ((size <= 2 * kept_bytes)); then return 0; fi # plain `return` gives a trap's caller the status from before it
  {
    head -c "$kept_bytes" "$1"
    printf '\n... %d bytes left out ...\n' "$((size - 2 * kept_bytes))"
    tail -c "$kept_bytes" "$1"
  } >"$1.short"
  mv "$1.short" "$1"
}

# save_results: writes the summary and one archive of everything. Each is replaced as a whole or not at all.
save_results() {
  local file
  write_summary >"$work/summary.txt"
  cp "$work/summary.txt" "$out/summary.partial"
  mv "$out/summary.partial" "$out/summary.txt"
  for file in "$work"/*; do shorten "$file"; done
  # Status 1: a file grew meanwhile. Keep the archive.
  if tar -C "$work" --warning=no-file-changed -czf "$out/results.partial" . || (($? == 1)); then
    mv "$out/results.partial" "$out/results.tar.gz"
  else
    printf 'error: %s cannot be written\n' "$out/results.tar.gz" >&2
  fi
}

# interrupted SIGNAL NUMBER
interrupted() {
  trap '' TERM INT HUP
  if [[ -n $current ]]; then note_outcome "$current" 'cut off' "by SIG$1"; fi
  save_results
  if [[ -n $child ]]; then kill -TERM "$child" 2>/dev/null || true; fi
  finish
  exit $((128 + $2))
}

finish() {
  rm -rf "$work"
  printf '\n'
  cat "$out/summary.txt"
  printf '\nResults: %s\n' "$out/results.tar.gz"
}

# run_step STEP
run_step() {
  local step=$1 own limit remaining start=$SECONDS status=0
  own=$((limits[$step] * seconds / default_seconds))
  own=$((own > 0 ? own : 1))
  remaining=$((seconds - SECONDS - seconds / 100 - 1)) # the last is for the archive
  limit=$((own < remaining ? own : remaining))
  command_of "$step"
  if [[ -n $skipped ]]; then
    note_outcome "$step" skipped "$skipped"
  elif ((limit < 1 || limit < own / 10)); then
    note_outcome "$step" 'not run' "$((remaining > 0 ? remaining : 0)) s were left"
  else
    printf '\n== %s, at most %d s\n' "$step" "$limit"
    note_outcome "$step" running "at most $limit s"
    current=$step
    timeout --kill-after=2 "$limit" "${command[@]}" >"$work/$step.log" 2>&1 &
    child=$!
    wait "$child" || status=$?
    child=
    current=
    judge "$step" "$status"
    if ((status == 124 || status == 137)); then
      outcome='TIMED OUT'
      detail="after $limit s: $detail"
      if ((limit < own)); then outcome='cut off'; fi
    fi
    note_outcome "$step" "$outcome" "$detail" "$((SECONDS - start))"
    if [[ $outcome != passed ]]; then tail -n 40 "$work/$step.log" | cut -c 1-400; fi
  fi
  printf '%s\n' "${table[$step]}"
}

# load_runtime: uses the C++ runtime next to this file if the machine has none or an older one.
load_runtime() {
  local missing
  missing=$(ldd "$here/hashevict_operations_test" 2>&1 | grep 'not found') || return 0
  printf 'taking the C++ runtime of the pack: %s\n' "$missing"
  export LD_LIBRARY_PATH=$here/runtime${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

describe_machine() {
  device=$(timeout 20 nvidia-smi --query-gpu=name,compute_cap,memory.total,driver_version --format=csv,noheader 2>&1) ||
    device="nvidia-smi does not answer: ${device:-no output}"
  device=${device%%$'\n'*}
  {
    uname -a
    nproc
    timeout 20 nvidia-smi -q
    printf 'compute-sanitizer: %s\n' "${sanitizer:-none}"
    ldd "$here/hashevict_operations_test"
  } >"$work/machine.log" 2>&1 || true
}

read_arguments "$@"
if ((${#asked[@]} == 0)); then asked=("${steps[@]}"); fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
declare -A table outcomes
current=
child=
sanitizer=$(find_sanitizer) || true
for step in "${asked[@]}"; do note_outcome "$step" 'not run' ''; done
trap 'interrupted TERM 15' TERM
trap 'interrupted INT 2' INT
trap 'interrupted HUP 1' HUP
load_runtime
describe_machine
save_results
for step in "${asked[@]}"; do
  run_step "$step"
  save_results
done
finish
for step in "${asked[@]}"; do
  if [[ ${outcomes[$step]} == FAILED || ${outcomes[$step]} == 'TIMED OUT' ]]; then exit 1; fi
done
