"""The admin in a real browser: what staff sees, at both sizes, and what the actions do."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.testing import FakeAmoCRM
from tests.demo.browser import chromium
from tests.demo.watch import PATIENCE, SECRET
from tests.django_admin.kit import PASSWORD, administered, everybody, staff

expect.set_options(timeout=PATIENCE)
_SHOTS = os.environ.get("AMOCRM_TEST_SCREENSHOTS")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give one browser to this file."""
    with chromium() as running:
        yield running


class Desk:
    """The site as its staff has it before them.

    Django refuses its database to a thread with an event loop, as Playwright's has one: what needs the database is done
    in another.
    """

    def __init__(self, browser: Browser, pool: ThreadPoolExecutor, url: str, fake: FakeAmoCRM) -> None:
        self._browser, self._pool, self.url, self.fake = browser, pool, url, fake
        self.complaints: list[str] = []
        self.pages: list[Page] = []

    def open(self, size: dict[str, int]) -> Page:
        """Log a superuser in and open the list."""
        page = self._browser.new_context(viewport=size).new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{self.url}/admin/amocrm_userauth/amocrmtoken/")
        page.get_by_label("Username:").fill("root")
        page.get_by_label("Password:").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator("#result_list tbody tr")).to_have_count(4)
        self.pages.append(page)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            self.complaints.append(message.text)

    def do(self, work: Any) -> Any:
        """Do something with the database."""
        return self._pool.submit(work).result()

    def shoot(self, page: Page, name: str) -> None:
        """Look for secrets; keep a picture if somebody wants to look."""
        assert not SECRET.search(page.content())
        if _SHOTS:
            page.screenshot(path=str(Path(_SHOTS) / f"{name}.png"), full_page=True)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving() -> Iterator[str]:
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
    server.set_app(StaticFilesHandler(WSGIHandler()))
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def desk(browser: Browser) -> Iterator[Desk]:
    """Give the running site."""
    with FakeAmoCRM(rate_limit=None) as fake, ThreadPoolExecutor(1) as pool:
        running = administered(fake)
        pool.submit(running.__enter__).result()
        try:
            pool.submit(lambda: (everybody(fake), staff("root", "*"))).result()
            with _serving() as url:
                desk = Desk(browser, pool, url, fake)
                yield desk
                assert desk.complaints == []
                for page in desk.pages:
                    page.context.close()
        finally:
            pool.submit(running.__exit__, None, None, None).result()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_looking(desk: Desk, size: dict[str, int]) -> None:
    """The list, a filter, a search, a row: nothing to edit, no token."""
    name = f"{size['width']}"
    page = desk.open(size)
    rows = page.locator("#result_list tbody")
    expect(rows).to_contain_text("revoked")
    expect(rows).to_contain_text("amoCRM answered 503")
    desk.shoot(page, f"list-{name}")
    page.locator("#searchbar").fill("bor")
    page.get_by_role("button", name="Search").click()
    expect(rows.locator("tr")).to_have_count(1)
    rows.get_by_role("link", name="boris").click()
    expect(page.get_by_role("heading", name="View amoCRM connection")).to_be_visible()
    expect(page.locator(".field-reauth_reason")).to_contain_text("revoked")
    assert page.locator("#content input:not([type=hidden]), #content textarea, #content select").count() == 0
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    expect(page.get_by_role("link", name="Delete")).to_have_count(0)
    desk.shoot(page, f"row-{name}")


def test_filtering(desk: Desk) -> None:
    """Who must connect again is one click away."""
    page = desk.open(WIDE)
    page.get_by_role("link", name="must connect again").click()
    rows = page.locator("#result_list tbody tr")
    expect(rows).to_have_count(2)
    expect(page.locator("#result_list")).to_contain_text("three months of silence")
    desk.shoot(page, "filtered")


def test_refreshing_and_disconnecting(desk: Desk) -> None:
    """The actions say what they did; disconnecting asks before."""
    desk.fake.revoke("boris")
    page = desk.open(WIDE)
    _choose(page, "refresh", "anna", "boris")
    expect(page.locator(".messagelist .success")).to_have_text("1 refreshed.")
    expect(page.locator(".messagelist .error")).to_contain_text("For boris: ")
    desk.shoot(page, "refreshed")
    _choose(page, "disconnect", "boris", "clara")
    expect(page.get_by_role("heading", name="Disconnect users from amoCRM")).to_be_visible()
    expect(page.locator("#content")).to_contain_text("clara (example.amocrm.ru)")
    desk.shoot(page, "asked")
    page.get_by_role("link", name="No, take me back").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(4)
    _choose(page, "disconnect", "boris", "clara")
    page.get_by_role("button", name="Yes, disconnect them").click()
    expect(page.locator(".messagelist .success")).to_have_text("2 disconnected.")
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    desk.shoot(page, "disconnected")
    assert desk.do(lambda: sorted(row.user.username for row in AmoCRMToken.objects.all())) == ["anna", "dmitri"]


def _choose(page: Page, action: str, *users: str) -> None:
    for user in users:
        page.locator("#result_list tbody tr", has=page.get_by_role("link", name=user)).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(action)
    page.locator(".actions button[type=submit]").click()
