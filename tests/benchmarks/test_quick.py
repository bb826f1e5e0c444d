"""The benchmarks work. How fast anything is, is not for tests to say: the machine may be busy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import ALL

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ALL)
def test_a_quick_run_prints_its_figures(name: str):
    """A quick run of each benchmark ends well, and every line of it says how it stands."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", name]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _machine, _head, *lines = done.stdout.splitlines()
    assert lines
    assert all(line.startswith(("pass", "FAIL", "SKIP", "NOT MEASURED")) for line in lines)
    if os.environ.get("AMOCRM_TEST_REQUIRE_SERVICES") == "1":
        assert not any(line.startswith("SKIP") for line in lines), done.stdout


def test_what_cannot_be_measured_is_named_loudly():
    """Without a server its lines say so, and are said again at the end; that is no failure."""
    nowhere = {"AMOCRM_TEST_POSTGRESQL_URL": "postgresql://nobody@127.0.0.1:9/nowhere"}
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "million"]
    done = subprocess.run(
        command, cwd=_ROOT, env=os.environ | nowhere, capture_output=True, text=True, check=False, timeout=60
    )
    _machine, _head, line, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert line.startswith("SKIP")
    assert last.startswith("NOT MEASURED")
    assert "names one that does not answer" in last
