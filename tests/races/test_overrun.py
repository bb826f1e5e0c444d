"""A holder that was stopped past its lease comes back with its pair, and another has taken the lease meanwhile."""

import contextlib
import threading
from dataclasses import replace
from typing import Any

import pytest

from amocrm_userauth import MemoryTokenStore, UserToken
from amocrm_userauth.errors import GrantRevoked
from tests.races.kit import (
    DAY,
    LEASE,
    PATIENCE,
    USER,
    Clock,
    Wrapped,
    assert_alive,
    connect,
    on_clock,
    service,
    world,
)


class Stopping(Wrapped):
    """A store before whose commit the process stops until :meth:`go`."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.arrived = threading.Event()
        self._may_go = threading.Event()
        self.passed = threading.Event()

    def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        self.arrived.set()
        assert self._may_go.wait(PATIENCE)
        try:
            return self.inner.commit(token, over=over, keep_previous=keep_previous)
        finally:
            self.passed.set()

    def go(self) -> None:
        """Let the process go on, and wait until its commit is done."""
        self._may_go.set()
        assert self.passed.wait(PATIENCE)


class Forgetful(MemoryTokenStore):
    """A store that does not keep the token which a doubtful pair was bought with."""

    def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        row = super().commit(token, over=over, keep_previous=keep_previous)
        if row is not None:
            self._rows[row.user_id] = row = replace(row, previous_refresh_token=None)
        return row


class Stage:
    """Two processes on one store: the first stands before its commit, and its lease has run out."""

    def __init__(self, fake: Any, store: Any, http: Any, clock: Clock, stack: contextlib.ExitStack) -> None:
        self.fake, self.store, self.clock = fake, store, clock
        self.stores = Stopping(store), Stopping(store)
        self.auths = [stack.enter_context(service(fake, double, http, clock=clock)) for double in self.stores]
        on_clock(self.auths[1], clock, skip_waiting=True)
        self.got: dict[int, Any] = {}
        self.threads: list[threading.Thread] = []
        clock.advance(DAY + 60)
        self.call(0)
        assert self.stores[0].arrived.wait(PATIENCE)
        clock.advance(LEASE + 1)

    def call(self, place: int) -> None:
        """Ask for a token in one of the processes, in the background."""

        def run() -> None:
            try:
                self.got[place] = self.auths[place].access_token(USER)
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self.got[place] = error

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def ended(self) -> None:
        """Wait for every caller."""
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a caller hangs"

    def ends_connected(self) -> None:
        """Whatever token the callers got: a call that amoCRM answers with 401 leads to a good pair."""
        self.ended()
        token = self.auths[1].access_token(USER)
        if not self.fake.accepts_access(token):
            token = self.auths[1].access_token(USER, rejected=token)
        assert self.fake.accepts_access(token)
        assert_alive(self.store, self.fake)


@contextlib.contextmanager
def stage(rotation: str, store: Any = None, **options: Any) -> Any:
    clock, store = Clock(), store or MemoryTokenStore()
    with world(rotation, clock, **options) as fake, fake.http_client() as http, contextlib.ExitStack() as stack:
        with service(fake, store, http, clock=clock) as auth:
            connect(auth, fake)
        yield Stage(fake, store, http, clock, stack)


@pytest.mark.parametrize("rotation", ["strict", "family"])
def test_single_use_token_and_the_first_holder_commits_while_the_second_waits(rotation: str) -> None:
    """The second is refused, looks again, and uses the first one's pair."""
    with stage(rotation) as there:
        there.auths[1]._time.sleep = lambda _seconds: there.stores[0].go()
        there.stores[1].go = there.stores[0].go
        there.call(1)
        there.ended()
        assert there.got[0] == there.got[1] == there.fake.pairs(USER)[-1].access_token
        there.ends_connected()


@pytest.mark.parametrize("rotation", ["strict", "family"])
def test_single_use_token_and_the_first_holder_commits_after_the_second_condemned(rotation: str) -> None:
    """The second gives the user up; the late commit takes that back."""
    with stage(rotation) as there:
        there.call(1)
        there.threads[1].join(PATIENCE)
        assert isinstance(there.got[1], GrantRevoked)
        assert there.store.get(USER).reauth_reason == "revoked"
        there.stores[0].go()
        there.ends_connected()


def test_single_use_token_presented_again_without_a_look_up() -> None:
    """Where amoCRM has no look-up the strict reading ends connected all the same."""
    with stage("strict", lookup=False) as there:
        there.call(1)
        there.threads[1].join(PATIENCE)
        assert isinstance(there.got[1], GrantRevoked)
        there.stores[0].go()
        there.ends_connected()


ORDERS = [(0, 1), (1, 0)]


def both_commit(there: Stage, order: tuple[int, int]) -> None:
    """Let both processes come to their commit, and then commit in this order."""
    there.call(1)
    assert there.stores[1].arrived.wait(PATIENCE), there.got
    for place in order:
        there.stores[place].go()
    there.ended()


@pytest.mark.parametrize("until", ["refresh", "access"])
@pytest.mark.parametrize("order", ORDERS)
def test_lenient_token_and_both_holders_have_a_pair(order: tuple[int, int], until: str) -> None:
    """The second spend killed the first one's pair; whichever commit comes first, the user ends connected."""
    with stage("lenient", lenient_until=until) as there:
        both_commit(there, order)
        there.ends_connected()


def test_without_the_previous_token_the_lenient_reading_would_lose_the_user() -> None:
    """The proof above can fail: the killed pair is stored and nothing leads back."""
    with stage("lenient", Forgetful()) as there:
        both_commit(there, (0, 1))
        with pytest.raises((GrantRevoked, AssertionError)):
            there.ends_connected()
        assert there.store.get(USER).reauth_reason == "revoked"


@pytest.mark.parametrize("rotation", ["strict", "lenient", "family"])
@pytest.mark.parametrize("order", [0, 1])
def test_an_overrun_holder_does_not_undo_a_disconnect(rotation: str, order: int) -> None:
    """A user who disconnects meanwhile stays disconnected, whoever comes back."""
    with stage(rotation) as there:
        there.auths[order].disconnect(USER)
        there.stores[0].go()
        there.ended()
        assert there.store.get(USER) is None
