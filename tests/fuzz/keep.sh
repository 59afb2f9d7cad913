#!/usr/bin/env bash
# Writes a target's corpus anew: of what is kept and what tests/fuzz/run.sh found, as little as reaches as much of the code, and
# of that the shortest, 100 kB. Its seeds stay as they are.
# Usage: tests/fuzz/keep.sh TARGET…. Needs what run.sh needs.
set -euo pipefail
cd "$(dirname "$0")/../.."
export CARGO_TARGET_DIR="${EVENKEEL_FUZZ_TARGET_DIR:-$HOME/.cache/evenkeel/fuzz}"
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
for target in "$@"; do
    mkdir -p "$TMPDIR/least" "tests/fuzz/found/$target"
    for kept in seeds corpus; do
        python3 tests/fuzz/corpus.py unpack "tests/fuzz/$kept/$target.txt" "$TMPDIR/kept"
    done
    cargo +nightly fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" "$TMPDIR/least" "$TMPDIR/kept" \
        "tests/fuzz/found/$target" -- -merge=1 -max_len=16384 >"$TMPDIR/log" 2>&1 || { tail -n 40 "$TMPDIR/log" >&2; exit 1; }
    python3 tests/fuzz/corpus.py pack "$TMPDIR/least" "tests/fuzz/corpus/$target.txt" 100000
    rm -rf "$TMPDIR/least" "$TMPDIR/kept"
done
