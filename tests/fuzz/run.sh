#!/usr/bin/env bash
# Runs each fuzz target, or those that are named, with libFuzzer for so many seconds, and says how often each was executed.
# Begins from what is kept (tests/fuzz/seeds, tests/fuzz/corpus) and what earlier runs found (tests/fuzz/found). An input that fails lies in
# tests/fuzz/artifacts; the script ends with an error then.
# Usage: tests/fuzz/run.sh SECONDS [TARGET…]. Needs a nightly toolchain and cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds="$1"
shift
[ $# -gt 0 ] || set -- json key cell avro avro_schema frame registry block state records values sql config stories
# Built with other flags, so apart from what everybody builds.
export CARGO_TARGET_DIR="${EVENKEEL_FUZZ_TARGET_DIR:-$HOME/.cache/evenkeel/fuzz}"
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
command -v cargo-fuzz >/dev/null || { echo "cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 2; }
# The code is safe Rust: what is looked for are panics, overflows (which are panics here), hangs and memory, none of which
# needs a sanitizer.
fuzz="cargo +nightly fuzz"
options="--fuzz-dir tests/fuzz --sanitizer none"
# shellcheck disable=SC2086 # a list of options
$fuzz build $options
total=0
for target in "$@"; do
    kept="$TMPDIR/$target"
    for known in seeds corpus; do
        python3 tests/fuzz/corpus.py unpack "tests/fuzz/$known/$target.txt" "$kept"
    done
    found="tests/fuzz/found/$target"
    mkdir -p "$found"
    dict="tests/fuzz/dictionaries/$target.dict"
    log="$found.log"
    # shellcheck disable=SC2086
    $fuzz run $options "$target" "$found" "$kept" -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -max_len=16384 -print_final_stats=1 $([ ! -e "$dict" ] || echo "-dict=$dict") >"$log" 2>&1 \
        || { tail -n 40 "$log" >&2; echo "$target fails: see $log" >&2; exit 1; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    total=$((total + executions))
    printf '%-12s %14d executions\n' "$target" "$executions"
done
printf '%-12s %14d executions\n' total "$total"
