"""HTTP/1.1 on one connection: what a real server does, and what one that fails does."""

import asyncio
from contextlib import suppress
from urllib.parse import parse_qsl, unquote

import h11

from amocrm_userauth.testing._fake.replies import Ask, Reply

__all__ = ["Wire"]

_CHUNK = 65_536


class Wire:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over an accepted connection."""
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def asked(self) -> Ask | None:
        """Return the next request, ``None`` when there is no more."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        try:
            request = await self._event()
            if not isinstance(request, h11.Request):
                return None
            body = bytearray()
            while isinstance(event := await self._event(), h11.Data):
                body += event.data
        except (h11.RemoteProtocolError, OSError):
            return None
        return _ask(request, bytes(body))

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            self._http.receive_data(await self._reader.read(_CHUNK))
        return event

    async def answer(self, reply: Reply) -> bool:
        """Send an answer; say whether somebody was there to read it."""
        head, body = self._head(reply), self._body(reply.body)
        return await self._write(head + body + self._end())

    async def drip(self, reply: Reply, interval: float) -> bool:
        """Send an answer, its body a byte at a time."""
        there = await self._write(self._head(reply))
        for at in range(len(reply.body)):
            await asyncio.sleep(interval)
            there = there and await self._write(self._body(reply.body[at : at + 1]))
            if not there:
                return False
        return await self._write(self._end())

    async def cut_off(self, reply: Reply) -> None:
        """Send the first half of an answer and end the connection."""
        await self._write(self._head(reply) + self._body(reply.body[: len(reply.body) // 2]))
        await self._writer.drain()
        self._writer.close()

    def hang_up(self) -> None:
        """End the connection without another byte."""
        self._writer.transport.abort()

    def is_open(self) -> bool:
        """Whether another request may come."""
        return self._http.our_state is h11.DONE and not self._writer.is_closing()

    def _head(self, reply: Reply) -> bytes:
        headers = [("content-type", reply.content_type), ("content-length", str(len(reply.body))), *reply.headers]
        if reply.status == 204:  # noqa: PLR2004 - has neither body nor length
            headers = [*reply.headers]
        response = h11.Response(status_code=reply.status, headers=[("server", "nginx"), *headers])
        return self._http.send(response) or b""

    def _body(self, body: bytes) -> bytes:
        return self._http.send(h11.Data(data=body)) or b""

    def _end(self) -> bytes:
        return self._http.send(h11.EndOfMessage()) or b""

    async def _write(self, data: bytes) -> bool:
        if self._writer.is_closing() or self._reader.at_eof():
            return False
        self._writer.write(data)
        with suppress(OSError):
            await self._writer.drain()
        return not self._writer.is_closing()


def _ask(request: h11.Request, body: bytes) -> Ask:
    headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in request.headers}
    path, _, query = request.target.decode("latin1").partition("?")
    host = headers.get("host", "").partition(":")[0].lower()
    params = dict(parse_qsl(query, keep_blank_values=True))
    return Ask(request.method.decode("ascii"), unquote(path), params, host, headers, body)
