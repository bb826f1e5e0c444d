"""The store's own connections: how many, for how long, in whose process, and what they show."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connections
from django.test import override_settings

from amocrm_userauth.django import DjangoTokenStore, user_auth
from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable
from tests.django.site import ROOT, amocrm, connect, connect_expired, expire, job_for
from tests.races.kit import in_threads

CALLS = 10_000 if os.environ.get("AMOCRM_TEST_LONG") == "1" else 100


@pytest.mark.parametrize("age", [0, 60, None])
def test_the_number_of_connections_stays_flat(age: int | None, database: str) -> None:
    """After many calls, from threads that end too: none is left, or the one that may be kept."""
    user = kit.make_user("bob", database)
    with amocrm(**({} if age is None else {"CONN_MAX_AGE": age})) as fake:
        connect_expired(fake, user)
        auth = user_auth()
        for _ in range(CALLS):
            auth.access_token(user)
        for _ in range(5):
            expire(user)
            thread = threading.Thread(target=auth.access_token, args=[user])
            thread.start()
            thread.join()
        assert len(kit.left(database, 1 if age else 0)) == (1 if age else 0)
        assert connections[database].connection is None, "the request's own connection was used"
    assert kit.left(database, 0) == []


def test_of_a_rush_a_few_are_kept(database: str) -> None:
    """Twelve callers at once use twelve connections; eight stay for the next rush."""
    user = kit.make_user("bob", database)
    with closing(DjangoTokenStore(conn_max_age=60)) as store:
        meeting = threading.Barrier(12)

        def step(using: str) -> str:
            meeting.wait(30)
            return str(AmoCRMToken.objects.using(using).filter(user_id=user).count())

        assert in_threads([lambda: store._database.read(step)] * 12) == ["0"] * 12
        assert len(kit.left(database, 8)) == 8
    assert kit.left(database, 0) == []


def test_a_connection_past_its_age_is_closed(database: str) -> None:
    """It is not lent once more."""
    user = kit.make_user("bob", database)
    with closing(DjangoTokenStore(conn_max_age=600)) as store:
        store.get(user)
        (kept,) = store._database.connections._idle
        kept.close_at = 0
        store.get(user)
        (other,) = store._database.connections._idle
        assert other is not kept
        assert kept.connection is None


def test_changed_settings_are_met_by_a_new_connection(tmp_path: Any) -> None:
    """As when a test runner renames the database."""
    alias = kit.migrate(kit.add_database("moved", ENGINE="django.db.backends.sqlite3", NAME=str(tmp_path / "a")))
    with closing(DjangoTokenStore(database=alias, conn_max_age=600)) as store:
        assert store.get("7") is None
        connections.settings[alias]["NAME"] = str(tmp_path / "b")
        with pytest.raises(ConfigurationError, match=r"manage\.py migrate"):
            store.get("7")
    kit.remove_database(alias)


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_a_server_that_was_restarted_is_met_anew(server: str, request: pytest.FixtureRequest) -> None:
    """Whatever idle connections it has cut, reads and writes go on."""
    alias = request.getfixturevalue(f"on_{server}")
    with kit.routed(alias), kit.empty(alias), amocrm(CONN_MAX_AGE=600) as fake:
        user = kit.make_user("bob", alias)
        connect_expired(fake, user)
        auth = user_auth()
        kit.left(alias, 1)
        assert kit.cut_off(alias) == 1
        token = auth.access_token(user)
        kit.left(alias, 1)
        assert kit.cut_off(alias) == 1
        assert auth.access_token(user) == token
        in_threads([lambda: auth.access_token(user)] * 6)
        assert kit.cut_off(alias) > 0
        assert auth.disconnect(user)


def broken(using: str) -> None:
    """Break the connection of a step."""
    connections[using].connection.close()


def test_what_broke_before_its_commit_is_repeated_once(on_postgresql: str) -> None:
    """It has written nothing; the second time is the caller's to hear of."""
    with kit.routed(on_postgresql), closing(DjangoTokenStore()) as store:
        tries: list[str] = []

        def write(using: str) -> int:
            tries.append(using)
            broken(using)
            return AmoCRMToken.objects.using(using).update(failures=1)

        with pytest.raises(StoreUnavailable):
            store._database.update(write, again_if_lost=False)
        assert len(tries) == 2


