"""The example script works as its text says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from amocrm_userauth import Integration, UserAuth
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.sqlalchemy import SQLAlchemyTokenStore, create_schema
from amocrm_userauth.testing import FakeAmoCRM, http_transport
from examples.script import main


@pytest.fixture
def fake() -> Iterator[FakeAmoCRM]:
    """Give an amoCRM without a limit of calls."""
    with FakeAmoCRM(rate_limit=None) as fake:
        yield fake


@pytest.fixture
def env(fake: FakeAmoCRM, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a deployment where Anna is connected."""
    known = fake.integration()
    env = {
        "AMO_CLIENT_ID": known.client_id,
        "AMO_CLIENT_SECRET": known.client_secret,
        "AMO_REDIRECT_URI": known.redirect_uri,
        "TOKEN_KEYS": FernetCipher.generate_key(),
        "SYNC_DATABASE_URL": f"sqlite:///{tmp_path}/tokens.sqlite",
    }
    engine = create_engine(env["SYNC_DATABASE_URL"])
    create_schema(engine)
    store = SQLAlchemyTokenStore(engine, cipher=FernetCipher([env["TOKEN_KEYS"]]))
    with fake.http_client() as http, UserAuth(Integration.from_env(env), store, http=http) as auth:
        answer = fake.callback("anna", state=auth.begin("anna").state)
        auth.connect("anna", code=answer["code"], state=answer["state"], referer=answer["referer"])
    engine.dispose()
    return env


def _run(fake: FakeAmoCRM, env: dict[str, str], *users: str) -> int:
    with fake.http_client() as http, http_transport(fake.url) as transport:
        return main(users, env, http=http, transport=transport)


def test_it_prints_the_leads(fake: FakeAmoCRM, env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each lead, also after the access token has died."""
    fake.expire("anna")
    assert _run(fake, env, "anna") == 0
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().out.splitlines()] == [
        "Example lead 1 of anna (1000)",
        "Example lead 2 of anna (2000)",
    ]


def test_it_says_who_must_connect(fake: FakeAmoCRM, env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A user without a connection does not keep the others from their leads."""
    assert _run(fake, env, "nobody", "anna") == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_it_says_when_amocrm_is_down(fake: FakeAmoCRM, env: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A failure for now has an exit status of its own."""
    fake.fail_next("anna", status=500, on="api")
    assert _run(fake, env, "anna") == 75
    assert "try again later" in capsys.readouterr().out
