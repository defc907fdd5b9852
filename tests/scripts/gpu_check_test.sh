#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Usage: gpu_check_test.sh ROOT CASE
#
# Runs ROOT/scripts/gpu_check.sh in a temporary folder, on a pack of fake programs, and checks its results. CASE is one
# of the functions below. Exit status 77: this machine does not support the case.
set -euo pipefail

source_root=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
pack=$tmp/build/gpu_pack
export OUT=$tmp/out
export ORDER=$tmp/order # what was started, a line each

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  if [[ -f $OUT/summary.txt ]]; then cat "$OUT/summary.txt" >&2; fi
  exit 1
}

# program NAME: makes a program of the pack from the lines on standard input.
program() {
  {
    printf '#!/usr/bin/env bash\n'
    cat
  } >"$pack/$1"
  chmod +x "$pack/$1"
}

# passing_test NAME
passing_test() {
  program "$1" <<'BODY'
echo "${0##*/}" >>"$ORDER"
echo '[==========] 3 tests from 1 test suite ran.'
echo '[  PASSED  ] 3 tests.'
BODY
}

# hanging_test NAME
hanging_test() {
  program "$1" <<'BODY'
exec tail -f /dev/null
BODY
}

# bench ENTRY: makes a benchmark program whose JSON has the lines ENTRY for its one benchmark.
bench() {
  printf '%s\n' "$1" >"$tmp/entry"
  program hashevict_device_bench <<'BODY'
echo "bench $*" | sed 's/ --benchmark[^ ]*//g' >>"$ORDER"
for argument in "$@"; do
  if [[ $argument == --benchmark_out=* ]]; then
    {
      printf '{\n  "context": {\n    "device": "Fake",\n    "read_bytes_per_second": "3000000000000.0"\n  },\n'
      printf '  "benchmarks": [\n    {\n'
      cat "${ORDER%/*}/entry"
      printf '    }\n  ]\n}\n'
    } >"${argument#*=}"
  fi
done
BODY
}

# sanitizer SUMMARY: makes a compute-sanitizer that runs the program and prints the line.
sanitizer() {
  printf '%s\n' "$1" >"$tmp/bin/sanitizer_summary"
  cat >"$tmp/bin/compute-sanitizer" <<'BODY'
#!/usr/bin/env bash
echo "$2" >>"$ORDER"
"$7" "$8" || exit 1
cat "${0%/*}/sanitizer_summary"
BODY
  chmod +x "$tmp/bin/compute-sanitizer"
}

figures='      "name": "decode/paper/sequences:8/slots:4096/iterations:20/manual_time",
      "median_us": 1.2345000000000000e+01,
      "of_read": 7.5000000000000000e-01,
      "graph_us": 1.1000000000000000e+01,
      "graph_calls": 2.0000000000000000e+01,
      "graph_of_read": 8.1000000000000000e-01'

# The default: everything passes.
set_up() {
  mkdir -p "$tmp/scripts" "$tmp/bin" "$pack/runtime"
  cp "$source_root"/scripts/{gpu_check,gpu_run,lib}.sh "$tmp/scripts"
  cp "$source_root/scripts/gpu_run.sh" "$pack/run.sh"
  : >"$ORDER"
  passing_test hashevict_cuda_graph_test
  passing_test hashevict_cuda_stress_test
  passing_test hashevict_operations_test
  passing_test hashevict_properties_test
  bench "$figures"
  sanitizer '========= ERROR SUMMARY: 0 errors'
  printf '#!/usr/bin/env bash\necho "Fake GPU, 9.0, 80000 MiB, 999.9"\n' >"$tmp/bin/nvidia-smi"
  chmod +x "$tmp/bin/nvidia-smi"
  export TMPDIR=$tmp # what a killed run leaves goes with the rest
  PATH=$tmp/bin:$PATH
}

# check STATUS ARGUMENT...: runs the script, which must end with STATUS.
check() {
  local expected=$1 status=0
  shift
  "$tmp/scripts/gpu_check.sh" "$@" >"$tmp/printed" 2>&1 || status=$?
  if ((status != expected)); then
    cat "$tmp/printed" >&2
    fail "exit status $status, expected $expected"
  fi
}

