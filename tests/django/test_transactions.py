"""Nothing that a request does to its own connection touches a pair: not its rollback, not its locks."""

import time
from collections.abc import Iterator
from pathlib import Path

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from amocrm_userauth.django import user_auth
from amocrm_userauth.django.models import AmoCRMToken
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable
from tests.django.site import amocrm, connect_expired
from tests.races.kit import assert_alive


class BoomError(Exception):
    """What a view raises."""


def boom(request: HttpRequest, user: str) -> HttpResponse:
    """Refresh the token, write something, then fail: the request's own transaction is rolled back."""
    user_auth().access_token(user)
    get_user_model()._base_manager.using(request.headers["Database"]).create(username="eve", password="example")
    raise BoomError


urlpatterns = [path("boom/<user>", boom)]


@pytest.fixture(params=[True, False], ids=["ATOMIC_REQUESTS", "autocommit"])
def atomic_requests(request: pytest.FixtureRequest, database: str) -> Iterator[bool]:
    """Set ``ATOMIC_REQUESTS``."""
    connections.settings[database]["ATOMIC_REQUESTS"] = request.param
    yield request.param
    connections.settings[database]["ATOMIC_REQUESTS"] = False


def test_a_request_that_rolls_back_keeps_the_fresh_pair(database: str, atomic_requests: bool) -> None:
    """The view's own row goes, the pair that it refreshed stays."""
    user = kit.make_user("bob", database)
    with amocrm() as fake, override_settings(ROOT_URLCONF=__name__):
        connect_expired(fake, user)
        client = Client(raise_request_exception=False)
        assert client.get(f"/boom/{user}", headers={"Database": database}).status_code == 500
        assert fake.token_calls(user, "refresh_token") == 1
        assert_alive(user_auth().store, fake, user)
        left = get_user_model()._base_manager.using(database).filter(username="eve").exists()
        assert left is not atomic_requests


def test_an_outer_transaction_sees_nothing_of_the_step(database: str, tmp_path: Path) -> None:
    """The caller's connection is in its transaction as before, and its rollback takes nothing back."""
    if connections[database].vendor == "sqlite":
        database = kit.write_ahead(tmp_path)
    with kit.routed(database), kit.empty(database), amocrm() as fake:
        user = kit.make_user("bob", database)
        connect_expired(fake, user)
        with transaction.atomic(using=database):
            list(get_user_model()._base_manager.using(database).all())
            token = user_auth().access_token(user)
            assert connections[database].in_atomic_block
            transaction.set_rollback(True, using=database)
        assert user_auth().access_token(user) == token
        assert user_auth().disconnect(user)


def test_a_reader_is_in_the_way_of_a_plain_sqlite_file(on_sqlite: str) -> None:
    """Without write-ahead logging nobody commits while a request reads; the message names the cure."""
    with kit.routed(on_sqlite), kit.empty(on_sqlite), amocrm(LOCK_TIMEOUT=1) as fake:
        user = kit.make_user("bob")
        connect_expired(fake, user)
        with transaction.atomic():
            list(get_user_model()._base_manager.all())
            held_up(user, 1, "journal_mode=WAL")
        assert fake.token_calls(user, "refresh_token") == 0


def held_up(user: str, seconds: float, cure: str = "non_atomic_requests") -> None:
    """The caller is told what to do, in time."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=cure):
        user_auth().access_token(user)
    assert time.monotonic() - began < seconds + 5


def test_a_request_that_holds_the_row_is_told_the_cure(database: str) -> None:
    """``select_for_update`` (SQLite: any write) before the call: a bounded wait, no token spent, nothing broken."""
    user = kit.make_user("bob", database)
    with amocrm(LOCK_TIMEOUT=1) as fake:
        connect_expired(fake, user)
        with transaction.atomic(using=database):
            rows = AmoCRMToken.objects.using(database)
            if connections[database].vendor == "sqlite":
                rows.filter(user_id=user).update(failures=0)
            else:
                list(rows.select_for_update().filter(user_id=user))
            held_up(user, 1)
        assert fake.token_calls(user, "refresh_token") == 0
        user_auth().access_token(user)
        assert fake.token_calls(user, "refresh_token") == 1


def test_a_request_that_wrote_elsewhere_is_not_in_the_way(database: str) -> None:
    """Other rows may be locked; only SQLite has one lock for all, and says what to do."""
    user = kit.make_user("bob", database)
    with amocrm(LOCK_TIMEOUT=1) as fake:
        connect_expired(fake, user)
        with transaction.atomic(using=database):
            get_user_model()._base_manager.using(database).create(username="eve", password="example")
            if connections[database].vendor == "sqlite":
                held_up(user, 1)
            else:
                user_auth().access_token(user)
        user_auth().access_token(user)
        assert_alive(user_auth().store, fake, user)


def test_a_valid_token_needs_no_lock(database: str) -> None:
    """A request that holds whatever it likes reads the token that is stored."""
    user = kit.make_user("bob", database)
    with amocrm(LOCK_TIMEOUT=1) as fake:
        connect_expired(fake, user)
        token = user_auth().access_token(user)
        with transaction.atomic(using=database):
            AmoCRMToken.objects.using(database).filter(user_id=user).update(failures=0)
            assert user_auth().access_token(user) == token


def test_a_user_of_an_uncommitted_request_is_not_connected(database: str) -> None:
    """The store cannot see the user yet, says so, and spends no code."""
    with amocrm(LOCK_TIMEOUT=1) as fake, transaction.atomic(using=database):
        user = kit.make_user("bob", database)
        request = user_auth().begin(user)
        code = fake.authorize(user, state=request.state)
        with pytest.raises((ConfigurationError, StoreUnavailable)):
            user_auth().connect(user, code=code, state=request.state, referer=fake.host(user))
        assert fake.token_calls(user) == 0


def test_a_deadlock_of_ours_is_repeated(database: str) -> None:
    """A step that the database undoes is done anew."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect_expired(fake, user)
        store, tries = user_auth().store, []

        def write(using: str) -> int:
            tries.append(using)
            if len(tries) < 3:
                raise _undone()
            return AmoCRMToken.objects.using(using).filter(user_id=user).update(failures=7)

        assert store._database.update(write)
        assert store.get(user).failures == 7
        assert len(tries) == 3


def _undone() -> Exception:
    from django.db import OperationalError

    error = OperationalError("deadlock")
    error.__cause__ = OSError(1213, "deadlock")
    return error
