"""The benchmarks work. How fast anything is, is not for tests to say: the machine may be busy."""

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
    assert all(line.startswith(("pass", "FAIL")) for line in lines)
