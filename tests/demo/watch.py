"""Pages of the demo under watch: what their consoles say, and whether a secret comes into them."""

import re

from playwright.sync_api import Browser, Page, expect

from amocrm_userauth.demo import Demo

PATIENCE = 60_000
"""Milliseconds: a busy machine is no defect."""

SECRET = re.compile(r"def50200|eyJ[\w-]{20}|amocrm-encrypted:|example-client-secret")
"""Tokens and codes of the fake, ciphertexts, the client secret."""

expect.set_options(timeout=PATIENCE)

# Chromium writes every answer with an error status to the console.
_ANSWER = re.compile(r"Failed to load resource: the server responded with a status of (400|409|503)")
_EVERYTHING = (
    "() => document.documentElement.outerHTML + JSON.stringify({...localStorage, ...sessionStorage}) + location.href"
)


class Pages:
    """Opens pages, and at the end looks at what they said."""

    def __init__(self, browser: Browser, demo: Demo) -> None:
        self._browser = browser
        self._demo = demo
        self._contexts = []
        self.complaints: list[str] = []
        self.pages: list[Page] = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        try:
            if exc_info[0] is None:
                self.check()
        finally:
            for context in self._contexts:
                context.close()

    def open(self, *, width: int = 1280, height: int = 800, path: str = "") -> Page:
        """Open the demo's page in a new context, which shares nothing with the others."""
        context = self._browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._local(request.url))
        page.goto(self._demo.url + path)
        self.pages.append(page)
        return page

    def check(self) -> None:
        """Fail if a console complained, or a page holds a secret."""
        assert self.complaints == [], self.complaints
        for page in self.pages:
            assert not SECRET.search(page.evaluate(_EVERYTHING))

    def _console(self, message) -> None:
        if message.type in {"error", "warning"} and not _ANSWER.match(message.text):
            self.complaints.append(f"{message.text} {message.location}")

    def _local(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:")):
            self.complaints.append(f"the page asks for {url}")
