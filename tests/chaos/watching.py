"""A store and a network that write down what passes, and stop or kill their process where they are told to."""

import inspect
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Self

import httpx

from amocrm_userauth.testing import fingerprint
from tests.chaos.journal import Journal

METHODS = (
    "get", "put", "delete", "take_lease", "commit", "note_failure", "list_due", "find_login", "check_user",
    "remember_code", "find_code", "claim", "finish",
)  # fmt: skip


class Points:
    """The named points of a refresh. One that an order waits for stops or kills the process that passes it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._orders: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def arm(self, order: dict[str, Any]) -> None:
        with self._lock:
            self._orders[order["point"]] = order

    def disarm(self, number: int) -> None:
        with self._lock:
            self._orders = {at: order for at, order in self._orders.items() if order["number"] != number}

    def passing(self, point: str, user: str) -> None:
        """Do what was ordered for this point, once."""
        with self._lock:
            order = self._orders.pop(point, None)
        if order is not None:
            self._journal.write("point", point=point, u=user, do=order["do"], number=order["number"])
            os.kill(os.getpid(), signal.SIGKILL if order["do"] == "kill" else signal.SIGSTOP)


class Site:
    """What the store and the network of one worker know together: whose lease a refresh token is sent under."""

    def __init__(self, journal: Journal, speed: float) -> None:
        self.journal = journal
        self.speed = speed
        self.points = Points(journal)
        self._users: dict[str, tuple[str, ...]] = {}
        self._leases: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def leased(self, user: str, holder: str, tokens: tuple[str, ...]) -> None:
        with self._lock:
            for token in self._users.get(user, ()):
                self._leases.pop(token, None)
            self._users[user] = tokens
            self._leases.update(dict.fromkeys(tokens, (user, holder)))

    def lease_of(self, token: str) -> tuple[str, str]:
        return self._leases.get(token, ("", ""))


async def now(value: Any) -> Any:
    """Return ``value``, awaited if it has to be."""
    return await value if inspect.isawaitable(value) else value


class Steps:
    """A store of either world as coroutines; over a synchronous one they never wait. Subclasses change some of it."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in METHODS:
            return method

        async def step(*args: Any, **more: Any) -> Any:
            return await now(method(*args, **more))

        return step


class Watched(Steps):
    """Writes down what changes a row."""

    def __init__(self, inner: Any, site: Site) -> None:
        super().__init__(inner)
        self._site = site
        self._journal = site.journal

    async def take_lease(self, user_id: str, *, holder: str, **more: Any) -> Any:
        began = self._journal._clock.now()
        row = await now(self.inner.take_lease(user_id, holder=holder, **more))
        if row is not None and row.lease_holder == holder:
            token, spare = _print(row.pair.refresh_token), _print(row.previous_refresh_token)
            self._site.leased(user_id, holder, (token, spare) if spare else (token,))
            known = {"u": user_id, "rev": row.revision, "holder": holder, "fp": token, "spare": spare}
            self._journal.write("lease", began=began, doubt=row.in_doubt, **known)
        return row

    async def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Any) -> Any:
        what = {"u": user_id, "rev": revision, "holder": holder}
        number = self._begin("noting", **what, mark=failure.reauth_reason, doubt=failure.in_doubt, why=failure.failure)
        with _Ending(self._journal, "noted", number) as ending:
            ending.result = await now(
                self.inner.note_failure(user_id, revision=revision, holder=holder, failure=failure)
            )
            return ending.result

    async def commit(self, token: Any, *, over: str, **more: Any) -> Any:
        what = {"u": token.user_id, "over": over, "rev": token.revision, "fp": _print(token.pair.refresh_token)}
        self._site.points.passing("before the commit", token.user_id)
        number = self._begin("committing", **what, spare=_print(token.previous_refresh_token))
        with _Ending(self._journal, "committed", number) as ending:
            row = await now(self.inner.commit(token, over=over, **more))
            ending.result = row is not None and row.revision == token.revision
        self._site.points.passing("after the commit", token.user_id)
        return row

    async def put(self, token: Any) -> None:
        number = self._begin("putting", u=token.user_id, rev=token.revision, fp=_print(token.pair.refresh_token))
        with _Ending(self._journal, "put", number) as ending:
            await now(self.inner.put(token))
            ending.result = True

    async def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        number = self._begin("deleting", u=user_id, rev=revision)
        with _Ending(self._journal, "deleted", number) as ending:
            ending.result = await now(self.inner.delete(user_id, revision=revision))
            return ending.result

    def _begin(self, kind: str, **fields: Any) -> str:
        number = self._journal.number()
        self._journal.write(kind, id=number, **fields)
        return number


class _Ending:
    """Writes how a step ended: its ``result``, or that it failed."""

    def __init__(self, journal: Journal, kind: str, number: str) -> None:
        self._journal, self._kind, self._number = journal, kind, number
        self.result: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        failed = {} if kind is None else {"error": kind.__name__}
        self._journal.write(self._kind, id=self._number, result=self.result, **failed)


