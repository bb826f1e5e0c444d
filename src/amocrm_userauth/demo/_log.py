"""What happened, in order, for the page's panel. Texts never hold a token, a code, a state or a query."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from amocrm_userauth.events import Connected, Disconnected, Event, ReauthorizationRequired, Refreshed
from amocrm_userauth.testing import FakeAmoCRM, LoggedRequest, Presentation

__all__ = ["Log", "WatchedApp", "WatchedTransport"]

Lane = Literal["you", "phone", "amocrm", "library"]
Tone = Literal["", "good", "bad"]

_LENGTH = 120
_DAY = 86_400
_FIRST_ERROR = 400
_TOKEN_PATH = "/oauth2/access_token"
_GRANTS = {"authorization_code": "code", "refresh_token": "refresh token"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``at`` is in Unix seconds of the demo's clock; ``count`` equal lines came one after another."""

    at: float
    lane: Lane
    text: str
    user: str = ""
    tone: Tone = ""
    count: int = 1

    def same_as(self, other: "Entry") -> bool:
        """Say whether both lines would read the same."""
        return replace(self, at=0, count=1) == replace(other, at=0, count=1)


class Log:
    """The lines of the backend, of the library, and of amoCRM's own books."""

    def __init__(self, fake: FakeAmoCRM) -> None:
        """Start empty; times are those of ``fake``, which is running."""
        self._fake = fake
        self._entries: list[Entry] = []
        self._began = self.now()

    def now(self) -> float:
        """Return the demo's time in Unix seconds."""
        return self._fake.now().timestamp()

    def day(self) -> int:
        """Return which day of the demo it is, from 1."""
        return int((self.now() - self._began) // _DAY) + 1

    def add(self, lane: Lane, text: str, *, user: str = "", tone: Tone = "", at: float | None = None) -> None:
        """Write a line down. Safe to call from any thread."""
        self._entries.append(Entry(self.now() if at is None else at, lane, text, user, tone))

    def event(self, event: Event) -> None:
        """Write down what the library tells the application; to be passed as ``on_event``."""
        text, tone = _words(event)
        self.add("library", text, user=event.user_id, tone=tone)

    def view(self) -> list[dict[str, object]]:
        """Return the newest lines, oldest first, equal neighbours as one."""
        calls = [_call(request) for request in self._fake.requests if request.path != _TOKEN_PATH]
        spends = [_spend(seen) for seen in self._fake.presentations()]
        ordered = sorted([*self._entries, *calls, *spends], key=lambda entry: entry.at)
        return [asdict(entry) for entry in _grouped(ordered)[-_LENGTH:]]


def _grouped(entries: Iterable[Entry]) -> list[Entry]:
    grouped: list[Entry] = []
    for entry in entries:
        if grouped and grouped[-1].same_as(entry):
            grouped[-1] = replace(grouped[-1], count=grouped[-1].count + 1)
        else:
            grouped.append(entry)
    return grouped


def _words(event: Event) -> tuple[str, Tone]:
    match event:
        case Connected():
            return f"Connected: account {event.account_id} at {event.domain}", "good"
        case Refreshed():
            return "Refreshed: a new pair replaced the old one", "good"
        case ReauthorizationRequired():
            return f"ReauthorizationRequired: {event.reason}", "bad"
        case Disconnected():
            return "Disconnected: the stored row is deleted", ""
        case _:
            return type(event).__name__, ""


def _call(request: LoggedRequest) -> Entry:
    tone: Tone = "bad" if (request.status or _FIRST_ERROR) >= _FIRST_ERROR else ""
    text = f"{request.method} {request.path} → {request.status or 'no answer'}"
    return Entry(request.at, "amocrm", text, request.user, tone)


def _spend(seen: Presentation) -> Entry:
    what = f"{_GRANTS.get(seen.grant_type, seen.grant_type)} #{seen.fingerprint[:6]}"
    if seen.outcome == "issued":
        return Entry(seen.at, "amocrm", f"POST {_TOKEN_PATH}: {what} → new pair", seen.user, "good")
    why = f" ({seen.hint})" if seen.hint else ""
    return Entry(seen.at, "amocrm", f"POST {_TOKEN_PATH}: {what} → {seen.outcome}{why}", seen.user, "bad")


class WatchedTransport(httpx.AsyncBaseTransport):
    """Notes calls that never reached amoCRM; those that did are in amoCRM's own books."""

    def __init__(self, inner: httpx.AsyncBaseTransport, log: Log) -> None:
        """Send through ``inner``."""
        self._inner = inner
        self._log = log

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request on."""
        try:
            return await self._inner.handle_async_request(request)
        except httpx.TransportError:
            self._log.add("amocrm", f"{request.method} {request.url.path} → no connection", tone="bad")
            raise

    async def aclose(self) -> None:
        """Close ``inner``."""
        await self._inner.aclose()


class WatchedApp:
    """Notes what the phone asks of the backend: method and path, never a query."""

    def __init__(self, app: ASGIApp, *, log: Log, user_of: Callable[[str], str]) -> None:
        """Watch ``app``; ``user_of`` names the user of an ``Authorization`` header."""
        self._app = app
        self._log = log
        self._user_of = user_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer through the app."""
        if scope["type"] != "http" or not str(scope["path"]).startswith("/api/"):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, self._noting(scope, send))

    def _noting(self, scope: Scope, send: Send) -> Callable[[Message], Awaitable[None]]:
        began, headers = self._log.now(), dict(scope["headers"])
        user = self._user_of(headers.get(b"authorization", b"").decode("latin-1"))

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = int(message["status"])
                tone: Tone = "bad" if status >= _FIRST_ERROR else ""
                self._log.add("phone", f"{scope['method']} {scope['path']} → {status}", user=user, tone=tone, at=began)
            await send(message)

        return noting
