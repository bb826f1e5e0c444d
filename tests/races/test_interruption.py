"""A caller that is cancelled or interrupted anywhere in a refresh or a code exchange never costs the user their pair."""

import asyncio
import contextlib
import ctypes
import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from amocrm_userauth import MemoryTokenStore
from amocrm_userauth.testing import FakeAmoCRM
from tests.races.kit import (
    DAY,
    PATIENCE,
    ROTATIONS,
    USER,
    AsAsync,
    Clock,
    assert_alive,
    async_service,
    connect,
    service,
    world,
)

SEED = 20_261_122
# before Python 3.12 an exception thrown into a thread that is just starting another may hit that one, which says so
EXCEPTIONS_GO_ASTRAY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Interrupted(BaseException):
    """What a signal handler, a soft time limit or a debugger throws into a caller."""


class Stepwise(httpx.AsyncBaseTransport):
    """Asks the fake without giving up the loop, and then gives it up a known number of times: rounds can be counted."""

    def __init__(self, fake: FakeAmoCRM, http: httpx.Client) -> None:
        self.http = http

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await rounds(2)
        reply = self.http.request(request.method, request.url, headers=request.headers, content=await request.aread())
        await rounds(2)
        return httpx.Response(reply.status_code, headers=reply.headers, stream=_Stepwise(reply.content))


