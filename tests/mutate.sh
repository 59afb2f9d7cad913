#!/usr/bin/env bash
# Applies each line of tests/mutations.txt in turn and shows that the simulator notices. Fails if one goes unnoticed. Those that
# were noticed have a row in docs/mutations.md.
# The files are put back, whatever happens; src must have no changes that are not committed. Arguments: which lines: `all`,
# `new` (the table has no row of them), or what they hold; a number of seeds (1000).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/evenkeel/target}"
# Each error is compiled once and run for a moment: without optimisation that takes half the time.
export CARGO_PROFILE_DEV_OPT_LEVEL=0
which="${1:-all}"
seeds="${2:-1000}"
kept="$(mktemp -d)"
changed=""
git diff --quiet -- src || { echo "commit the changes of src first" >&2; exit 2; }
restore() {
    if [ -n "$changed" ]; then git checkout -q -- "$changed"; changed=""; fi
}
trap 'restore; rm -rf "$kept"' EXIT

row() { # The beginning of a line's row in the table.
    printf '| `%s` | `%s` | `%s` | ' "$1" "${2//|/\\|}" "${3//|/\\|}"
}

tell() { # That a line took so many seeds, in place of what the table had of it.
    grep -vF -- "$1" docs/mutations.md > "$kept/rest"
    cp "$kept/rest" docs/mutations.md
    if [ -n "$2" ]; then echo "$1$2 |" >> docs/mutations.md; fi
}

total=0
unnoticed=0
while IFS= read -r line; do
    case "$line" in '#'* | '') continue ;; esac
    file="${line%% | *}"
    rest="${line#* | }"
    from="${rest%% | *}"
    to="${rest#* | }"
    row="$(row "$file" "$from" "$to")"
    case "$which" in
        all) ;;
        new) if grep -qF -- "$row" docs/mutations.md; then continue; fi ;;
        *) if [[ "$line" != *"$which"* ]]; then continue; fi ;;
    esac
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
        tell "$row" ""
    else
        seed="$(grep -o 'seed [0-9]* of' "$kept/run" | head -1 | grep -o '[0-9]*' || true)"
        tell "$row" "${seed:-time}"
        printf 'noticed by %-12s %s: %s\n' "${seed:+seed $seed}" "$file" "$to"
    fi
    restore
done < tests/mutations.txt
echo "$((total - unnoticed)) of $total errors were noticed"
[ "$unnoticed" -eq 0 ]
