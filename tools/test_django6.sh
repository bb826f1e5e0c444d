#!/bin/sh
# Run the tests of the Django adapter with Django 6, which needs Python 3.12 or 3.13: test_django6.sh [pytest arguments]
# The environment .venv-django6 holds the locked set for that Python; uv makes it in seconds.
set -eu
cd "$(dirname "$0")/.."
python=
# where this Python was installed, others may be beside it
beside=$(python3 -c 'import pathlib, sys; print(pathlib.Path(sys.base_prefix).parent)')
for version in 3.13 3.12; do
    for candidate in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python "$beside/$version".*/bin/python "/opt/python$version/bin/python"; do
        if [ -z "$python" ] && "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            python=$candidate
        fi
    done
done
if [ -z "$python" ]; then
    echo "DJANGO 6 WAS NOT TESTED: no Python 3.12 or 3.13 here"
    exit 0
fi
[ .venv-django6/.dev -nt requirements/dev.txt ] || sh tools/venv.sh .venv-django6 dev "$python"
.venv-django6/bin/python -c 'import django, sys; assert django.VERSION >= (6,); print("Django", django.get_version(), "on Python", sys.version.split()[0])'
if [ $# = 0 ]; then
    # shellcheck disable=SC2046 - no name has a space
    set -- -q -n "${WORKERS:-2}" tests/django $(ls -d tests/django_admin tests/contract/test_django*.py 2>/dev/null)
fi
exec .venv-django6/bin/python -m pytest "$@"
