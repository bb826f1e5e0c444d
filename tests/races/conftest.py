"""Threads take turns more often here than Python's 5 ms: more interleavings in less time."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _many_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    yield
    sys.setswitchinterval(before)
