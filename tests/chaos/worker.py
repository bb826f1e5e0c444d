"""One worker: a service on the shared database, and callers who use it as an application does.

``python -m tests.chaos.worker``; its settings are the first argument, orders come as JSON lines on standard input, and
everything that happens goes to its journal. The load is the same for both kinds of service: a synchronous one is called
from threads.
"""

import asyncio
import contextlib
import ctypes
import faulthandler
import json
import os
import random
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from amocrm_userauth import AsyncUserAuth, UserAuth, _pairs
from amocrm_userauth.errors import AmoCRMUserAuthError, GrantRevoked, NotConnected
from amocrm_userauth.testing import FakeAmoCRM, async_http_client, async_http_transport, fingerprint, http_transport
from tests.chaos import doubles, stores
from tests.chaos.clocks import Clock, boot_time, speed_up
from tests.chaos.journal import Journal
from tests.chaos.watching import AsyncNetwork, AsyncStore, Network, Site, Store, Watched

_THREADS = 24
_LOOPS = 12
_ACCOUNTS = 20
_WAIT_CODE = _pairs.Flight.wait.__code__


class Interrupted(BaseException):
    """What a time limit throws into a thread."""


class Sync:
    """Calls a ``UserAuth`` from threads."""

    def __init__(self, auth: UserAuth, pool: ThreadPoolExecutor) -> None:
        self.auth, self._pool = auth, pool

    async def call(self, name: str, *args: Any, patience: float | None = None, **more: Any) -> Any:
        """Call a method; after ``patience`` real seconds its thread is interrupted, if it waits for a refresh."""
        thread: list[int] = []

        def work() -> Any:
            thread.append(threading.get_ident())
            try:
                return getattr(self.auth, name)(*args, **more)
            finally:
                thread.clear()

        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        if patience is not None:
            await asyncio.wait({future}, timeout=patience)
            while not future.done() and thread and not _interrupt(thread[0]):
                await asyncio.wait({future}, timeout=0.05)
        return await future


def _interrupt(thread: int) -> bool:
    """Interrupt a thread if it waits for a flight; elsewhere that could break the locks of the database driver."""
    frame = sys._current_frames().get(thread)
    if frame is None or frame.f_code is not _WAIT_CODE:
        return False
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Interrupted))
    return True


class Async:
    """Calls an ``AsyncUserAuth``."""

    def __init__(self, auth: AsyncUserAuth) -> None:
        self.auth = auth

    async def call(self, name: str, *args: Any, patience: float | None = None, **more: Any) -> Any:
        """Call a method; after ``patience`` real seconds its task is cancelled."""
        task = asyncio.create_task(getattr(self.auth, name)(*args, **more))
        if patience is not None:
            await asyncio.wait({task}, timeout=patience)
            if not task.done():
                task.cancel()
        return await task


