"""A fake amoCRM on a loopback socket, in a thread with an event loop of its own."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress

from amocrm_userauth.testing._fake.control import Control
from amocrm_userauth.testing._fake.driver import Driver
from amocrm_userauth.testing._fake.verbs import Verbs
from amocrm_userauth.testing._fake.wire import Wire
from amocrm_userauth.testing._fake.world import World

__all__ = ["Server"]

_BACKLOG = 512


class _Port:
    """One listening port. Closed it still belongs to us, and connections to it are refused."""

    def __init__(self, serve: Callable[[Wire], Awaitable[None]]) -> None:
        self._serve = serve
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._socket = _bound(0)
        self.number: int = self._socket.getsockname()[1]

    def open(self) -> None:
        """Accept connections from now on."""
        self._socket.listen(_BACKLOG)
        self._opening = asyncio.get_running_loop().create_task(self._accept())

    async def _accept(self) -> None:
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    def shut(self, *, keep: bool) -> None:
        """Refuse connections from now on and end those there are; with ``keep`` the port can be opened again."""
        if self._opening is not None:
            self._opening.cancel()
        if self._server is not None:
            self._server.close()
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
        task = asyncio.current_task()
        if task is not None:
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
    """Serves one world until :meth:`stop`; the verbs may be called from any thread."""

    def __init__(self, world: World) -> None:
        """Start the thread and return when both ports accept connections."""
        self.world = world
        self.verbs = Verbs(world, self)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-amocrm", daemon=True)
        self._control = _Port(Control(self.verbs, lambda: self.url).serve)
        self._port = _Port(Driver(world).serve)
        self.url = f"http://127.0.0.1:{self._port.number}"
        self.control_url = f"http://127.0.0.1:{self._control.number}"
        self._is_down = False
        self._thread.start()
        self._in_loop(self._port.open)
        self._in_loop(self._control.open)

    def down(self) -> None:
        """Refuse connections and cut those there are."""
        if not self._is_down:
            self._is_down = True
            self._in_loop(lambda: self._port.shut(keep=True))
            self._in_loop(_nothing)  # by then the sockets are closed

    def up(self) -> None:
        """Accept connections again, at the same address."""
        if self._is_down:
            self._is_down = False
            self._in_loop(self._port.open)

    def stop(self) -> None:
        """End every connection, close the sockets, and end the thread."""
        with self.world.lock:
            self.world.faults.clear()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for port in (self._port, self._control):
            port.shut(keep=False)
        for port in (self._port, self._control):
            await port.ended()
        await asyncio.sleep(0)

    def _in_loop(self, step: Callable[[], None]) -> None:
        if threading.current_thread() is self._thread:
            step()
            return
        done: Future[None] = Future()

        def run() -> None:
            try:
                step()
            except BaseException as failure:  # noqa: BLE001 - handed to the caller
                done.set_exception(failure)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(run)
        done.result()


def _nothing() -> None:
    """Let the event loop go round once."""


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)  # noqa: FBT003 - has no other form
    made.bind(("127.0.0.1", port))
    return made
