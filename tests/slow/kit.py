"""What the proofs about a slow amoCRM share: 200 users who are due at once, and a database pool of five connections."""

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL, Engine, make_url

from amocrm_userauth import AsyncUserAuth, MemoryTokenStore, UserAuth, UserToken
from amocrm_userauth.testing import FakeAmoCRM, Hold
from tests import services
from tests.races.kit import DAY, Clock, connect, service

KINDS = ("sqlite", "postgresql", "mariadb")
USERS = tuple(f"user-{number:03}" for number in range(200))
NEWCOMER = "newcomer"
POOL = {"pool_size": 5, "max_overflow": 0}
PATIENCE = 60.0


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[URL]:
    """The address of an empty database."""
    if kind == "sqlite":
        yield make_url(f"sqlite:///{folder / 'tokens.sqlite'}")
    else:
        with contextlib.contextmanager(services.database)(kind) as url:
            yield url


def due(fake: FakeAmoCRM, users: tuple[str, ...] = USERS) -> list[UserToken]:
    """Rows whose access token has run out by the real clock, and whose refresh token is good."""
    store = MemoryTokenStore()
    with fake.http_client() as http, service(fake, store, http, clock=Clock(behind=DAY + 3600)) as auth:
        for user in users:
            connect(auth, fake, user)
    return [row for user in users if (row := store.get(user)) is not None]


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let every client of httpx, also one that a service opens by itself, end at a fake: ``reach(fake)``.

    Its limits stay its own; the clients that a fake hands out would bring theirs.
    """

    def patch(fake: FakeAmoCRM) -> None:
        _patch(monkeypatch, fake)

    monkeypatch.setenv("NO_PROXY", "*")
    return patch


def _patch(monkeypatch: pytest.MonkeyPatch, fake: FakeAmoCRM) -> None:
    send, async_send = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request
    here = httpx.URL(fake.url)

    def moved(request: httpx.Request) -> httpx.Request:
        url = request.url.copy_with(scheme="http", host=here.host, port=here.port)
        more = {"stream": request.stream, "extensions": request.extensions}
        return httpx.Request(request.method, url, headers=request.headers, **more)

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        return send(self, moved(request))

    async def async_handle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        return await async_send(self, moved(request))

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", async_handle)


@dataclass(frozen=True, slots=True)
class Slow:
    """An amoCRM that keeps the token calls of ``users`` until it is released."""

    fake: FakeAmoCRM
    users: tuple[str, ...]
    holds: tuple[Hold, ...]

    @classmethod
    def at(cls, fake: FakeAmoCRM, users: tuple[str, ...] = USERS) -> "Slow":
        """Hold the next token call of each user."""
        return cls(fake, users, tuple(fake.hold_next(user) for user in users))

    def wait_all(self, patience: float = PATIENCE) -> None:
        """Wait until amoCRM holds a token call of every user."""
        until = time.monotonic() + patience
        for hold in self.holds:
            hold.wait_arrived(max(until - time.monotonic(), 0.0))

    def release(self) -> None:
        """Let amoCRM answer."""
        for hold in self.holds:
            hold.release()

    def assert_asked_once_each(self) -> None:
        """One token call for each user, and no more."""
        assert [self.fake.token_calls(user, "refresh_token") for user in self.users] == [1] * len(self.users)

    def assert_stored(self, rows: list[UserToken | None], answers: list[Any]) -> None:
        """Every caller got the one new token; it is stored, and amoCRM takes its pair."""
        failed = [answer for answer in answers if not isinstance(answer, str)]
        assert not failed, (len(failed), failed[:3])
        self.assert_asked_once_each()
        for user, row, answer in zip(self.users, rows, answers, strict=True):
            assert row is not None
            assert (row.pair.access_token, row.in_doubt, row.lease_holder) == (answer, False, None)
            assert self.fake.is_alive(row.pair, user)


def assert_pool_idle(engine: Engine) -> None:
    """No connection of the pool is in use."""
    in_use = engine.pool.checkedout()  # type: ignore[attr-defined]
    assert in_use == 0, f"{in_use} connections are kept while amoCRM is asked"


def prove(auth: UserAuth, engine: Engine, slow: Slow) -> None:
    """While amoCRM keeps every token call, nothing of the pool is in use and everything else is served; then all is well."""
    users = slow.users
    with ThreadPoolExecutor(len(users)) as callers, ThreadPoolExecutor(20) as others, slow_ends(slow):
        calls = [callers.submit(_outcome, auth, user) for user in users]
        slow.wait_all()
        assert _threads() == {"amocrm_userauth": len(users), "amocrm_userauth-request": len(users)}
        statuses = list(others.map(auth.status, users))
        assert [status.connected for status in statuses] == [True] * len(users)
        connect(auth, slow.fake, NEWCOMER)
        assert auth.disconnect(NEWCOMER)
        assert_pool_idle(engine)
        slow.assert_asked_once_each()
        assert not any(call.done() for call in calls)
        slow.release()
        answers = [call.result(PATIENCE) for call in calls]
    slow.assert_stored([auth.store.get(user) for user in users], answers)


def _threads() -> Counter[str]:
    """The threads of ours: one for each refresh, which outlives its caller, and one for its request."""
    return Counter(name for thread in threading.enumerate() if (name := thread.name).startswith("amocrm_userauth"))


def _outcome(auth: UserAuth, user: str) -> str | Exception:
    try:
        return auth.access_token(user)
    except Exception as error:  # noqa: BLE001 - counted by the proof
        return error


async def async_prove(auth: AsyncUserAuth, engine: Engine, slow: Slow) -> None:
    """The async twin of :func:`prove`."""
    users = slow.users
    with slow_ends(slow):
        calls = [asyncio.ensure_future(auth.access_token(user)) for user in users]
        try:
            await asyncio.to_thread(slow.wait_all)
            statuses = await asyncio.gather(*(auth.status(user) for user in users))
            assert [status.connected for status in statuses] == [True] * len(users)
            await async_connect(auth, slow.fake, NEWCOMER)
            assert await auth.disconnect(NEWCOMER)
            assert_pool_idle(engine)
            slow.assert_asked_once_each()
            assert not any(call.done() for call in calls)
        finally:
            slow.release()
            answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE)
    slow.assert_stored([await auth.store.get(user) for user in users], answers)


async def async_connect(auth: AsyncUserAuth, fake: FakeAmoCRM, user: str) -> None:
    """Connect ``user`` as the amoCRM user of the same name."""
    request = await auth.begin(user)
    code = fake.authorize(user, state=request.state)
    await auth.connect(user, code=code, state=request.state, referer=fake.host(user))


@contextlib.contextmanager
def slow_ends(slow: Slow) -> Iterator[None]:
    """Release what is held also after a failure: nobody is to wait for it."""
    try:
        yield
    finally:
        slow.release()