class Worker:
    """The callers of one process."""

    def __init__(self, given: dict[str, Any], clock: Clock, journal: Journal, site: Site) -> None:
        self.given, self.clock, self.journal, self.site = given, clock, journal, site
        self.users = [f"u{number}" for number in range(given["users"])]
        self.random = random.Random(f"{given['seed']} {given['name']}")
        self.amo = FakeAmoCRM.attach(given["control_url"])
        self.services: list[Sync | Async] = []
        self.api: httpx.AsyncClient
        self.store: Any = None
        self.going = asyncio.Event()
        self.closing = asyncio.Event()
        self.busy = 0

    # one call of the service

    async def do(self, op: str, user: str, name: str, *args: Any, **more: Any) -> Any:
        """Make one call and write down how it began and ended. Errors of the library are returned."""
        service = self.services[more.pop("at", 0)]
        number = self.journal.number()
        self.journal.write("call", id=number, op=op, u=user)
        extra: dict[str, Any] = {}
        try:
            result = await service.call(name, *args, **more)
        except AmoCRMUserAuthError as error:
            result, out = error, error.code
            if error.code in {
                "invalid_state",
                "configuration_error",
                "protocol_error",
                "amocrm_unavailable",
                "store_unavailable",
            }:
                extra["why"] = f"{getattr(error, 'reason', '')} {error.message}"
        except (asyncio.CancelledError, Interrupted):
            result, out = None, "cancelled"
        except BaseException as error:  # noqa: BLE001 - the audit's to judge
            result, out = None, f"!{type(error).__name__}"
            extra["why"] = str(error)[:300]
        else:
            out = "ok"
        if name == "access_token" and isinstance(result, str):
            extra["fp"] = fingerprint(result)
        self.journal.write("end", id=number, op=op, u=user, out=out, **extra)
        return result

    # what callers do

    async def ask(self, user: str, **more: Any) -> Any:
        result = await self.do("access_token", user, "access_token", user, **more)
        if (isinstance(result, NotConnected) and self.random.random() < 0.7) or (
            isinstance(result, GrantRevoked) and self.random.random() < 0.5
        ):
            await self.connect(user)
        return result

    async def ask_and_use(self, user: str) -> None:
        token = await self.ask(user)
        if not isinstance(token, str):
            return
        try:
            answer = await self.api.get(
                f"https://{await asyncio.to_thread(self.amo.host, user)}/api/v4/account",
                headers={"authorization": f"Bearer {token}"},
            )
        except (httpx.HTTPError, OSError, RuntimeError):
            return
        if answer.status_code == 200:
            seen = answer.json()["current_user_id"]
            self.journal.write("used", u=user, fp=fingerprint(token), amo=seen)
        elif answer.status_code == 401:
            self.journal.write("rejected", u=user, fp=fingerprint(token))
            await self.do("rejected", user, "access_token", user, rejected=token)

    async def impatient(self, user: str) -> None:
        patience = self.random.uniform(0, 0.2)
        await asyncio.gather(self.ask(user, patience=patience), self.ask(user))

    async def storm(self, user: str) -> None:
        await asyncio.gather(*(self.ask(user) for _ in range(5)))

    async def status(self, user: str) -> None:
        await self.do("status", user, "status", user)

    async def refresh(self, user: str) -> None:
        await self.do("refresh", user, "refresh", user)

    async def impatient_refresh(self, user: str) -> None:
        await self.do("refresh", user, "refresh", user, patience=self.random.uniform(0, 0.05))

    async def disconnect(self, user: str) -> None:
        await self.do("disconnect", user, "disconnect", user)
        await asyncio.sleep(self.random.uniform(0, 1))
        await self.connect(user)

    async def walk(self, _user: str) -> None:
        older = timedelta(seconds=self.given["lifetime"] / 2)
        await self.do("refresh_due", "", "refresh_due", older_than=older, limit=10, rate=None)

    async def connect(self, user: str) -> None:
        """Connect as a person does; every other time the app sends the same code twice."""
        request = await self.do("begin", user, "begin", user)
        if request is None or isinstance(request, Exception):
            return
        try:
            answer = await asyncio.to_thread(self._consent, user, request.state)
        except (OSError, RuntimeError):
            return
        calls = [
            self.do("connect", user, "connect", user, at=at, **answer)
            for at in range(self.random.choice((1, len(self.services))))
        ]
        await asyncio.gather(*calls)

    def _consent(self, user: str, state: str) -> dict[str, str]:
        known = self.amo.pairs(user)
        account = self.amo.host(user) if known else f"account{int(user[1:]) % _ACCOUNTS}"
        answer = self.amo.callback(user, account, state)
        return {name: answer[name] for name in ("code", "state", "referer")}

    async def step(self) -> None:
        leaving, impatient = self.given["leaving"], self.given["impatient"]
        kinds = (
            (self.ask, 48), (self.ask_and_use, 18), (self.impatient, impatient * 0.8), (self.storm, 6), (self.status, 7), (self.refresh, 4),
            (self.impatient_refresh, impatient * 0.2), (self.disconnect, leaving), (self.connect, leaving), (self.walk, 0.3),
        )  # fmt: skip
        kind = self.random.choices([one for one, _ in kinds], [weight for _, weight in kinds])[0]
        # some users are asked for all the time, some so seldom that their token has run out
        place = int(len(self.users) * self.random.random() ** 2)
        await kind(self.users[place])

    # the loops

    async def work(self) -> None:
        pause = _LOOPS / self.given["rate"]
        while not self.closing.is_set():
            await self.going.wait()
            await asyncio.sleep(self.random.expovariate(1 / pause))
            if self.going.is_set():
                await self._busy(self.step())

    async def gather_at_once(self) -> None:
        """All workers ask for the same user at the same moment, once a second."""
        while not self.closing.is_set():
            await self.going.wait()
            second = int(boot_time()) + 1
            await asyncio.sleep(second - boot_time())
            user = random.Random(f"{self.given['seed']} {second}").choice(self.users)
            if self.going.is_set():
                await self._busy(self.storm(user))

    async def _busy(self, step: Any) -> None:
        self.busy += 1
        try:
            await step
        finally:
            self.busy -= 1

    async def connect_mine(self) -> None:
        mine = iter(self.users[self.given["index"] :: self.given["workers"]])

        async def some() -> None:
            for user in mine:
                await self.connect(user)

        await asyncio.gather(*(some() for _ in range(4)))

    async def drain(self, users: list[str], op: str, seconds: float) -> None:
        """Call ``op`` for every user until each call has an answer that will stay."""
        give_up, limit = boot_time() + seconds, asyncio.Semaphore(8)
        transient = {
            "amocrm_unavailable",
            "refresh_in_progress",
            "store_unavailable",
            "token_not_saved",
            "protocol_error",
        }

        async def settle(user: str) -> None:
            while boot_time() < give_up:
                async with limit:
                    result = await self.do(op, user, op, user)
                if not isinstance(result, AmoCRMUserAuthError) or result.code not in transient:
                    return
                await asyncio.sleep(0.3)
            self.journal.write("unsettled", u=user, out=result.code)

        await asyncio.gather(*(settle(user) for user in users))

    # orders

    async def obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "connect":
                await self.connect_mine()
                self.journal.write("ready")
            case "go":
                self.going.set()
            case "rest":
                self.going.clear()
                give_up = boot_time() + order["seconds"]
                while self.busy and boot_time() < give_up:
                    await asyncio.sleep(0.02)
                await asyncio.sleep(0.2)
                self.sample(order["why"])
                if order["then"] == "go":
                    self.going.set()
            case "drain":
                await self.drain(order["users"] or self.users, order["op"], order["seconds"])
                self.journal.write("drained", number=order["number"])
            case "disarm":
                self.site.points.disarm(order["number"])
            case "close":
                self.closing.set()
                self.going.set()
            case _:
                self.site.points.arm(order)

    def sample(self, why: str) -> None:
        """Write down what this process holds."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.journal.write(
            "sample",
            why=why,
            busy=self.busy,
            held={
                "rss MB": round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1),
                "threads": threading.active_count(),
                "tasks": len(asyncio.all_tasks()),
                "files": sum(1 for _ in _files()),
                **stores.KINDS[self.given["store"]].held(self.store),
            },
        )

    async def serve(self) -> None:
        """Work until told to close, or until the orchestrator is gone."""
        orders: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def listen() -> None:
            for line in sys.stdin:
                loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))
            os._exit(3)  # the orchestrator is gone

        threading.Thread(target=listen, name="orders", daemon=True).start()
        under_way: set[asyncio.Task[None]] = set()
        loops = [asyncio.create_task(self.work()) for _ in range(_LOOPS)]
        loops.append(asyncio.create_task(self.gather_at_once()))
        self.journal.write("up", pid=os.getpid())
        while not self.closing.is_set():
            task = asyncio.create_task(self.obey(await orders.get()))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(0)
        self.going.set()
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


@contextlib.asynccontextmanager
async def opened(worker: Worker) -> AsyncIterator[Worker]:
    """Give the worker its services: two, as two requests of an application may each make their own."""
    given, clock, journal, site = worker.given, worker.clock, worker.journal, worker.site
    options = {"on_event": _teller(journal), "clock": clock.wall(given["skew"])}
    kind = stores.KINDS[given["store"]]
    pre_ping = given["index"] % 2 == 0
    async with contextlib.AsyncExitStack() as stack:
        worker.api = await stack.enter_async_context(async_http_client(given["url"], timeout=10))
        integration = worker.amo.integration()
        if given["is_async"]:
            inner = await stack.enter_async_context(kind.asynchronous(given["database_url"], pre_ping=pre_ping))
            http = httpx.AsyncClient(transport=AsyncNetwork(async_http_transport(given["url"]), site), timeout=None)
            await stack.enter_async_context(http)
            steps = Watched(doubles.weakened(inner, given["without"]), site)
            for apart in (False, True):
                auth = AsyncUserAuth(integration, AsyncStore(steps, apart=apart), http=http, **options)
                if given["without"] == "shield":
                    auth._scope.flights = doubles.Unshielded()
                worker.services.append(Async(await stack.enter_async_context(auth)))
        else:
            pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="caller")
            _warm(pool)
            inner = stack.enter_context(kind.sync(given["database_url"], pre_ping=pre_ping))
            http = stack.enter_context(
                httpx.Client(transport=Network(http_transport(given["url"]), site), timeout=None)
            )
            steps = Watched(doubles.weakened(inner, given["without"]), site)
            for apart in (False, True):
                auth = UserAuth(integration, Store(steps, apart=apart), http=http, **options)
                stack.push_async_callback(asyncio.to_thread, auth.close)
                worker.services.append(Sync(auth, pool))
        asyncio.get_running_loop().set_default_executor(helpers := ThreadPoolExecutor(8))
        _warm(helpers)
        worker.store = inner
        yield worker


def _files() -> Iterator[str]:
    """Yield the open files, but for a SQLite database: while one connection is open, SQLite keeps what others closed."""
    for entry in os.scandir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not (name := str(Path(entry.path).readlink())).endswith("/tokens.db"):
                yield name


def _warm(pool: ThreadPoolExecutor) -> None:
    """Let every thread start now: they shall not count as growth."""
    barrier = threading.Barrier(pool._max_workers)
    for future in [pool.submit(barrier.wait, 30) for _ in range(pool._max_workers)]:
        future.result()


def _teller(journal: Journal) -> Any:
    def tell(event: Any) -> None:
        known = asdict(event)
        journal.write("event", name=type(event).__name__, u=known.pop("user_id"), **known)

    return tell


async def main() -> None:
    given = json.loads(sys.argv[1])
    clock = Clock(**given["clock"])
    speed_up(clock)
    journal = Journal(Path(given["journal"]), clock, given["name"])
    warnings.showwarning = lambda message, kind, *_: journal.write("warning", text=f"{kind.__name__}: {message}"[:300])
    site = Site(journal, clock.speed)
    async with opened(Worker(given, clock, journal, site)) as worker:
        await worker.serve()
    journal.write("closed")


if __name__ == "__main__":
    faulthandler.enable()
    asyncio.run(main())
