#!/bin/sh
# Make or update a virtual environment: venv.sh FOLDER demo|dev [PYTHON]
# Installs requirements/FILE.txt (every file checked against its hash), then this project, editable.
# uv does it in seconds; where uv cannot (another index, no binary), pip does.
set -eu
cd "$(dirname "$0")/.."
venv=$1 what=$2 python=${3:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "needs Python 3.11 or newer, found: $("$python" --version 2>&1); choose one with make PYTHON=…" >&2
    exit 1
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || {
    echo "cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2
    exit 1
}
pip="$venv/bin/python -m pip --disable-pip-version-check --quiet"
uv="$venv/bin/uv pip install --quiet --python $venv/bin/python"

$pip install --require-hashes -r requirements/uv.txt || echo "no uv here, going on with pip" >&2
$uv --require-hashes -r "requirements/$what.txt" || $pip install --require-hashes -r "requirements/$what.txt"
# hatchling, the build backend: from the locked set, so that nothing is fetched unchecked
[ "$what" = dev ] || $uv --require-hashes -r requirements/build.txt || $pip install --require-hashes -r requirements/build.txt
$uv --no-deps --no-build-isolation --editable . || $pip install --no-deps --no-build-isolation --editable .
touch "$venv/.$what"
