#!/usr/bin/env bash
# Applies each line of tests/mutations.txt in turn and shows that the simulator notices. Fails if one goes unnoticed; else
# writes docs/mutations.md.
# The files are put back, whatever happens; src must have no changes that are not committed. Arguments: a number of seeds
# (1000).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/evenkeel/target}"
# Each error is compiled once and run for a moment: without optimisation that takes half the time.
export CARGO_PROFILE_DEV_OPT_LEVEL=0
seeds="${1:-1000}"
kept="$(mktemp -d)"
changed=""
git diff --quiet -- src || { echo "commit the changes of src first" >&2; exit 2; }
restore() {
    if [ -n "$changed" ]; then git checkout -q -- "$changed"; changed=""; fi
}
trap 'restore; rm -rf "$kept"' EXIT

total=0
unnoticed=0
while IFS= read -r line; do
    case "$line" in '#'* | '') continue ;; esac
    file="${line%% | *}"
    rest="${line#* | }"
    from="${rest%% | *}"
    to="${rest#* | }"
    total=$((total + 1))
    changed="$file"
    if ! FROM="$from" TO="$to" python3 - "$file" <<'PYTHON'
import os, sys
path, text = sys.argv[1], open(sys.argv[1]).read()
if text.count(os.environ["FROM"]) != 1:
    sys.exit(f"{path}: the line stands there {text.count(os.environ['FROM'])} times: {os.environ['FROM']}")
open(path, "w").write(text.replace(os.environ["FROM"], os.environ["TO"]))
PYTHON
    then exit 1; fi
    if ! cargo test --quiet --test it --no-run > "$kept/build" 2>&1; then
        tail -20 "$kept/build"
        echo "does not compile: $to"
        exit 1
    fi
    # An error that makes it run for ever is noticed, too.
    if EVENKEEL_SEEDS="$seeds" timeout 300 cargo test --quiet --test it sim_ > "$kept/run" 2>&1; then
        echo "UNNOTICED  $file: $to"
        unnoticed=$((unnoticed + 1))
    else
        seed="$(grep -o 'seed [0-9]* of' "$kept/run" | head -1 | grep -o '[0-9]*' || true)"
        printf '| `%s` | `%s` | `%s` | %s |\n' "$file" "${from//|/\\|}" "${to//|/\\|}" "${seed:-time}" >> "$kept/table"
        printf 'noticed by %-12s %s: %s\n' "$(grep -o 'seed [0-9]* of' "$kept/run" | head -1 | sed 's/ of//')" "$file" "$to"
    fi
    restore
done < tests/mutations.txt
echo "$((total - unnoticed)) of $total errors were noticed"
[ "$unnoticed" -eq 0 ]
{
    cat <<'HEAD'
# What the simulator notices

Written by `make mutate`: each line of the product is replaced by one with an error, and the simulator tries seed after seed until
what was said is not what its oracle says, or an assertion fails. The last column is how many seeds it took; "time" is an error
that makes it run for ever.

| file | line | with an error | seeds |
|---|---|---|---|
HEAD
    cat "$kept/table"
} > docs/mutations.md
