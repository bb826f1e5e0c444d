"""The example site works as its text says: in a browser, and for a mobile app."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from typing import Self

import httpx
import pytest

PASSWORD = "example-password"
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Run the site as its user does, with one command."""
    # a test run in the background has interrupts switched off, and so have its children
    command = ["env", "--default-signal=INT", sys.executable, "-m", "examples.django_site", "0"]
    # an interrupt that hits coverage's tracer leaves its lock taken
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    try:
        found = _ADDRESS.search(process.stdout.readline())
        assert found, process.stdout.read()
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "Traceback" not in said


class Visitor:
    """A browser without a screen."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, follow_redirects=True, timeout=60)
        self.page = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def open(self, where: str) -> str:
        """Open a page of the site."""
        return self._see(self._http.get(where))

    def submit(self, button: str, **fields: str) -> str:
        """Fill in the form that has this button, and press it."""
        form = next(
            form for form in re.findall(r"<form.*?</form>", self.page, re.DOTALL) if f">{button}</button>" in form
        )
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))
        pressed = re.search(rf'<button name="([^"]+)" value="([^"]+)">{button}<', form)
        action = re.search(r'action="([^"]+)"', form)
        where = self._at.join(unescape(action[1])) if action else self._at
        data = {
            **{k: unescape(v) for k, v in hidden.items()},
            **fields,
            **({pressed[1]: pressed[2]} if pressed else {}),
        }
        return self._see(self._http.post(where, data=data, headers={"Referer": str(self._at)}))

    def _see(self, response: httpx.Response) -> str:
        assert response.status_code == 200, (response.status_code, response.text[:500])
        self._at, self.page = response.url, response.text
        return self.page

    def log_in(self, name: str) -> str:
        """Log in at the site."""
        self.open("/")
        return self.submit("Log in", username=name, password=PASSWORD)

    def connect(self, decision: str = "Allow", user: str = "") -> str:
        """Press the button of the site, and then one of amoCRM's page."""
        self.submit("Connect amoCRM")
        return self.submit(decision, user=user, account="example")


@pytest.mark.parametrize("name", ["anna", "boris"])
def test_a_user_connects_and_sees_their_leads(url: str, name: str) -> None:
    """From the login to the leads, each user their own; and back again."""
    with Visitor(url) as visitor:
        assert "You have not connected amoCRM yet" in visitor.log_in(name)
        assert "example.amocrm.ru" in visitor.connect(user=name)
        assert "code=" not in str(visitor._at)
        page = visitor.open("/leads")
        assert re.findall(r"<li>(.*?)</li>", page) == [f"Example lead {number} of {name}" for number in (1, 2)]
        assert f"Example lead 1 of {name}" in visitor.open("/api/leads")
        visitor.open("/")
        assert "You have not connected" in visitor.submit("Disconnect")
        assert "Log in" in visitor.submit("Log out")


def test_a_user_who_refuses_comes_back(url: str) -> None:
    """The site says so, and nothing is connected."""
    with Visitor(url) as visitor:
        visitor.log_in("anna")
        assert "you did not allow it" in visitor.connect("Deny", user="anna")
        assert "You have not connected" in visitor.page


def test_an_answer_that_is_not_this_users_is_told(url: str) -> None:
    """Nobody is connected by a link."""
    with Visitor(url) as visitor:
        visitor.log_in("anna")
        page = visitor.open("/connected?code=example&state=example&referer=example.amocrm.ru")
        assert "start the connection anew" in page


def test_the_mobile_app(url: str) -> None:
    """A token instead of a session: the endpoints and the leads, without cookies."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as app:
        assert app.post("/api/token", data={"username": "anna", "password": "wrong"}).status_code == 401
        token = app.post("/api/token", data={"username": "anna", "password": PASSWORD}).json()["token"]
        app.headers["Authorization"] = f"Bearer {token}"
        assert app.get("/api/amo-crm/status").json()["data"]["connected"] is False
        assert app.get("/api/leads").json()["error"]["code"] == "not_connected"
        page = app.get("/api/amo-crm/authorize-url").json()["data"]["url"]
        asked = httpx.URL(page).params
        form = {**asked, "user": "anna", "account": "example", "decision": "allow"}
        back = httpx.post(page.partition("?")[0], data=form, trust_env=False).headers["Location"]
        answer = dict(httpx.URL(app.get(back).headers["Location"]).params)
        assert app.post("/api/amo-crm/exchange-code", json=answer).json()["success"] is True
        assert app.get("/api/leads").json() == {"leads": ["Example lead 1 of anna", "Example lead 2 of anna"]}
        assert app.post("/api/amo-crm/disconnect").json()["success"] is True
        assert app.get("/api/amo-crm/status", headers={"Authorization": "Bearer x"}).status_code == 401


def test_the_admin(url: str) -> None:
    """It is there, with the connections."""
    with Visitor(url) as visitor:
        visitor.open("/admin/")
        data = {
            "username": "admin",
            "password": PASSWORD,
            "csrfmiddlewaretoken": visitor._http.cookies["csrftoken"],
            "next": "/admin/amocrm_userauth/amocrmtoken/",
        }
        page = visitor._http.post("/admin/login/", data=data, headers={"Referer": str(visitor._at)}).text
        assert "Select amoCRM connection to view" in page