def _print(token: Any) -> str:
    token = token() if callable(token) else token
    return fingerprint(token) if token else ""


def finished(step: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits to its end."""
    try:
        step.send(None)
    except StopIteration as end:
        return end.value
    msg = "a synchronous store waited"
    raise AssertionError(msg)


class Store:
    """Steps as a store that a ``UserAuth`` takes. ``apart``: it shares nothing with others in this process."""

    def __init__(self, steps: Any, *, apart: bool = False) -> None:
        self.steps = steps
        self.canonical_user_id = steps.canonical_user_id
        self.shared_scope = (lambda: (self, "")) if apart else steps.shared_scope


class AsyncStore(Store):
    """The same for ``AsyncUserAuth``."""


def _give(name: str) -> None:
    def method(self: Store, *args: Any, **more: Any) -> Any:
        return finished(getattr(self.steps, name)(*args, **more))

    async def async_method(self: AsyncStore, *args: Any, **more: Any) -> Any:
        return await getattr(self.steps, name)(*args, **more)

    setattr(Store, name, method)
    setattr(AsyncStore, name, async_method)


for _name in METHODS:
    _give(_name)


class _Trip:
    """One request to the token endpoint on its way."""

    def __init__(self, site: Site, request: httpx.Request) -> None:
        fields = json.loads(request.content)
        self._site, self._journal = site, site.journal
        self.refresh = fields["grant_type"] == "refresh_token"
        token = fingerprint(fields["refresh_token" if self.refresh else "code"])
        self.user, holder = site.lease_of(token)
        self.number = self._journal.number()
        self._body = bytearray()
        request.headers["x-request-id"] = self.number
        kind = "refresh" if self.refresh else "code"
        self._journal.write("asking", id=self.number, grant=kind, fp=token, u=self.user, holder=holder)
        self.pass_by("before the send")

    def pass_by(self, point: str) -> None:
        if self.refresh:
            self._site.points.passing(point, self.user)

    def traced(self, name: str) -> None:
        if name.endswith("send_request_headers.started"):
            self._journal.write("sending", id=self.number)
        elif name.endswith("send_request_body.complete"):
            self._journal.write("sent", id=self.number)
            self.pass_by("after the send")

    def take(self, chunk: bytes) -> bytes:
        self._body += chunk
        return chunk

    def answered(self, status: int) -> None:
        try:
            issued = fingerprint(json.loads(self._body)["refresh_token"]) if status == 200 else ""
        except (ValueError, KeyError):
            issued = ""
        self._journal.write("answer", id=self.number, status=status, issued=issued)
        if issued:
            self.pass_by("after the answer")

    def broken(self, error: BaseException) -> None:
        self._journal.write("broken", id=self.number, error=type(error).__name__)


def _prepared(request: httpx.Request, site: Site) -> _Trip | None:
    timeouts = {name: seconds and seconds / site.speed for name, seconds in request.extensions["timeout"].items()}
    request.extensions["timeout"] = timeouts
    if request.method != "POST":
        return None
    return _Trip(site, request)


class Network(httpx.BaseTransport):
    """The way to amoCRM, watched."""

    def __init__(self, inner: httpx.BaseTransport, site: Site) -> None:
        self._inner, self._site = inner, site

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        trip = _prepared(request, self._site)
        if trip is None:
            return self._inner.handle_request(request)
        original = request.extensions["trace"]

        def trace(name: str, info: dict[str, Any]) -> None:
            original(name, info)
            trip.traced(name)

        request.extensions["trace"] = trace
        try:
            response = self._inner.handle_request(request)
        except BaseException as error:
            trip.broken(error)
            raise
        response.stream = _Stream(response.stream, response.status_code, trip)
        return response

    def close(self) -> None:
        self._inner.close()


class _Stream(httpx.SyncByteStream):
    def __init__(self, inner: Any, status: int, trip: _Trip) -> None:
        self._inner, self._status, self._trip = inner, status, trip

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._inner:
                yield self._trip.take(chunk)
        except BaseException as error:
            self._trip.broken(error)
            raise
        self._trip.answered(self._status)

    def close(self) -> None:
        self._inner.close()


class AsyncNetwork(httpx.AsyncBaseTransport):
    """The way to amoCRM, watched."""

    def __init__(self, inner: httpx.AsyncBaseTransport, site: Site) -> None:
        self._inner, self._site = inner, site

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trip = _prepared(request, self._site)
        if trip is None:
            return await self._inner.handle_async_request(request)
        original = request.extensions["trace"]

        async def trace(name: str, info: dict[str, Any]) -> None:
            await original(name, info)
            trip.traced(name)

        request.extensions["trace"] = trace
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            trip.broken(error)
            raise
        response.stream = _AsyncStream(response.stream, response.status_code, trip)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, inner: Any, status: int, trip: _Trip) -> None:
        self._inner, self._status, self._trip = inner, status, trip

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield self._trip.take(chunk)
        except BaseException as error:
            self._trip.broken(error)
            raise
        self._trip.answered(self._status)

    async def aclose(self) -> None:
        await self._inner.aclose()
