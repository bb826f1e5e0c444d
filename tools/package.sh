#!/bin/sh
# Build sdist and wheel, check them, and try the wheel in an empty environment: package.sh BIN
set -eu
cd "$(dirname "$0")/.."
bin=$1
empty=$(mktemp -d)
trap 'rm -rf "$empty"' EXIT

rm -rf dist
"$bin/python" -m build --no-isolation --outdir dist . >"$empty/build.log" 2>&1 || { cat "$empty/build.log"; exit 1; }
"$bin/twine" check --strict dist/*
wheel=$(ls dist/*.whl)

install() { # environment, what
    "$bin/python" -m venv --without-pip "$1"
    "$bin/uv" pip install --quiet --python "$1/bin/python" --constraint requirements/dev.txt "$2"
}

# alone: only the three dependencies and what they need
install "$empty/alone" "$wheel"
(cd "$empty" && alone/bin/python -I -c 'import amocrm_userauth; print("imported from", amocrm_userauth.__file__)')

# as the README says: its quickstart runs, and the demo
install "$empty/demo" "${wheel}[demo]"
cp README.md tools/run_readme.py "$empty/"
(cd "$empty" && demo/bin/python -I run_readme.py README.md)
(cd "$empty" && demo/bin/amocrm-userauth demo --once)
echo "package: sdist and wheel built, checked and tried"