class _Stepwise(httpx.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> Any:
        half = len(self.body) // 2
        for part in (self.body[:half], self.body[half:]):
            await rounds(1)
            yield part

    async def aclose(self) -> None:
        await rounds(1)


async def rounds(count: int) -> None:
    """Let the loop go round ``count`` times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled_after(count: int, work: Any) -> bool:
    """Start ``work``, cancel it after ``count`` rounds of the loop; say whether that came in time."""
    task = asyncio.ensure_future(work)
    await rounds(count)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


class Refreshing:
    """A user whose token runs out again and again, and the account that must balance after each time."""

    def __init__(self, fake: FakeAmoCRM, store: MemoryTokenStore, clock: Clock) -> None:
        self.fake = fake
        self.store = store
        self.clock = clock
        self.points = 0

    def expire(self) -> None:
        self.clock.advance(DAY + 60)
        self.points += 1

    def balances(self) -> None:
        """The stored pair is one that amoCRM would take; every spend so far brought one pair."""
        assert_alive(self.store, self.fake)
        if self.points % 10 == 0:
            assert self.fake.token_calls(USER, "refresh_token") == self.points
            assert len(self.fake.pairs(USER)) == self.points + 1


class Connecting:
    """A code that a user brings again after the post that carried it was cut off."""

    def __init__(self, fake: FakeAmoCRM, store: MemoryTokenStore, begin: Callable[[], Any]) -> None:
        self.fake = fake
        self.store = store
        self.begin = begin
        self.points = 0

    def arguments(self) -> dict[str, str]:
        self.store.delete(USER)
        self.points += 1
        request = self.begin()
        return {
            "code": self.fake.authorize(USER, state=request.state),
            "state": request.state,
            "referer": self.fake.host(USER),
        }

    def balances(self) -> None:
        """The code was spent once, and the stored pair is one that amoCRM would take."""
        assert_alive(self.store, self.fake)
        if self.points % 10 == 0:
            assert self.fake.token_calls(USER, "authorization_code") == self.points + 1


@contextlib.contextmanager
def connected(rotation: str) -> Any:
    clock, store = Clock(), MemoryTokenStore()
    with world(rotation, clock) as fake, fake.http_client() as http:
        with service(fake, store, http, clock=clock) as auth:
            connect(auth, fake)
        yield fake, store, clock, http


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_task_cancelled_in_any_round_of_a_refresh_loses_nothing(rotation: str) -> None:
    """At every round of the event loop that a refresh takes."""

    async def main() -> int:
        with connected(rotation) as (fake, store, clock, http):
            account, hits = Refreshing(fake, store, clock), 0
            own = httpx.AsyncClient(transport=Stepwise(fake, http))
            async with own, async_service(fake, AsAsync(store, steps=1), own, clock=clock) as auth:
                for count in range(60):
                    account.expire()
                    hits += await cancelled_after(count, auth.access_token(USER))
                    assert await auth.access_token(USER) == store.get(USER).pair.access_token
                    account.balances()
            return hits

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) >= 15, "hardly anything was cancelled in time"


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_task_cancelled_in_any_round_of_a_connect_loses_nothing(rotation: str) -> None:
    """At every round that a code exchange takes; the app posts the same code again and is connected."""

    async def main() -> int:
        with connected(rotation) as (fake, store, clock, http), service(fake, store, http, clock=clock) as sync:
            account, hits = Connecting(fake, store, lambda: sync.begin(USER)), 0
            own = httpx.AsyncClient(transport=Stepwise(fake, http))
            async with own, async_service(fake, AsAsync(store, steps=1), own, clock=clock) as auth:
                for count in range(80):
                    given = account.arguments()
                    hits += await cancelled_after(count, auth.connect(USER, **given))
                    assert (await auth.connect(USER, **given)).connected
                    account.balances()
            return hits

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) >= 15, "hardly anything was cancelled in time"


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_task_cancelled_at_random_moments_loses_nothing(rotation: str) -> None:
    """Over the socket, by ``cancel`` and by ``asyncio.timeout``, 340 random moments in each reading of rotation."""
    chance = random.Random(f"{SEED}-{rotation}")

    async def one(auth: Any) -> bool:
        if chance.random() < 0.5:
            task = asyncio.ensure_future(auth.access_token(USER))
            await asyncio.sleep(chance.uniform(0, 0.006))
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return task.cancelled()
        try:
            async with asyncio.timeout(chance.uniform(0, 0.006)):
                await auth.access_token(USER)
        except TimeoutError:
            return True
        return False

    async def main() -> int:
        with connected(rotation) as (fake, store, clock, _):
            account, hits = Refreshing(fake, store, clock), 0
            async with fake.async_http_client() as http, async_service(fake, AsAsync(store), http, clock=clock) as auth:
                for _ in range(340):
                    account.expire()
                    hits += await one(auth)
                    await auth.access_token(USER)
                    account.balances()
            return hits

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) >= 50, "hardly anything was cancelled in time"


@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_loop_torn_down_after_aclose_loses_nothing(rotation: str) -> None:
    """Cancelled at a random round, closed (and that cancelled too, half of the time), loop gone: 100 loops."""
    chance = random.Random(f"{SEED}-{rotation}")

    async def main(fake: FakeAmoCRM, store: MemoryTokenStore, clock: Clock, http: httpx.Client) -> bool:
        own = httpx.AsyncClient(transport=Stepwise(fake, http))
        async with own:
            auth = async_service(fake, AsAsync(store, steps=1), own, clock=clock)
            hit = await cancelled_after(chance.randrange(30), auth.access_token(USER))
            closing = asyncio.ensure_future(auth.aclose())
            if chance.random() < 0.5:
                await rounds(chance.randrange(1, 6))
                closing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await closing
            assert not auth._mine
            return hit

    with connected(rotation) as (fake, store, clock, http):
        account, hits = Refreshing(fake, store, clock), 0
        for _ in range(100):
            account.expire()
            hits += asyncio.run(main(fake, store, clock, http))
            with service(fake, store, http, clock=clock) as auth:
                auth.access_token(USER)
            account.balances()
    assert hits >= 50, "hardly anything was cancelled in time"


class Victim:
    """A thread that makes calls and has exactly one ``Interrupted`` thrown into it for each."""

    def __init__(self) -> None:
        self.cut = 0

    def call(self, work: Callable[[], Any], delay: float) -> None:
        """Run ``work`` in a thread and interrupt it after ``delay`` seconds, or when it waits to be, having ended."""
        started, ended = threading.Event(), []

        def run() -> None:
            try:
                started.set()
                work()
                ended.append(True)
                while True:
                    time.sleep(0.0002)
            except Interrupted:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        started.wait()
        time.sleep(delay)
        for _ in range(50):
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted))
            thread.join(0.2)
            if not thread.is_alive():
                break
        assert not thread.is_alive(), "an interrupted caller hangs"
        self.cut += not ended


@EXCEPTIONS_GO_ASTRAY
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_thread_interrupted_at_random_moments_of_a_refresh_loses_nothing(rotation: str) -> None:
    """An exception thrown into the calling thread, 340 random moments in each reading of rotation."""
    chance, victim = random.Random(f"{SEED}-{rotation}"), Victim()
    with connected(rotation) as (fake, store, clock, http), service(fake, store, http, clock=clock) as auth:
        account = Refreshing(fake, store, clock)
        for _ in range(340):
            account.expire()
            victim.call(lambda: auth.access_token(USER), chance.uniform(0, 0.003))
            assert auth.access_token(USER) == store.get(USER).pair.access_token
            account.balances()
    assert victim.cut >= 50, "hardly anything was interrupted in time"


@EXCEPTIONS_GO_ASTRAY
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_a_thread_interrupted_at_random_moments_of_a_connect_loses_nothing(rotation: str) -> None:
    """The same for the code exchange, 340 random moments; the app posts the same code again and is connected."""
    chance, victim = random.Random(f"{SEED}-{rotation}"), Victim()
    with connected(rotation) as (fake, store, clock, http), service(fake, store, http, clock=clock) as auth:
        account = Connecting(fake, store, lambda: auth.begin(USER))
        for _ in range(340):
            given = account.arguments()
            victim.call(lambda given=given: auth.connect(USER, **given), chance.uniform(0, 0.003))
            assert auth.connect(USER, **given).connected
            account.balances()
    assert victim.cut >= 30, "hardly anything was interrupted in time"


def signalled_after(delay: float, work: Callable[[], Any]) -> bool:
    """Run ``work`` in this, the main thread, with one Ctrl-C after ``delay`` seconds; say whether it cut the work off."""
    ended = False
    try:
        signal.setitimer(signal.ITIMER_REAL, max(delay, 0.00001))
        work()
        ended = True
        for _ in range(10_000):  # the signal may reach another thread, which does not wake this one
            time.sleep(0.001)
    except KeyboardInterrupt:
        return not ended
    raise AssertionError("the signal did not come")


@pytest.fixture
def _ctrl_c() -> Any:
    def press(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_ctrl_c_at_random_moments_of_a_refresh_loses_nothing(rotation: str) -> None:
    """A signal whose handler raises in the main thread, 200 random moments in each reading of rotation."""
    chance, cut = random.Random(f"{SEED}-{rotation}"), 0
    with connected(rotation) as (fake, store, clock, http), service(fake, store, http, clock=clock) as auth:
        account = Refreshing(fake, store, clock)
        for _ in range(200):
            account.expire()
            cut += signalled_after(chance.uniform(0, 0.004), lambda: auth.access_token(USER))
            assert auth.access_token(USER) == store.get(USER).pair.access_token
            account.balances()
    assert cut >= 30, "hardly anything was interrupted in time"


@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_ctrl_c_at_random_moments_of_a_connect_loses_nothing(rotation: str) -> None:
    """The same for the code exchange; the app posts the same code again and is connected."""
    chance, cut = random.Random(f"{SEED}-{rotation}"), 0
    with connected(rotation) as (fake, store, clock, http), service(fake, store, http, clock=clock) as auth:
        account = Connecting(fake, store, lambda: auth.begin(USER))
        for _ in range(200):
            given = account.arguments()
            cut += signalled_after(chance.uniform(0, 0.004), lambda given=given: auth.connect(USER, **given))
            assert auth.connect(USER, **given).connected
            account.balances()
    assert cut >= 30, "hardly anything was interrupted in time"