# says PATTERN: the summary has a line that matches it.
says() { grep -qE "$1" "$OUT/summary.txt" || fail "the summary has no line like: $1"; }

# archived FILE PATTERN: the archive holds FILE, with a line that matches.
archived() {
  tar -C "$tmp" -xzf "$OUT/results.tar.gz" "./$1" || fail "the archive lacks $1"
  grep -qE "$2" "$tmp/$1" || fail "the archive's $1 has no line like: $2"
}

started() { grep -qx "$1" "$ORDER"; }

StepsRunInOrder() {
  check 0
  diff - "$ORDER" <<'EXPECTED' || fail "another order"
hashevict_cuda_graph_test
hashevict_operations_test
bench --short
hashevict_cuda_stress_test
hashevict_properties_test
memcheck
hashevict_operations_test
racecheck
hashevict_operations_test
initcheck
hashevict_operations_test
synccheck
hashevict_operations_test
bench
EXPECTED
  says '^10 passed$'
}

NamedStepsRunAlone() {
  check 0 stress graph
  diff <(printf 'hashevict_cuda_stress_test\nhashevict_cuda_graph_test\n') "$ORDER" || fail "other steps"
  says '^2 passed$'
}

HangingStepIsEndedAndTheRestRuns() {
  hanging_test hashevict_cuda_stress_test
  check 1 --seconds 90 stress properties
  says '^stress +TIMED OUT'
  says '^properties +passed'
}

StepThatIgnoresTermIsKilled() {
  program hashevict_cuda_stress_test <<<"trap '' TERM; exec tail -f /dev/null"
  check 1 --seconds 90 stress properties
  says '^stress +TIMED OUT'
  says '^properties +passed'
}

StepsBeyondTheBudgetAreNotRun() {
  program hashevict_cuda_graph_test <<<"trap '' TERM; exec tail -f /dev/null" # uses up more than there is
  "$tmp/scripts/gpu_check.sh" --seconds 3 graph properties >"$tmp/printed" 2>&1 || true
  says '^properties +not run'
  says ' not run$'
  ! started hashevict_properties_test || fail "it was run"
}

FailingTestsGiveStatusOne() {
  program hashevict_properties_test <<'BODY'
echo '[  PASSED  ] 2 tests.'
echo '[  FAILED  ] 1 test, listed below:'
exit 1
BODY
  check 1
  says '^properties +FAILED .*2 tests passed, 1 failed'
  says '^memcheck +passed'
  says '^9 passed, 1 FAILED$'
  archived properties.log '1 test, listed'
}

TestsThatAllSkipFail() {
  program hashevict_cuda_graph_test <<'BODY'
echo '[  PASSED  ] 0 tests.'
echo '[  SKIPPED ] 3 tests, listed below:'
BODY
  check 1 graph
  says '^graph +FAILED .*0 tests passed, 3 skipped'
}

CrashGivesStatusOne() {
  program hashevict_cuda_graph_test <<<'echo "[  PASSED  ] 3 tests."; kill -SEGV $$'
  check 1 graph
  says '^graph +FAILED .*exit status 139'
}

BenchmarkWithAnErrorFails() {
  bench "$figures,
      \"error_occurred\": true"
  check 1 bench_short
  says '^bench_short +FAILED'
}

BenchmarkWithoutFiguresFails() {
  bench '      "name": "launch"'
  check 1 bench_short
  says '^bench_short +FAILED .*0 benchmarks measured'
}

SanitizersFindingFails() {
  sanitizer '========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)'
  check 1 racecheck
  says '^racecheck +FAILED .*2 hazards displayed'
}

SanitizerThatSaysNothingFails() {
  sanitizer 'no device was looked at'
  check 1 memcheck
  says '^memcheck +FAILED .*no summary of the sanitizer'
}

MissingSanitizerIsSaid() {
  rm "$tmp/bin/compute-sanitizer"
  if command -v compute-sanitizer || compgen -G '/usr/local/cuda*/*/compute-sanitizer' ||
    compgen -G '/opt/cuda*/*/compute-sanitizer' || compgen -G '/usr/lib/nvidia-cuda-toolkit/*/compute-sanitizer'; then
    exit 77
  fi
  check 0 graph memcheck racecheck
  says '^memcheck +skipped +no compute-sanitizer'
  says '^racecheck +skipped +no compute-sanitizer'
  says '^1 passed, 2 skipped$'
}

