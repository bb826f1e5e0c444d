#!/bin/sh
# Run the tests of the stores with SQLAlchemy 2.0 in an environment of their own: other_sqlalchemy.sh [VERSION]
# VERSION is another one than requirements/sqlalchemy20.txt has. With --lock: choose the versions in that file anew.
set -eu
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
what=${1:-}

if [ "$what" = --lock ]; then
    # the same versions as the development environment has, but for SQLAlchemy
    constraints=$(mktemp)
    trap 'rm -f "$constraints"' EXIT
    sed -e '/^sqlalchemy==/d' -e '/^ *--hash/d' -e 's/ *\\$//' requirements/dev.txt >"$constraints"
    lock="$uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header"
    $lock --no-emit-index-url --no-emit-find-links --upgrade --constraint "$constraints" \
        requirements/sqlalchemy20.in --output-file requirements/sqlalchemy20.txt
    exit
fi

venv=.venv-sqlalchemy20
[ -x "$venv/bin/python" ] || .venv/bin/python -m venv --without-pip "$venv"
$uv pip sync --quiet --python "$venv/bin/python" --require-hashes requirements/sqlalchemy20.txt
[ -z "$what" ] || $uv pip install --quiet --python "$venv/bin/python" "sqlalchemy[asyncio]==$what"
"$venv/bin/python" -c 'import sqlalchemy; print("SQLAlchemy", sqlalchemy.__version__)'
PYTHONPATH=src exec "$venv/bin/python" -m pytest -q -n 2 -p no:cacheprovider \
    tests/_async/test_sqlalchemy_store.py tests/_sync/test_sqlalchemy_store.py tests/stores \
    tests/databases/test_lost_answers.py tests/databases/test_values.py
