"""What ``docs/how-to/django.md`` shows works as it stands."""

import asyncio
import json
import re
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client, RequestFactory, TestCase

from amocrm_userauth import errors, events
from amocrm_userauth.django import http, signals, user_auth
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport
from tests.contract.django_sites import by_header, site
from tests.django import kit

_PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/django.md"
_BLOCKS = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def _shown(mark: str, **known: Any) -> dict[str, Any]:
    """Run the block that has ``mark`` in it, and return its names."""
    found = [block for block in _BLOCKS if mark in block]
    assert len(found) == 1, mark
    names: dict[str, Any] = {"__name__": __name__, **known}
    exec(found[0], names)
    return names


@pytest.fixture
def fake() -> Iterator[FakeAmoCRM]:
    """Give an amoCRM."""
    with FakeAmoCRM() as fake:
        yield fake


@pytest.fixture
def anna(fake: FakeAmoCRM) -> Iterator[str]:
    """Run a site on which Anna is connected; give her id."""
    with site(fake, CURRENT_USER=by_header):
        user = kit.make_user("anna")
        answer = fake.callback("anna", state=user_auth().begin(user).state)
        user_auth().connect(user, code=answer["code"], state=answer["state"], referer=answer["referer"])
        yield user


def _request() -> Any:
    return RequestFactory().get("/", headers={"Authorization": "Bearer anna"})


def test_the_settings_and_addresses(fake: FakeAmoCRM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two mounts answer."""
    monkeypatch.setenv("AMO_ENCRYPTION_KEYS", "example")
    assert _shown('"amocrm_userauth.django",')["AMOCRM_USERAUTH"]["ENCRYPTION_KEYS"] == ["example"]
    urls = tuple(_shown("urlpatterns")["urlpatterns"])
    with site(fake, urls):
        for mount in ("/api/amo-crm", "/api/v1/integrations/amo-crm"):
            assert Client().get(f"{mount}/status").status_code == 401


def test_the_views(fake: FakeAmoCRM, anna: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync and async views see Anna's leads and status."""
    made = http.client
    ways = {True: lambda: http_transport(fake.url), False: lambda: async_http_transport(fake.url)}

    def client(auth: Any, user: str, **_: object) -> Any:
        return made(auth, user, transport=ways[auth is user_auth()]())

    monkeypatch.setattr(http, "client", client)
    reply = _shown("with amocrm_client(request) as amocrm")["leads"](_request())
    again = asyncio.run(_shown("async_amocrm_client(request)")["leads"](_request()))
    assert json.loads(reply.content) == json.loads(again.content)
    assert "Example lead 1 of anna" in reply.content.decode()
    status = _shown("sync_to_async(user_auth().status")["status"]
    assert asyncio.run(status(SimpleNamespace(pk=anna))).connected


def test_the_page_of_a_site(fake: FakeAmoCRM, anna: str) -> None:
    """A logged-in user who comes back with an answer is connected; somebody else's answer is refused."""
    connected = _shown("def connected(request)", redirect=None)["connected"]
    boris = kit.make_user("boris")
    answer = fake.callback("boris", state=user_auth().begin(boris).state)
    request = RequestFactory().get("/connected", answer)
    request.user = kit.get_user_model().objects.get(pk=anna)
    with pytest.raises(errors.InvalidState):
        connected(request)
    request.user = kit.get_user_model().objects.get(pk=boris)
    with pytest.raises(Exception, match="home"):  # this site has no such page
        connected(request)
    assert user_auth().status(boris).connected


def test_the_signal(capsys: pytest.CaptureFixture[str]) -> None:
    """The receiver is called with what it takes."""
    names = _shown("@receiver(reauthorization_required)")
    try:
        signals.send(events.ReauthorizationRequired(user_id="42", reason="revoked"))
    finally:
        signals.reauthorization_required.disconnect(names["tell_the_user"])
    assert capsys.readouterr().out == "user 42 must connect amoCRM again: revoked\n"


def test_the_test_case() -> None:
    """It passes, and leaves nothing behind."""
    names = _shown("class LeadsTests(TestCase)")
    with kit.empty(kit.site()):
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(names["LeadsTests"]).run(result)
        assert (result.testsRun, result.errors, result.failures) == (1, [], [])
        assert issubclass(names["LeadsTests"], TestCase)
        assert kit.get_user_model().objects.count() == 0


def test_the_table_of_settings_is_whole() -> None:
    """Every setting is in it."""
    from amocrm_userauth.django._settings import KEYS

    text = _PAGE.read_text(encoding="utf-8")
    assert [name for name in KEYS if f"`{name}`" not in text] == []


def test_the_table_of_commands_is_whole() -> None:
    """Every command is in it."""
    from django.core.management import get_commands

    ours = [name for name, app in get_commands().items() if app == "amocrm_userauth.django"]
    text = _PAGE.read_text(encoding="utf-8")
    assert ours
    assert [name for name in ours if f"| `{name}" not in text] == []
