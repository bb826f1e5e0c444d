"""The fake as an ASGI application: the same answers and failures without its socket."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, cast
from urllib.parse import parse_qsl

from amocrm_userauth.testing._fake.driver import Driver
from amocrm_userauth.testing._fake.replies import Ask, Reply

__all__ = ["ASGIApp"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class ASGIApp:
    """Answers the requests of one world for any ASGI server or ``httpx.ASGITransport``.

    A connection that ends without (the whole of) an answer raises ``ConnectionError``, as an application that dies.
    """

    def __init__(self, driver: Driver) -> None:
        """Let ``driver`` answer."""
        self._driver = driver

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request; nothing is done at start-up or shutdown."""
        if scope["type"] == "http":
            await self._driver.serve(_Exchange(await _ask(scope, receive), send))
        elif scope["type"] == "lifespan":
            await _no_lifespan(receive, send)


class _Exchange:
    """One request and its answer, in the shape of a connection that brings one request."""

    def __init__(self, ask: Ask, send: _Send) -> None:
        self._ask: Ask | None = ask
        self._send = send

    async def asked(self) -> Ask | None:
        ask, self._ask = self._ask, None
        return ask

    async def answer(self, reply: Reply) -> bool:
        await self._head(reply)
        await self._send({"type": "http.response.body", "body": reply.body})
        return True

    async def drip(self, reply: Reply, interval: float) -> bool:
        await self._head(reply)
        for at in range(len(reply.body)):
            await asyncio.sleep(interval)
            await self._send({"type": "http.response.body", "body": reply.body[at : at + 1], "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})
        return True

    async def cut_off(self, reply: Reply) -> None:
        await self._head(reply)
        half = reply.body[: len(reply.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        self.hang_up()

    def hang_up(self) -> None:
        msg = "the fake amoCRM was told to end this connection"
        raise ConnectionError(msg)

    def is_open(self) -> bool:
        return False

    async def _head(self, reply: Reply) -> None:
        headers = [("server", "nginx"), ("content-type", reply.content_type), *reply.headers]
        raw = [(name.encode("latin1"), value.encode("latin1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": reply.status, "headers": raw})


async def _ask(scope: _Message, receive: _Receive) -> Ask:
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    raw = cast("Iterable[tuple[bytes, bytes]]", scope["headers"])
    headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in raw}
    query = dict(parse_qsl(scope["query_string"].decode("latin1"), keep_blank_values=True))
    host = headers.get("host", "").partition(":")[0].lower()
    return Ask(scope["method"], scope["path"], query, host, headers, bytes(body))


async def _no_lifespan(receive: _Receive, send: _Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})