@pytest.mark.parametrize("again", [True, False])
def test_what_broke_at_its_commit_is_repeated_where_that_is_the_same(again: bool, on_postgresql: str) -> None:
    """A deletion, for one, is not: somebody may have connected anew."""
    with kit.routed(on_postgresql), closing(DjangoTokenStore()) as store:
        tries: list[str] = []

        def write(using: str) -> int:
            tries.append(using)
            count = AmoCRMToken.objects.using(using).update(failures=1)
            if len(tries) == 1:
                broken(using)
            return count

        if again:
            assert not store._database.update(write)
        else:
            with pytest.raises(StoreUnavailable):
                store._database.update(write, again_if_lost=False)
        assert len(tries) == 1 + again


def test_an_interrupted_step_leaves_no_connection(database: str) -> None:
    """Ctrl-C in the middle of a transaction: its connection is not lent again."""
    with closing(DjangoTokenStore(conn_max_age=60)) as store:

        def write(using: str) -> int:
            AmoCRMToken.objects.using(using).update(failures=1)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            store._database.update(write)
        assert kit.left(database, 0) == []
        assert not hasattr(connections._connections, store._database.connections.private)


@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mariadb"])
def test_a_forked_child_leaves_the_parents_connections_alone(server: str, request: pytest.FixtureRequest) -> None:
    """Children make their own, and end without breaking the parent's."""
    alias = request.getfixturevalue(f"on_{server}")
    with kit.routed(alias), kit.empty(alias), amocrm() as fake:
        user = kit.make_user("bob", alias)
        connect(fake, user)
        command = [sys.executable, "-m", "tests.django.forking"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        job = json.dumps(job_for(fake, alias, user))
        done = subprocess.run(
            command, input=job, text=True, cwd=ROOT, env=env, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr


def test_no_statement_is_logged(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """``DEBUG`` writes every statement with its parameters into a log and keeps them: none of the store's."""
    user = kit.make_user("bob", database)
    aloud = caplog.at_level(logging.DEBUG, logger="django.db.backends")
    with aloud, override_settings(DEBUG=True), amocrm() as fake:
        connect_expired(fake, user)
        user_auth().access_token(user)
        secrets = [value for pair in fake.pairs(user) for value in (pair.access_token, pair.refresh_token)]
        queries = [str(query) for connection in connections.all() for query in connection.queries]
    shown = caplog.text + "".join(queries)
    assert len(secrets) == 4
    assert not [secret for secret in secrets if secret in shown]


def test_async_code_is_told_how_to_ask(database: str) -> None:
    """Django refuses database work in an event loop; the message says what to write instead, and that works."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect_expired(fake, user)

        async def wrong() -> str:
            return user_auth().access_token(user)

        async def right() -> str:
            return await sync_to_async(user_auth().access_token, thread_sensitive=False)(user)

        with pytest.raises(ConfigurationError, match="sync_to_async"):
            asyncio.run(wrong())
        assert asyncio.run(right()) == fake.pairs(user)[-1].access_token


def test_a_server_that_is_not_there(database: str) -> None:
    """Every kind of failure is one that callers know, and none shows what it was about."""
    alias = kit.add_database(
        "gone", ENGINE="django.db.backends.postgresql", NAME="example", HOST="127.0.0.1", PORT=1, PASSWORD="example-pw"
    )
    with pytest.raises(StoreUnavailable, match="check the database") as caught:
        DjangoTokenStore(database=alias).get("7")
    assert "example-pw" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    kit.remove_database(alias)


def test_a_database_that_no_setting_names() -> None:
    """It is the developer's to mend."""
    with pytest.raises(ConfigurationError, match="no database 'nowhere'"):
        DjangoTokenStore(database="nowhere")


def test_a_database_that_is_forgotten_later(tmp_path: Any) -> None:
    """The same, if it goes while the site runs."""
    store = DjangoTokenStore(database=kit.add_database("later", ENGINE="django.db.backends.dummy"))
    with pytest.raises(ConfigurationError, match="does not hold"):
        store.get("7")
    del connections.settings["later"]
    with pytest.raises((ConfigurationError, StoreUnavailable)):
        store.get("7")


@pytest.mark.parametrize("error", [RuntimeError, InterfaceError, OperationalError])
def test_whatever_goes_wrong_is_one_of_ours(error: type[Exception], database: str) -> None:
    """Its text, which may hold what was sent, is left out."""

    def step(_: str) -> int:
        raise error("example-secret")

    with closing(DjangoTokenStore()) as store, pytest.raises(StoreUnavailable, match=error.__name__) as caught:
        store._database.read(step)
    assert "example-secret" not in str(caught.value)
    assert caught.value.__context__ is None
