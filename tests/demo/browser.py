"""A real browser for tests: Debian's Chromium, driven by Playwright (whose own download is not used).

``AMOCRM_TEST_CHROMIUM`` names the program. Where there is none, root installs it with apt-get. What cannot be had is
skipped, and the summary says so; ``AMOCRM_TEST_REQUIRE_SERVICES=1`` makes it fail.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.services import MISSING

_VARIABLE = "AMOCRM_TEST_CHROMIUM"
_USUAL = "/usr/bin/chromium"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium for a ``with`` block."""
    program = _program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def _program() -> str:
    try:
        return _search()
    except (OSError, subprocess.SubprocessError, RuntimeError) as error:
        MISSING["chromium"] = f"{error}; set {_VARIABLE}"
    reason = f"no chromium: {MISSING['chromium']}"
    if os.environ.get("AMOCRM_TEST_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _search() -> str:
    given = os.environ.get(_VARIABLE)
    if given:
        return _existing(given)
    if shutil.which(_USUAL) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt_get("update")
        _apt_get("install", "--yes", "--no-install-recommends", "chromium")
    return _existing(_USUAL)


def _apt_get(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", *arguments], env=environment, check=True, capture_output=True, timeout=600)


def _existing(program: str) -> str:
    if shutil.which(program) is None:
        msg = f"{program} is not there"
        raise RuntimeError(msg)
    return program
