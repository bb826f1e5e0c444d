"""A user who disconnects or reconnects while their token is refreshed gets their way, at every moment."""

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from amocrm_userauth import MemoryTokenStore, UserAuth, UserToken
from amocrm_userauth._core.state import hash_code
from amocrm_userauth.errors import AmoCRMUserAuthError, NotConnected, StoreUnavailable, TokenNotSaved
from amocrm_userauth.testing import FakeAmoCRM
from tests.races.kit import (
    DAY,
    PATIENCE,
    ROTATIONS,
    USER,
    AsAsync,
    Clock,
    Wrapped,
    assert_alive,
    async_service,
    connect,
    service,
    world,
)
from tests.races.test_interruption import SEED, Stepwise, rounds

POINTS = 70  # in each of three readings of rotation


def reconnect(auth: UserAuth, fake: FakeAmoCRM) -> str:
    """Connect anew and return the hash of the code that it was done with."""
    request = auth.begin(USER)
    code = fake.authorize(USER, state=request.state)
    auth.connect(USER, code=code, state=request.state, referer=fake.host(USER))
    return hash_code(code)


@contextlib.contextmanager
def two_processes(rotation: str, double: Callable[[Any], Any] = Wrapped) -> Any:
    """One store, and two services that share nothing else: ``first`` will refresh, ``second`` meets it."""
    clock, store = Clock(), MemoryTokenStore()
    with world(rotation, clock) as fake, fake.http_client() as http, contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(service(fake, double(store), http, clock=clock)) for double in (double, Wrapped)
        )
        yield fake, store, clock, first, second


def in_background(auth: UserAuth) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(AmoCRMUserAuthError):
            auth.access_token(USER)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def ended(thread: threading.Thread) -> None:
    thread.join(PATIENCE)
    assert not thread.is_alive(), "a caller hangs"


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_disconnect_at_a_random_moment_of_a_refresh_stands(rotation: str) -> None:
    """None of 210 comes back, and nobody calls amoCRM for the user afterwards."""
    chance = random.Random(f"{SEED}-{rotation}")
    with two_processes(rotation) as (fake, store, clock, first, second):
        for _ in range(POINTS):
            connect(second, fake)
            clock.advance(DAY + 60)
            caller = in_background(first)
            time.sleep(chance.uniform(0, 0.005))
            assert second.disconnect(USER)
            ended(caller)
            assert store.get(USER) is None
            calls = fake.token_calls(USER)
            with pytest.raises(NotConnected):
                first.access_token(USER)
            assert fake.token_calls(USER) == calls


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_reconnect_at_a_random_moment_of_a_refresh_stands(rotation: str) -> None:
    """None of 210 is overwritten by the late answer for the pair before."""
    chance = random.Random(f"{SEED}-{rotation}")
    with two_processes(rotation) as (fake, store, clock, first, second):
        connect(second, fake)
        for _ in range(POINTS):
            clock.advance(DAY + 60)
            caller = in_background(first)
            time.sleep(chance.uniform(0, 0.005))
            code_hash = reconnect(second, fake)
            ended(caller)
            assert store.get(USER).code_hash == code_hash
            assert_alive(store, fake)


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_disconnect_in_any_round_of_a_refresh_stands(rotation: str) -> None:
    """At every round of the event loop, by the service object that refreshes."""

    async def main() -> None:
        clock, store = Clock(), MemoryTokenStore()
        with (
            world(rotation, clock) as fake,
            fake.http_client() as http,
            service(fake, store, http, clock=clock) as sync,
        ):
            own = httpx.AsyncClient(transport=Stepwise(fake, http))
            async with own, async_service(fake, AsAsync(store, steps=1), own, clock=clock) as auth:
                for count in range(40):
                    connect(sync, fake)
                    clock.advance(DAY + 60)
                    caller = asyncio.ensure_future(auth.access_token(USER))
                    await rounds(count)
                    await auth.disconnect(USER)
                    await asyncio.gather(caller, return_exceptions=True)
                    assert store.get(USER) is None

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("at", ["before", "after"])
def test_a_disconnect_while_amocrm_holds_the_refresh_stands(rotation: str, at: Any) -> None:
    """Before amoCRM rotated the token, and after."""
    with two_processes(rotation) as (fake, store, clock, first, second):
        connect(second, fake)
        clock.advance(DAY + 60)
        hold = fake.hold_next(USER, at=at)
        caller = in_background(first)
        hold.wait_arrived()
        assert second.disconnect(USER)
        hold.release()
        ended(caller)
        assert store.get(USER) is None


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("at", ["before", "after"])
def test_a_reconnect_while_amocrm_holds_the_refresh_stands(rotation: str, at: Any) -> None:
    """Before amoCRM rotated the token, and after; the caller whose answer came too late gets the new pair's token."""
    with two_processes(rotation) as (fake, store, clock, first, second):
        connect(second, fake)
        clock.advance(DAY + 60)
        hold, got = fake.hold_next(USER, at=at), []
        caller = threading.Thread(target=lambda: got.append(first.access_token(USER)), daemon=True)
        caller.start()
        hold.wait_arrived()
        code_hash = reconnect(second, fake)
        hold.release()
        ended(caller)
        row = store.get(USER)
        assert row.code_hash == code_hash
        assert got == [row.pair.access_token]
        assert_alive(store, fake)


class NoCompare(Wrapped):
    """A store that writes a new pair over whatever is there."""

    def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        self.inner.put(replace(token, previous_refresh_token=None))
        return token


def test_without_compare_and_swap_a_disconnect_would_be_undone() -> None:
    """The proofs above can fail: with a blind write the user is connected again."""
    with two_processes("strict", NoCompare) as (fake, store, clock, first, second):
        connect(second, fake)
        clock.advance(DAY + 60)
        hold = fake.hold_next(USER, at="after")
        caller = in_background(first)
        hold.wait_arrived()
        second.disconnect(USER)
        hold.release()
        ended(caller)
        assert store.get(USER) is not None


class Down(Wrapped):
    """A store that takes neither new pairs nor deletions while ``down``."""

    down = False

    def _check(self) -> None:
        if self.down:
            raise OSError

    def commit(self, token: UserToken, **more: Any) -> UserToken | None:
        self._check()
        return self.inner.commit(token, **more)

    def delete(self, user_id: str, **more: Any) -> bool:
        self._check()
        return self.inner.delete(user_id, **more)


def test_a_disconnect_that_fails_does_not_drop_the_unsaved_pair() -> None:
    """The row is still there with a spent token: its new pair must stay in this process."""
    clock, store = Clock(), Down(MemoryTokenStore())
    with (
        world("strict", clock) as fake,
        fake.http_client() as http,
        service(fake, store, http, clock=clock, save_budget=0) as auth,
    ):
        connect(auth, fake)
        clock.advance(DAY + 60)
        store.down = True
        with pytest.raises(TokenNotSaved):
            auth.access_token(USER)
        with pytest.raises(StoreUnavailable):
            auth.disconnect(USER)
        store.down = False
        auth.access_token(USER)
        assert_alive(store, fake)
        assert auth.disconnect(USER)
        assert store.get(USER) is None
