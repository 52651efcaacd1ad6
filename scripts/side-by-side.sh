#!/bin/sh
# The tests marked `alone`, in two runs side by side: those on the sandbox mostly wait, those that kill processes do not.
# What the second one says is kept until the first has spoken. Usage: side-by-side.sh PYTHON [PYTEST ARGUMENT...]
set -u
python=$1
shift
said=$(mktemp)
trap 'rm -f "$said"; kill "$kills" 2>/dev/null' EXIT INT TERM
nice -n 5 "$python" -m pytest -m "alone and not platform" "$@" >"$said" 2>&1 &
kills=$!
"$python" -m pytest -m "alone and platform" "$@"
sandbox=$?
wait "$kills"
killed=$?
cat "$said"
none=5 # what pytest exits with where PYTEST_ARGS chose no test of a run
[ "$sandbox" = 0 ] || [ "$sandbox" = $none ] || exit "$sandbox"
[ "$killed" = 0 ] || [ "$killed" = $none ] || exit "$killed"
