"""Signals beside the library's events."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.contrib.auth import get_user_model
from django.db import connections

from amocrm_userauth.django import signals, user_auth
from amocrm_userauth.errors import GrantRevoked
from amocrm_userauth.events import Recovered
from tests.django.site import amocrm, connect, expire

NAMES = ("connected", "refreshed", "reauthorization_required", "disconnected")


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """Keep what receivers of every signal are told."""
    told: list[tuple[str, Any]] = []
    receivers: dict[str, Callable[..., None]] = {}
    for name in NAMES:

        def receive(sender: Any, *, user_id: str, event: Any, name: str = name, **_: Any) -> None:
            assert sender is type(event)
            assert user_id == event.user_id
            told.append((name, event))

        receivers[name] = receive
        getattr(signals, name).connect(receive)
    yield told
    for name, receive in receivers.items():
        assert getattr(signals, name).disconnect(receive)


def test_each_change_is_told_once(database: str, heard: list[tuple[str, Any]]) -> None:
    """Connected, refreshed, refused, disconnected; with what the event says."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect(fake, user)
        expire(user)
        user_auth().access_token(user)
        fake.revoke(user)
        expire(user)
        with pytest.raises(GrantRevoked):
            user_auth().access_token(user)
        user_auth().disconnect(user)
        assert user_auth().disconnect(user) is False
    assert [name for name, _ in heard] == list(NAMES)
    assert heard[0][1].domain == fake.host(user)
    assert heard[2][1].reason


def test_what_a_receiver_raises_is_logged(database: str, caplog: pytest.LogCaptureFixture) -> None:
    """The connection does not suffer, and the next receiver hears of it."""
    user = kit.make_user("bob", database)
    after: list[str] = []

    def breaks(**_: Any) -> None:
        raise RuntimeError("receiver")

    def hears(user_id: str, **_: Any) -> None:
        after.append(user_id)

    signals.refreshed.connect(breaks)
    signals.refreshed.connect(hears)
    try:
        with amocrm() as fake, caplog.at_level(logging.ERROR):
            connect(fake, user)
            expire(user)
            assert user_auth().access_token(user) == fake.pairs(user)[-1].access_token
    finally:
        signals.refreshed.disconnect(breaks)
        signals.refreshed.disconnect(hears)
    assert after == [user]
    assert "receiver" in caplog.text


def test_a_receivers_connection_does_not_outlive_its_thread(database: str) -> None:
    """Receivers may use the ORM: they run in a thread that is about to end, with connections of its own."""
    user = kit.make_user("bob", database)
    threads: list[threading.Thread] = []

    def receive(user_id: str, **_: Any) -> None:
        assert get_user_model()._base_manager.using(database).filter(pk=user_id).exists()
        threads.append(threading.current_thread())

    signals.refreshed.connect(receive)
    try:
        with amocrm() as fake:
            connect(fake, user)
            expire(user)
            user_auth().access_token(user)
            assert threads
            assert threads[0] is not threading.current_thread()
            assert len(kit.left(database, 0)) == 0
    finally:
        signals.refreshed.disconnect(receive)


def test_a_receiver_in_the_callers_thread_finds_its_connection(database: str) -> None:
    """A connection that was open before stays open."""
    user = kit.make_user("bob", database)

    def receive(**_: Any) -> None:
        assert get_user_model()._base_manager.using(database).exists()

    signals.disconnected.connect(receive)
    try:
        with amocrm() as fake:
            connect(fake, user)
            connections[database].ensure_connection()
            mine = connections[database].connection
            user_auth().disconnect(user)
            assert connections[database].connection is mine
    finally:
        signals.disconnected.disconnect(receive)
        connections[database].close()


def test_other_events_have_no_signal() -> None:
    """They reach ``on_event`` of a service of one's own."""
    signals.send(Recovered("7"))
