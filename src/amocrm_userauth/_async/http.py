"""The part that knows the HTTP library: httpx or httpx2, whichever client was passed in."""

import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

import httpx

from amocrm_userauth._core.answers import Reply
from amocrm_userauth._pairs import AsyncDeadline, AsyncTime, async_unfit
from amocrm_userauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

    AsyncHTTPClient = httpx.AsyncClient | httpx2.AsyncClient

__all__ = ["AsyncHTTP", "NotSentError", "Outgoing", "UnknownOutcomeError"]

_USER_AGENT = "amocrm_userauth"
_MAX_BODY = 1_048_576
# of the time left to begin: then the client itself says, if it can, that it had no free connection
_POOL_SHARE = 0.9
# seconds: who comes later than this to a deadline was not running, and then has so long to read what came meanwhile
_LATE, _CATCH_UP = 0.05, 1.0
_BACKSTOP = 600.0
# the errors of httpx and of httpx2 that say that no connection was made
_NOT_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"})


class NotSentError(Exception):
    """No connection was made: nothing was spent. The message names the kind of failure."""


class UnknownOutcomeError(Exception):
    """The request may have arrived, and no whole answer came back. The message names the kind of failure."""


class _Socket(Protocol):
    def shutdown(self, how: int, /) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request to amoCRM; headers and body may hold secrets and are not in the ``repr``."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    fields: dict[str, str] | None = field(default=None, repr=False)


class AsyncHTTP:
    """Sends one request and reads its whole answer, or says whether it can have arrived."""

    def __init__(self, client: "AsyncHTTPClient | None", time: AsyncTime) -> None:
        if client is not None and async_unfit(getattr(client, "send", None)):
            msg = "http must be an AsyncClient of httpx or httpx2"
            raise ConfigurationError(msg)
        self._client = client
        self._own: httpx.AsyncClient | None = None
        self._process = 0
        self._time = time
        self._traces = threading.Event()

    @property
    def opened(self) -> bool:
        """Whether there is a client of our own to close."""
        return self._own is not None

    async def send(self, outgoing: Outgoing, *, deadline: float) -> Reply:
        """Return the answer, by ``deadline`` on the holder's clock. Redirects are not followed, nothing is retried.

        A request that had to wait for a free connection of the client goes out by ``deadline`` and is answered as much
        later as it has waited: cut off, a token that it spends would be lost. So one deadline becomes two at most.

        Raises:
            NotSentError: nothing went out.
            UnknownOutcomeError: it may have gone out.

        """
        trip = _AsyncTrip(self._pick(), outgoing, self._time, deadline, self._traces)
        seconds = deadline - self._time.monotonic()
        if seconds <= 0:
            raise NotSentError("out of time")
        try:
            return await AsyncDeadline().run(seconds, trip.go, trip.cut, trip.more)
        except NotSentError:
            raise
        except TimeoutError:
            failure = trip.failure("timeout")
        except Exception as error:  # noqa: BLE001 - a transport may raise anything
            failure = trip.failure(type(error).__name__)
        # outside the except block, so that no error of the library is chained: its frames hold the request
        raise failure

    def _pick(self) -> "AsyncHTTPClient":
        if self._client is not None:
            return self._client
        if self._own is None or self._process != os.getpid():
            # a forked child takes a client of its own: a lock of the parent's may have been held by another thread
            self._process = os.getpid()
            # a connection kept open may be closed by the server just as a token is sent on it
            self._own = httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0))
        return self._own

    async def aclose(self) -> None:
        """Close the client if it is our own; a passed one stays the caller's."""
        own, self._own = self._own, None
        if own is not None:
            await own.aclose()


