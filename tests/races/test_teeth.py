"""The proofs can fail: with one rule taken away by a test double, what they count is there to be counted."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx

from amocrm_userauth import AsyncUserAuth, MemoryTokenStore, UserToken
from amocrm_userauth.errors import GrantRevoked
from tests.races.kit import (
    DAY,
    PATIENCE,
    USER,
    AsAsync,
    Wrapped,
    async_service,
    connect_expired,
    in_threads,
    service,
    world,
)
from tests.races.test_interruption import Stepwise, cancelled_after, connected


class Unleased(Wrapped):
    """A store that lets everybody spend."""

    def take_lease(self, user_id: str, *, holder: str, **more: Any) -> UserToken | None:
        row = self.inner.get(user_id)
        return None if row is None else replace(row, lease_holder=holder)


def test_without_lease_and_single_flight_a_token_is_spent_more_than_once() -> None:
    """Ten threads with nothing shared but the rows."""
    shared = MemoryTokenStore()
    with world("strict") as fake, fake.http_client() as http, contextlib.ExitStack() as stack:
        connect_expired(fake, shared)
        for _ in range(10):
            fake.delay_next(USER, 0.1)
        services = [stack.enter_context(service(fake, Unleased(shared), http)) for _ in range(10)]
        in_threads([lambda auth=auth: auth.access_token(USER) for auth in services])
        assert fake.token_calls(USER, "refresh_token") > 1


class Unshielded:
    """Work that is done by the caller's own task, and dies with it."""

    def find(self, _key: object) -> None:
        return None

    def start(self, _key: object, work: Callable[[], Awaitable[Any]], _mine: set[object]) -> Any:
        class Flight:
            async def wait(self, _timeout: float | None = None) -> Any:
                return await work()

        return Flight()


def test_without_a_task_of_its_own_a_cancelled_refresh_loses_the_user() -> None:
    """At some round between amoCRM's answer and the commit."""

    async def lost_at(count: int) -> bool:
        with connected("strict") as (fake, store, clock, http):
            own = httpx.AsyncClient(transport=Stepwise(fake, http))
            async with own, async_service(fake, AsAsync(store, steps=1), own, clock=clock) as auth:
                auth._scope.flights = Unshielded()
                clock.advance(DAY + 60)
                await cancelled_after(count, auth.access_token(USER))
                clock.advance(DAY)
                return await _is_lost(auth)

    async def main() -> bool:
        for count in itertools.count():
            if await lost_at(count):
                return True
            if count == 40:
                return False
        raise AssertionError

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE))


async def _is_lost(auth: AsyncUserAuth) -> bool:
    try:
        await auth.access_token(USER)
    except GrantRevoked:
        return True
    return False


def test_a_flight_of_a_daemon_thread_is_not_a_daemon() -> None:
    """The interpreter waits for the pair to be stored, whoever asked for it."""
    shared, seen = MemoryTokenStore(), []

    class Looking(Wrapped):
        def commit(self, token: UserToken, **more: Any) -> UserToken | None:
            seen.append(threading.current_thread().daemon)
            return self.inner.commit(token, **more)

    with world("strict") as fake, fake.http_client() as http, service(fake, Looking(shared), http) as auth:
        connect_expired(fake, shared)
        in_threads([lambda: auth.access_token(USER)])  # these threads are daemons
    assert seen == [False]
