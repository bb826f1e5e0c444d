"""A client that lets few requests out at once: whoever waits for a turn has spent nothing, and is not lost."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, MemoryTokenStore, UserAuth, UserToken
from amocrm_userauth.errors import AmoCRMUnavailable, RefreshInProgress
from amocrm_userauth.testing import FakeAmoCRM
from tests.races.kit import Clock, in_threads, world
from tests.slow.kit import USERS, due, reach

__all__ = ["reach"]

Reach = Callable[[FakeAmoCRM], None]
_USERS = USERS[:30]
_FEW = httpx.Limits(max_connections=5)
# Five at a time take a second each: the first twenty are sent within the budget, the last five of them close to its end.
_BUDGETS = {"exchange_budget": 3.5, "lease": 37}
_LATENCY = 1.0


def _slow(fake: FakeAmoCRM) -> None:
    fake.delay_next(None, _LATENCY, times=10 * len(_USERS))


def _assert_none_lost(fake: FakeAmoCRM, rows: list[UserToken | None], answers: list[Any]) -> None:
    """Who was served has a new pair, who was not has the old one, and nobody is in doubt."""
    failures = [answer for answer in answers if not isinstance(answer, str)]
    assert all(type(failure) in {AmoCRMUnavailable, RefreshInProgress} for failure in failures), failures
    assert all(0 < failure.retry_after <= 60 for failure in failures)
    assert fake.token_calls(None, "refresh_token") == len(answers) - len(failures), "sent, and given up"
    for user, row in zip(_USERS, rows, strict=True):
        assert row is not None
        assert (row.in_doubt, row.reauth_reason) == (False, None)
        assert fake.is_alive(row.pair, user)


def _assert_all_served(fake: FakeAmoCRM, answers: list[Any]) -> None:
    assert all(isinstance(answer, str) for answer in answers), answers
    assert [fake.token_calls(user, "refresh_token") for user in _USERS] == [1] * len(_USERS)


def test_threads_that_wait_for_a_turn_are_neither_lost_nor_in_doubt(reach: Reach) -> None:
    """Five connections, 30 due: those whose turn comes are refreshed, the others are told to come again, and then are."""
    clock = Clock()
    with world("strict") as fake, httpx.Client(limits=_FEW) as http:
        store = MemoryTokenStore()
        for row in due(fake, _USERS):
            store.put(row)
        reach(fake)
        _slow(fake)
        with UserAuth(fake.integration(), store, http=http, clock=clock, **_BUDGETS) as auth:
            works = [lambda user=user: auth.access_token(user) for user in _USERS]
            answers = in_threads(works)
            _assert_none_lost(fake, [store.get(user) for user in _USERS], answers)
            assert 10 <= sum(isinstance(answer, str) for answer in answers) < len(_USERS)
            fake.clear_faults()
            clock.advance(60)
            _assert_all_served(fake, in_threads(works))


async def test_tasks_that_wait_for_a_turn_are_neither_lost_nor_in_doubt(reach: Reach) -> None:
    """The same with tasks."""
    clock = Clock()
    with world("strict") as fake:
        store = AsyncMemoryTokenStore()
        for row in due(fake, _USERS):
            await store.put(row)
        reach(fake)
        _slow(fake)
        async with (
            httpx.AsyncClient(limits=_FEW) as http,
            AsyncUserAuth(fake.integration(), store, http=http, clock=clock, **_BUDGETS) as auth,
        ):
            answers = await asyncio.gather(*map(auth.access_token, _USERS), return_exceptions=True)
            _assert_none_lost(fake, [await store.get(user) for user in _USERS], answers)
            assert 10 <= sum(isinstance(answer, str) for answer in answers) < len(_USERS)
            fake.clear_faults()
            clock.advance(60)
            answers = await asyncio.gather(*map(auth.access_token, _USERS), return_exceptions=True)
            _assert_all_served(fake, answers)