class _AsyncTrip:
    """One request on its way. It watches the client's trace, where there is one, for the moment of sending."""

    def __init__(
        self,
        client: "AsyncHTTPClient",
        outgoing: Outgoing,
        time: AsyncTime,
        deadline: float,
        traces: threading.Event,
    ) -> None:
        self._client = client
        self._outgoing = outgoing
        self._time = time
        self._deadline = deadline
        self._answer_by = deadline
        self._traces = traces
        self._queued_at = time.monotonic()
        self._begun = False
        self._traced = False
        self._sent = False
        self._cut = False
        self._socket: _Socket | None = None

    async def go(self) -> Reply:
        """Send the request and read the answer to its end."""
        if self._client.is_closed:
            raise NotSentError("the HTTP client is closed")
        request = self._request()
        self._begun = True
        if self._cut:
            raise NotSentError("out of time")
        return await self._exchange(request)

    def _request(self) -> "httpx.Request | httpx2.Request":
        headers = {"User-Agent": _USER_AGENT, "Accept": "application/json"} | self._outgoing.headers
        if self._outgoing.fields is not None:
            headers["Content-Type"] = "application/json"
        seconds = max(self._deadline - self._time.monotonic(), 0.001)
        # a backstop: the deadline rules, and a holder that was stopped for long reads what came meanwhile
        longest = 2 * seconds + _BACKSTOP
        timeout = {"connect": seconds, "pool": seconds * _POOL_SHARE, "write": longest, "read": longest}
        # of the client's own library, but with none of its headers, cookies or parameters: they are not amoCRM's
        kind = type(self._client.build_request("GET", "https://amocrm.invalid"))
        return kind(
            self._outgoing.method,
            self._outgoing.url,
            headers=headers,
            content=None if self._outgoing.fields is None else json.dumps(self._outgoing.fields).encode(),
            extensions={"trace": self._trace, "timeout": timeout},
        )

    async def _exchange(self, request: "httpx.Request | httpx2.Request") -> Reply:
        response = await self._client.send(request, stream=True, auth=None, follow_redirects=False)  # type: ignore[arg-type]
        self._socket = _socket_of(response.extensions.get("network_stream")) or self._socket
        body = _Body()
        try:
            async for chunk in response.aiter_bytes():
                full = body.add(chunk)
                del chunk
                if full:
                    break
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(response.status_code, headers, body.taken)

    async def _trace(self, name: str, info: "dict[str, object]") -> None:
        if not self._traced:
            self._answer_by += self._time.monotonic() - self._queued_at
        self._traced = True
        self._traces.set()
        if name.endswith("send_request_headers.started"):
            # noted before the look at the clock: whoever gives up meanwhile either sees it or stops it here
            self._sent = True
            if self._cut or self._time.monotonic() >= self._deadline:
                self._sent = False
                raise NotSentError("out of time")
        elif name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = _socket_of(info.get("return_value"))

    def more(self) -> float:
        """Return for how many seconds more the answer is waited for, once the deadline is there."""
        if not self._sent:
            return 0.0
        now = self._time.monotonic()
        # stopped, or starved, meanwhile: the answer may have come, and it may be the user's only good pair
        catch_up = _CATCH_UP if now - self._deadline > _LATE else 0.0
        return max(self._answer_by - now, catch_up)

    def cut(self) -> None:
        """Free a thread that is stuck in a read; best effort, as a reused connection shows its socket late."""
        self._cut = True
        socket = self._socket
        if socket is not None:
            with suppress(OSError):
                socket.shutdown(2)

    def failure(self, kind: str) -> NotSentError | UnknownOutcomeError:
        """Return what a failure of this ``kind`` means for the request."""
        # a transport that tries again by itself can fail to connect after it has sent
        if self._sent:
            return UnknownOutcomeError(kind)
        # a client that shows a trace, and has shown none of this request, had no free connection for it
        queued = kind == "timeout" and self._traces.is_set()
        if kind in _NOT_SENT or not self._begun or self._traced or queued:
            return NotSentError(kind)
        return UnknownOutcomeError(kind)


class _Body:
    """The bytes of an answer so far; not shown by a rendered traceback."""

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = bytearray()

    def add(self, chunk: bytes) -> bool:
        """Take the next bytes; say whether that is more than any answer of amoCRM's has."""
        self.taken += chunk
        return len(self.taken) > _MAX_BODY


def _socket_of(stream: object) -> _Socket | None:
    extra = cast("Callable[[str], _Socket | None] | None", getattr(stream, "get_extra_info", None))
    return None if extra is None else extra("socket")
