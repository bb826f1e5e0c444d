"""A fake amoCRM on a loopback socket, in a thread with an event loop of its own."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast

from amocrm_userauth.testing._fake.asgi import ASGIApp
from amocrm_userauth.testing._fake.control import Control
from amocrm_userauth.testing._fake.driver import Driver
from amocrm_userauth.testing._fake.verbs import Verbs
from amocrm_userauth.testing._fake.wire import Wire
from amocrm_userauth.testing._fake.world import World

__all__ = ["Server"]

_BACKLOG = 512
_Result = TypeVar("_Result")


class _Port:
    """One listening port. Closed it still belongs to us, and connections to it are refused."""

    def __init__(self, serve: Callable[[Wire], Awaitable[None]], number: int = 0) -> None:
        self._serve = serve
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._servers: list[asyncio.Server] = []
        self._socket = _bound(number)
        self.number: int = self._socket.getsockname()[1]

    async def open(self) -> None:
        """Accept connections from now on."""
        self._socket.listen(_BACKLOG)
        server = await asyncio.start_server(self._connected, sock=self._socket, start_serving=False)
        self._servers.append(server)
        await server.start_serving()

    def shut(self, *, keep: bool) -> None:
        """Refuse connections from now on and end those there are; with ``keep`` the port can be opened again."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._socket.close()
        if keep:
            self._socket = _bound(self.number)
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()

    async def ended(self) -> None:
        """Wait until every connection is gone."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)
        try:
            with suppress(asyncio.CancelledError, ConnectionError):
                await self._serve(Wire(reader, writer))
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()


class Server:
    """Serves one world until :meth:`stop`. It is the backend of a fake in this process."""

    def __init__(self, world: World) -> None:
        """Start the thread and return when both ports accept connections."""
        self.world = world
        self.verbs = Verbs(world)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-amocrm", daemon=True)
        self._control = _Port(Control(self.answer, lambda: self.url).serve)
        driver = Driver(world)
        self.app = ASGIApp(driver)
        self._port = _Port(driver.serve, world.settings.port)
        self.url = f"http://127.0.0.1:{self._port.number}"
        self.control_url = f"http://127.0.0.1:{self._control.number}"
        self._refusing = False
        self._thread.start()
        self._wait_for(self._port.open())
        self._wait_for(self._control.open())

    def run(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Run one verb and return its result, from any thread but the server's own."""
        result = self.verbs.run(verb, arguments)
        if self.world.refusing is not self._refusing:
            self._wait_for(self._open_or_shut())
        return result

    async def answer(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Run one verb on the server's own thread."""
        result = self.verbs.run(verb, arguments)
        await self._open_or_shut()
        return result

    async def _open_or_shut(self) -> None:
        wanted = self.world.refusing
        if wanted is self._refusing:
            return
        self._refusing = wanted
        if wanted:
            self._port.shut(keep=True)
            await asyncio.sleep(0)  # the sockets are closed when the loop goes round
        else:
            await self._port.open()

    def stop(self) -> None:
        """End every connection, close the sockets, and end the thread."""
        with self.world.lock:
            self.world.faults.clear()
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for port in (self._port, self._control):
            port.shut(keep=False)
        for port in (self._port, self._control):
            await port.ended()
        await asyncio.sleep(0)

    def _wait_for(self, step: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)  # noqa: FBT003 - has no other form
    made.bind(("127.0.0.1", port))
    return made
