"""The example backend works as its text says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport
from examples.fastapi_app.main import create_app
from examples.fastapi_app.settings import Settings

_ENV = {
    "AMO_CLIENT_ID": "example-id",
    "AMO_CLIENT_SECRET": "example-client-secret",
    "AMO_REDIRECT_URI": "https://backend.example/api/amo-crm/callback",
}


@pytest.fixture
def fake() -> Iterator[FakeAmoCRM]:
    """Give an amoCRM that knows the example's integration."""
    with FakeAmoCRM(rate_limit=None) as fake:
        yield fake


@pytest.fixture
def client(fake: FakeAmoCRM, tmp_path: Path) -> Iterator[TestClient]:
    """Give the running example."""
    settings = Settings(
        fake.integration(),
        (FernetCipher.generate_key(),),
        database_url=f"sqlite+aiosqlite:///{tmp_path}/tokens.sqlite",
    )
    http = fake.async_http_client()
    with TestClient(create_app(settings, http=http, transport=async_http_transport(fake.url))) as client:
        yield client
        client.portal.call(http.aclose)


def _log_in(client: TestClient, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {client.post('/login', json={'name': name}).json()['token']}"}


def _connect(client: TestClient, fake: FakeAmoCRM, name: str, prefix: str) -> dict[str, str]:
    login = _log_in(client, name)
    state = client.get(f"{prefix}/authorize-url", headers=login).json()["data"]["state"]
    answer = fake.callback(name, state=state)
    bridged = client.get(f"{prefix}/callback", params=answer, follow_redirects=False)
    assert bridged.headers["location"].startswith("foryouapp://amo-crm/callback?code=")
    body = {key: answer[key] for key in ("code", "state", "referer")}
    assert client.post(f"{prefix}/exchange-code", json=body, headers=login).status_code == 200
    return login


@pytest.mark.parametrize("prefix", ["/api/amo-crm", "/api/v1/integrations/amo-crm"])
def test_a_user_connects_and_sees_their_leads(client: TestClient, fake: FakeAmoCRM, prefix: str) -> None:
    """From the login to the leads, for two users side by side."""
    anna = _connect(client, fake, "anna", prefix)
    boris = _connect(client, fake, "boris", prefix)
    names = [[lead["name"] for lead in client.get("/leads", headers=login).json()] for login in (anna, boris)]
    assert names == [[f"Example lead {number} of {name}" for number in (1, 2)] for name in ("anna", "boris")]
    assert client.get("/leads", headers=anna, params={"page": 2}).json() == []


def test_what_goes_wrong_is_answered(client: TestClient, fake: FakeAmoCRM) -> None:
    """Nobody logged in, nobody connected, and a refusal of amoCRM's."""
    assert client.get("/leads").status_code == 401
    assert client.get("/leads", headers={"Authorization": "Bearer example"}).status_code == 401
    assert client.get("/leads", headers=_log_in(client, "nobody")).json()["error"]["code"] == "not_connected"
    anna = _connect(client, fake, "anna", "/api/amo-crm")
    fake.fail_next("anna", status=403, on="api")
    assert client.get("/leads", headers=anna).status_code == 502


def test_the_settings_come_from_the_environment() -> None:
    """Keys are separated by commas; the rest has defaults."""
    settings = Settings.from_env({**_ENV, "TOKEN_KEYS": "new,old", "DEEP_LINK": "app://x"})
    assert settings.token_keys == ("new", "old")
    assert settings.deep_link == "app://x"
    assert settings.database_url.startswith("sqlite")
    assert "new" not in repr(settings)


def test_the_application_is_built_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``uvicorn --factory`` needs no argument."""
    for name, value in {**_ENV, "TOKEN_KEYS": FernetCipher.generate_key()}.items():
        monkeypatch.setenv(name, value)
    assert "/leads" in create_app().openapi()["paths"]