MissingProgramFails() {
  rm "$pack/hashevict_cuda_stress_test"
  check 1 stress graph
  says '^stress +FAILED'
  says '^graph +passed'
}

SilentGpuIsSaid() {
  printf '#!/usr/bin/env bash\necho "No devices were found"\nexit 6\n' >"$tmp/bin/nvidia-smi"
  check 0 graph
  says '^device +nvidia-smi does not answer: No devices were found'
}

# start_hanging_run: starts a run in the background whose step `stress` hangs, and waits until it does. Sets `run`, and
# `hanging` to the process that hangs.
start_hanging_run() {
  mkfifo "$tmp/fifo"
  program hashevict_cuda_stress_test <<<"echo \$\$ >'$tmp/fifo'; echo half; exec tail -f /dev/null"
  "$tmp/scripts/gpu_check.sh" graph stress properties >"$tmp/printed" 2>&1 &
  run=$!
  read -r hanging <"$tmp/fifo"
}

TerminatedRunBringsBackWhatItHas() {
  local status=0
  start_hanging_run
  kill -TERM "$run"
  wait "$run" || status=$?
  ((status == 143)) || fail "exit status $status, expected 143"
  says '^graph +passed'
  says '^stress +cut off +by SIGTERM'
  says '^properties +not run'
  archived graph.log 'PASSED'
  archived summary.txt '^stress +cut off'
  archived stress.log '^half$'
}

KilledRunLeavesTheLastArchive() {
  start_hanging_run
  kill -KILL "$run"
  wait "$run" 2>/dev/null || true
  kill -KILL "$hanging"
  says '^graph +passed'
  says '^stress +not run'
  archived graph.log 'PASSED'
}

ResultsStayWithinTheirLimits() {
  local test file
  for test in cuda_graph cuda_stress operations properties; do # random text: what compresses least
    program "hashevict_${test}_test" <<'BODY'
echo beginning
head -c 20000000 /dev/urandom | base64
echo '[  PASSED  ] 3 tests.'
BODY
  done
  check 0
  (($(find "$OUT" -type f | wc -l) <= 8)) || fail "more than 8 files: $(ls "$OUT")"
  for file in "$OUT"/*; do
    (($(stat -c %s "$file") <= 16 * 1024 * 1024)) || fail "$file: more than 16 MiB"
  done
  archived graph.log '^beginning$'
  archived graph.log '^\.\.\. [0-9]+ bytes left out \.\.\.$'
  archived graph.log '^\[  PASSED'
}

SummaryHasTheFigures() {
  check 0 bench_short
  says '^device +Fake GPU, 9.0, 80000 MiB, 999.9'
  says '^Fake$'
  says '^reading 3000 GB/s'
  says '^decode/paper/sequences:8/slots:4096 +12.3 us +0.750 of read \| graph of +20: +11.0 us +0.810'
}

PackOfOtherSourcesIsSaid() {
  echo other >"$pack/SOURCES"
  check 0 graph
  says '^NOTE +build/gpu_pack was made from other sources'
}

WithoutPackAndGpuItSaysSo() {
  rm -r "$pack"
  printf '#!/usr/bin/env bash\nexit 6\n' >"$tmp/bin/nvidia-smi"
  check 1
  grep -q '^error: no GPU answers nvidia-smi' "$tmp/printed" || fail "another message"
}

BadArgumentsAreRefused() {
  check 2 soak
  grep -q '^error: soak: expected an option or one of: graph operations' "$tmp/printed" || fail "another message"
  check 2 --seconds 1.5
  grep -q '^error: --seconds 1.5: expected a whole number from 1 to 999999' "$tmp/printed" || fail "another message"
  check 2 --seconds
  grep -q '^error: --seconds: expected a value' "$tmp/printed" || fail "another message"
  [[ ! -s $ORDER ]] || fail "something was run"
}

set_up
"$2"
