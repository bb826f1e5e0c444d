#!/bin/sh
# Run the tests on each supported Python that is found here; name those that are not.
set -u
cd "$(dirname "$0")/.."
failed= missing= passed=
# where this Python was installed, others may be beside it
beside=$(python3 -c 'import pathlib, sys; print(pathlib.Path(sys.base_prefix).parent)')
for version in 3.11 3.12 3.13; do
    python=
    for candidate in "python$version" "$HOME/.pyenv/versions/$version".*/bin/python "$beside/$version".*/bin/python "/opt/python$version/bin/python"; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        missing="$missing $version"
        continue
    fi
    echo "== Python $version"
    if sh tools/venv.sh ".venv-$version" dev "$python" && ".venv-$version/bin/python" -m pytest -q -n 2; then
        passed="$passed $version"
    else
        failed="$failed $version"
    fi
done
echo "Python passed:${passed:- none}; failed:${failed:- none}; not found:${missing:- none}"
[ -z "$failed" ] && [ -n "$passed" ]
