#!/bin/sh
# Make the virtual environment with the locked packages; does nothing when it is current.
set -eu
venv=${1:-.venv}
cd "$(dirname "$0")/.."
stamp="$venv/.treewalk-setup"
want=$(cat requirements-dev.lock pyproject.toml scripts/setup.sh | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && exit 0

python=""
for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null 2>&1 &&
        "$name" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$name
        break
    fi
done
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
if [ -z "$python" ] || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if can_install; then
        echo "installing python3 and python3-venv ..."
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
        python=python3
    else
        echo "treewalk needs Python 3.11 or newer with venv: install python3 and python3-venv" >&2
        exit 1
    fi
fi
"$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' || {
    echo "treewalk needs Python 3.11 or newer; $("$python" --version) is too old. Set PYTHON to a newer one." >&2
    exit 1
}
echo "setting up $venv (locked packages) ..."
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
echo "$want" >"$stamp"
