"""A network between the store and its database that can be slow, cut, deaf, or lose an answer."""

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sqlalchemy import URL

_CHUNK = 65536
_COMMIT = re.compile(rb"(?<!AUTO)COMMIT(?!TED)")  # not SET AUTOCOMMIT, nor READ COMMITTED


@dataclass
class Proxy:
    """Passes bytes on between clients and ``target``; its fields say how, and may be changed at any time.

    ``on_commit`` is asked when a client sends COMMIT: ``"lose"`` passes it on and cuts the line when the answer is
    there, ``"cut"`` cuts the line before it arrives.
    """

    target: tuple[str, int]
    delay: float = 0.0
    refuse: bool = False
    deaf: bool = False
    on_commit: Callable[[], str] = lambda: ""
    connections: int = 0
    _lines: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _closed: bool = False

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database: URL) -> URL:
        """Return the address of ``database`` by way of this."""
        return database.set(host="127.0.0.1", port=self.port)

    def cut(self) -> None:
        """End every connection, as a restart of the database or a firewall does."""
        for pair in list(self._lines):
            _close(*pair)

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closed = True
        _close(self._listening)
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            if self.refuse:
                _close(client)
                continue
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self.target, 5)
        except OSError:
            _close(client)
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines.append((client, server))
        with contextlib.suppress(OSError, ValueError):
            while self._pass_on(client, server):
                pass
        _close(client, server)
        self._lines.remove((client, server))

    def _pass_on(self, client: socket.socket, server: socket.socket) -> bool:
        """Wait for bytes from either side and pass them on; say whether the line still stands."""
        ready = select.select([client, server], [], [], 60)[0]
        if self.deaf:
            time.sleep(0.02)  # what was sent stays where it is, and comes through when the line is mended
            return True
        for source in ready:
            sent = source.recv(_CHUNK)
            if not sent:
                return False
            if source is client and not self._commit_passes(sent, server):
                return False
            if source is server and self.delay:
                time.sleep(self.delay)
            (server if source is client else client).sendall(sent)
        return True

    def _commit_passes(self, sent: bytes, server: socket.socket) -> bool:
        what = self.on_commit() if _COMMIT.search(sent) else ""
        if what == "lose":
            server.sendall(sent)
            server.recv(_CHUNK)
        return not what


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextlib.contextmanager
def proxy(database: URL) -> Iterator[Proxy]:
    """A proxy to the server of ``database``."""
    usual = {"postgresql": 5432, "mysql": 3306}[database.get_backend_name()]
    made = Proxy((database.host or "127.0.0.1", database.port or usual))
    try:
        yield made
    finally:
        made.close()


class Once:
    """Answers ``what`` to the ``nth`` commit, and lets all others pass; does ``then`` at that moment."""

    def __init__(self, what: str, nth: int = 1, then: Callable[[], None] = lambda: None) -> None:
        self.what = what
        self.left = nth
        self.then = then
        self._turn = threading.Lock()

    def __call__(self) -> str:
        with self._turn:
            self.left -= 1
            return self.what if self.left == 0 else ""
