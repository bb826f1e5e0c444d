"""What the store does where the suite does not look: tables with rules of their own, and races that tests cannot win."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.db import models

from amocrm_userauth._core.model import RefreshReport, TokenPair, UserToken
from amocrm_userauth.django import DjangoTokenStore, _service, user_auth
from amocrm_userauth.django._exactly import Exactly
from amocrm_userauth.django._fields import UtcDateTimeField
from amocrm_userauth.django._user_ids import UserIds
from amocrm_userauth.django.management.commands.amocrm_refresh_due import _Bar
from amocrm_userauth.django.models import AmoCRMState, AmoCRMToken
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable
from tests.django.site import amocrm

NOW = datetime(2025, 3, 9, 12, tzinfo=UTC)


def token(user: str) -> UserToken:
    """A row."""
    pair = TokenPair(access_token="example-access", refresh_token="example-refresh", expires_at=NOW)
    return UserToken(user_id=user, pair=pair, revision="rev-1", pair_saved_at=NOW)


def test_a_table_that_refuses_the_row_is_named(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one with a constraint that was added to it: not for ever, and not as if it were stored."""
    store = DjangoTokenStore()
    monkeypatch.setattr(store._database, "insert", lambda *_, **__: False)
    with pytest.raises(StoreUnavailable, match="refuses the new row"):
        store.put(token(kit.make_user("bob", database)))
    with pytest.raises(StoreUnavailable, match="table of states refuses"):
        store.remember_code(nonce_hash="n", code_hash="c", user_hash="u", expires_at=NOW + timedelta(1), now=NOW)


def test_a_user_that_is_not_there_is_the_developers_job(database: str) -> None:
    """Whatever the foreign key says, and when: at once, or at the commit."""
    with pytest.raises(ConfigurationError, match="no such user"):
        DjangoTokenStore().put(token("4711"))


def test_a_filter_by_a_moment_without_a_zone_is_in_the_sites(database: str) -> None:
    """As the admin's filters are. ``None`` stays that; a date is its midnight."""
    field: Any = UtcDateTimeField()
    assert field.get_prep_value(datetime(2025, 3, 9, 15)) == NOW
    assert field.get_prep_value(None) is None
    assert AmoCRMToken.objects.using(database).filter(lease_until=None, expires_at__lt="2025-03-09 15:00").count() == 0


def test_a_postgresql_connection_without_zones_gives_the_moment_all_the_same() -> None:
    """With ``USE_TZ = False`` it gives local time."""

    class Connection:
        vendor = "postgresql"
        timezone_name = "Europe/Moscow"

    field: Any = UtcDateTimeField()
    connection: Any = Connection()
    assert field.from_db_value(datetime(2025, 3, 9, 15), None, connection) == NOW


def test_text_is_compared_byte_by_byte(database: str) -> None:
    """On every database, whatever the collation of the column."""
    made = {"code_hash": "c", "user_hash": "u", "claimant": "", "expires_at": NOW}
    AmoCRMState.objects.using(database).create(nonce_hash="n", outcome="connected", **made)
    for value, count in (("connected", 1), ("Connected", 0), ("connected ", 0)):
        assert AmoCRMState.objects.using(database).filter(Exactly("outcome", value)).count() == count
    assert str(AmoCRMState.objects.using(database).get()) == "connected"


def test_keys_of_other_kinds_are_what_the_field_makes_of_them() -> None:
    """A key that is neither text nor number nor UUID."""

    class Dated(models.Model):
        day = models.DateField(primary_key=True)

        class Meta:
            app_label = "people"

        def __str__(self) -> str:
            return str(self.day)

    assert UserIds(Dated).canonical("2025-03-09") == "2025-03-09"
    with pytest.raises(ValueError, match="primary key of the user model"):
        UserIds(Dated).canonical("bob")


def test_a_bar_never_goes_back() -> None:
    """Reports come from several threads, in any order."""

    class Stream:
        def __init__(self) -> None:
            self.drawn: list[str] = []

        def write(self, text: str, ending: str = "\n") -> None:
            self.drawn.append(text)

        def flush(self) -> None:
            """There is nothing to flush."""

    stream: Any = Stream()
    bar = _Bar(stream, 2)
    bar.show(RefreshReport(refreshed=2))
    bar.show(RefreshReport(refreshed=1))
    assert len(stream.drawn) == 1


class Slow:
    """A lock; while one waits for it, another makes what is asked for."""

    def __init__(self, meanwhile: Any) -> None:
        self.meanwhile = meanwhile

    def __enter__(self) -> None:
        self.meanwhile()

    def __exit__(self, *_: object) -> None:
        """Let go."""


def test_who_comes_second_takes_what_is_there(on_sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that both find nothing make one service and one store."""
    with amocrm():
        auth = user_auth()
        store = _service.token_store()
        _service._process.auth = _service._process.store = None
        process = _service._process

        def meanwhile() -> None:
            process.auth, process.store = auth, store

        lock, process.lock = process.lock, Slow(meanwhile)
        try:
            assert user_auth() is auth
            process.auth = process.store = None
            assert _service.token_store() is store
        finally:
            process.lock = lock
