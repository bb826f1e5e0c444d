"""One way to write a test for four: httpx and httpx2, each with a synchronous and an asynchronous service."""

import asyncio
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from anyio.from_thread import start_blocking_portal

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, MemoryTokenStore, UserAuth
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport


@dataclass(frozen=True)
class Sent:
    """What went out: the token only as seen by the server, for comparison."""

    url: str
    authorization: str | None
    body: bytes


def recorder(library: ModuleType, inner: Any, script: dict[str, Callable[[Any], Any]], sent: list[Sent]) -> Any:
    """Return a transport of ``library`` that notes what goes out and answers some paths itself."""

    def note(request: Any, body: bytes) -> Any:
        sent.append(Sent(str(request.url), request.headers.get("Authorization"), body))
        more = {"stream": library.ByteStream(body), "extensions": request.extensions}
        return library.Request(request.method, request.url, headers=request.headers, **more)

    class Recorder(library.BaseTransport, library.AsyncBaseTransport):
        def handle_request(self, request: Any) -> Any:
            request = note(request, b"".join(request.stream))
            answer = script.get(f"{request.url.host}{request.url.path}")
            return answer(request) if answer else inner.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            request = note(request, b"".join([part async for part in request.stream]))
            answer = script.get(f"{request.url.host}{request.url.path}")
            return answer(request) if answer else await inner.handle_async_request(request)

        def close(self) -> None:
            inner.close()

        async def aclose(self) -> None:
            await inner.aclose()

    return Recorder()


class World(ABC):
    """A service with Anna connected to ``example`` and a way to call amoCRM with her client."""

    def __init__(self, library: str, fake: FakeAmoCRM) -> None:
        self.name = library
        self.library = importlib.import_module(library)
        self.adapter = importlib.import_module(f"amocrm_userauth.{library}")
        self.fake = fake
        self.script: dict[str, Callable[[Any], Any]] = {}
        self.sent: list[Sent] = []
        self.auth: Any = None

    @abstractmethod
    def run(self, work: Callable[[], Any]) -> Any:
        """Run what returns a value (or, in the asynchronous world, a coroutine)."""

    @abstractmethod
    def together(self, work: Callable[[], Any], times: int) -> list[Any]:
        """Run the same many times at once."""

    @abstractmethod
    @contextmanager
    def client(self, user: str = "anna", **options: Any) -> Iterator[Any]:
        """Give the adapter's client, closed afterwards."""

    @abstractmethod
    def body(self, *parts: bytes) -> Any:
        """Return a body that can be read once."""

    def transport(self) -> Any:
        """Return a transport that ends at the fake and is recorded."""
        return recorder(self.library, self.inner(), self.script, self.sent)

    @abstractmethod
    def inner(self) -> Any:
        """Return a transport that ends at the fake."""

    def connect(self, user: str = "anna", account: str = "example") -> None:
        """Connect a user of the application with the amoCRM user of the same name."""
        begun = self.run(lambda: self.auth.begin(user))
        answer = self.fake.callback(user, account, begun.state)
        self.run(lambda: self.auth.connect(user, code=answer["code"], state=answer["state"], referer=answer["referer"]))

    def get(self, client: Any, url: str = "/api/v4/account", **more: Any) -> Any:
        """Make one call."""
        return self.run(lambda: client.get(url, **more))

    def refreshes(self) -> int:
        """Count the refreshes at the token endpoint."""
        return self.fake.token_calls(grant_type="refresh_token")

    @classmethod
    @abstractmethod
    @contextmanager
    def opened(cls, library: str, fake: FakeAmoCRM, **options: Any) -> Iterator["World"]:
        """Give a world with Anna connected."""


class SyncWorld(World):
    """Threads."""

    def run(self, work: Callable[[], Any]) -> Any:
        return work()

    def together(self, work: Callable[[], Any], times: int) -> list[Any]:
        with ThreadPoolExecutor(times) as pool:
            return [future.result() for future in [pool.submit(work) for _ in range(times)]]

    @contextmanager
    def client(self, user: str = "anna", **options: Any) -> Iterator[Any]:
        with self.adapter.client(self.auth, user, **{"transport": self.transport(), **options}) as client:
            yield client

    def body(self, *parts: bytes) -> Any:
        yield from parts

    def inner(self) -> Any:
        return http_transport(self.fake.url, library=self.name)

    @classmethod
    @contextmanager
    def opened(cls, library: str, fake: FakeAmoCRM, **options: Any) -> Iterator[World]:
        world = cls(library, fake)
        with (
            fake.http_client(library=library) as http,
            UserAuth(fake.integration(), MemoryTokenStore(), http=http, **options) as world.auth,
        ):
            world.connect()
            yield world


class AsyncWorld(World):
    """An event loop in a thread of its own."""

    def run(self, work: Callable[[], Any]) -> Any:
        async def go() -> Any:
            return await work()

        return self.portal.call(go)

    def together(self, work: Callable[[], Any], times: int) -> list[Any]:
        async def go() -> list[Any]:
            return await asyncio.gather(*(work() for _ in range(times)))

        return self.portal.call(go)

    @contextmanager
    def client(self, user: str = "anna", **options: Any) -> Iterator[Any]:
        client = self.adapter.client(self.auth, user, **{"transport": self.transport(), **options})
        with self.portal.wrap_async_context_manager(client):
            yield client

    async def body(self, *parts: bytes) -> Any:
        for part in parts:
            yield part

    def inner(self) -> Any:
        return async_http_transport(self.fake.url, library=self.name)

    @classmethod
    @contextmanager
    def opened(cls, library: str, fake: FakeAmoCRM, **options: Any) -> Iterator[World]:
        world = cls(library, fake)
        with ExitStack() as stack:
            world.portal = stack.enter_context(start_blocking_portal())
            http = stack.enter_context(world.portal.wrap_async_context_manager(fake.async_http_client(library=library)))
            service = AsyncUserAuth(fake.integration(), AsyncMemoryTokenStore(), http=http, **options)
            world.auth = stack.enter_context(world.portal.wrap_async_context_manager(service))
            world.connect()
            yield world


WORLDS = {
    "httpx-sync": ("httpx", SyncWorld),
    "httpx-async": ("httpx", AsyncWorld),
    "httpx2-sync": ("httpx2", SyncWorld),
    "httpx2-async": ("httpx2", AsyncWorld),
}
