"""A demonstration for each test, and one browser for each file of tests."""

import pytest

from amocrm_userauth.demo import Demo
from amocrm_userauth.demo._phone import Phone
from tests.demo.browser import chromium
from tests.demo.watch import Pages


@pytest.fixture
def demo():
    with Demo() as running:
        yield running


@pytest.fixture
def phone(demo):
    """Maria's phone, logged in."""
    with Phone(demo.url) as made:
        yield made.log_in("maria")


# For a file, not for the session: while Playwright runs, its event loop is in the way of asynchronous tests.
@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def pages(browser, demo):
    """Opens the demo's page in browser contexts of their own; nothing unexpected may be on their consoles."""
    with Pages(browser, demo) as opened:
        yield opened
