"""A server on a bare loopback socket: it does what no decent server does, and keeps what it was sent."""

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

__all__ = ["Asked", "RawServer", "answer", "drip", "endless", "hang_up", "reply"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class RawServer:
    """Answers the n-th request with the n-th of ``replies``, then with the last one again and again."""

    def __init__(self, *replies: Callable[["Line"], None]) -> None:
        self._replies = list(replies)
        self.asked: list[Asked] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(5)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            line = Line(connection, self.stopped)
            while (asked := line.read()) is not None:
                with self._lock:
                    self.asked.append(asked)
                    reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                reply(line)


class Line:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, stopped: threading.Event) -> None:
        self.connection = connection
        self.stopped = stopped

    def read(self) -> Asked | None:
        """Return the next request, ``None`` when the client has gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = self.connection.recv(1)
            if not byte:
                return None
            head += byte
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = b""
        while len(body) < int(headers.get("content-length", 0)):
            body += self.connection.recv(65_536)
        method, target, _ = first.split(" ")
        return Asked(method, target, headers, body)

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)


def answer(status: int, fields: object, headers: str = "") -> bytes:
    """Return a whole HTTP answer."""
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    head = f"HTTP/1.1 {status} Example\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def reply(status: int, fields: object, headers: str = "") -> Callable[[Line], None]:
    """Answer and keep the connection."""
    return lambda line: line.send(answer(status, fields, headers))


def drip(data: bytes, at: int, interval: float = 0.05) -> Callable[[Line], None]:
    """Send ``data`` up to ``at`` at once, and the rest a byte at a time, over and over, until the client goes."""

    def work(line: Line) -> None:
        line.send(data[:at])
        while True:
            for byte in data[at:]:
                if line.stopped.wait(interval):
                    return
                line.send(bytes([byte]))

    return work


def endless(line: Line) -> None:
    """Send a body that does not end."""
    line.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not line.stopped.is_set():
        line.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


def hang_up(line: Line) -> None:
    """End the connection without an answer."""
    line.connection.shutdown(socket.SHUT_RDWR)
    line.connection.close()
