"""The cache of tokens: off by default, bounded in time and size."""

from datetime import UTC, datetime, timedelta

import pytest

from amocrm_userauth import TokenPair, UserToken
from amocrm_userauth._core import cache
from amocrm_userauth._core.cache import TokenCache

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FAR = NOW + timedelta(days=1)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


def row(user_id="42"):
    return UserToken(
        user_id=user_id,
        pair=TokenPair(access_token="example-a", refresh_token="example-r", expires_at=FAR),
        revision="r1",
        pair_saved_at=NOW,
    )


def test_with_a_ttl_of_nought_nothing_is_kept():
    """The default: every call reads the store."""
    rows = TokenCache(0, Clock())
    rows.keep(row(), FAR, as_of=rows.changes)
    assert rows.find("42") is None


def test_a_row_is_served_for_the_ttl():
    """And not a moment longer."""
    clock = Clock()
    rows = TokenCache(60, clock)
    rows.keep(row(), FAR, as_of=rows.changes)
    clock.now += timedelta(seconds=59.9)
    assert rows.find("42").row == row()
    clock.now = NOW + timedelta(seconds=60)
    assert rows.find("42") is None


def test_a_row_is_not_served_past_the_time_it_is_due():
    """A refresh ahead of time is not put off by the cache."""
    clock = Clock()
    rows = TokenCache(60, clock)
    rows.keep(row(), NOW + timedelta(seconds=5), as_of=rows.changes)
    clock.now += timedelta(seconds=5)
    assert rows.find("42") is None


def test_a_dropped_row_is_gone():
    """Also if it was never there."""
    rows = TokenCache(60, Clock())
    rows.keep(row(), FAR, as_of=rows.changes)
    rows.drop("42")
    rows.drop("43")
    assert rows.find("42") is None


def test_one_user_is_never_served_anothers_row():
    """Ids are compared as they are."""
    rows = TokenCache(60, Clock())
    rows.keep(row("bob"), FAR, as_of=rows.changes)
    assert rows.find("Bob") is None
    assert rows.find("bob ") is None


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """When it is full it starts anew; a user who is in it does not empty it."""
    monkeypatch.setattr(cache, "_MAX_USERS", 3)
    rows = TokenCache(60, Clock())
    for user_id in ("1", "2", "3", "3"):
        rows.keep(row(user_id), FAR, as_of=rows.changes)
    assert rows.find("1") is not None
    rows.keep(row("4"), FAR, as_of=rows.changes)
    assert rows.find("1") is None
    assert rows.find("4") is not None


def test_a_row_that_was_overtaken_is_not_kept():
    """It was read before somebody disconnected: it must not be served again."""
    rows = TokenCache(60, Clock())
    as_of = rows.changes
    rows.drop("43")
    rows.keep(row(), FAR, as_of=as_of)
    assert rows.find("42") is None


@pytest.mark.parametrize("user_id", [[], {}, None, 17])
def test_what_is_no_user_is_not_found(user_id):
    """Whoever asks next says why."""
    assert TokenCache(60, Clock()).find(user_id) is None
