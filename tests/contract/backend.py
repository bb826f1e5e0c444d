"""What the contract's cases need of a web application: a driver that each adapter implements for its framework."""

import json as jsonlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from amocrm_userauth import ConnectionStatus, UserToken
from amocrm_userauth.testing import FakeAmoCRM

DEEP_LINK = "foryouapp://amo-crm/callback?from=amo"
_NOTHING = object()


class Clock:
    """The time of the service and of the fake, moved by hand."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._lock = Lock()

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def advance(self, **step: float) -> None:
        with self._lock:
            self._now += timedelta(**step)


@dataclass(frozen=True)
class Ask:
    """One request. ``user`` is who is logged in; ``json`` or ``content`` is the body; ``query`` keeps repetitions."""

    method: str
    path: str
    user: str | None = None
    json: object = _NOTHING
    content: bytes | None = None
    query: Sequence[tuple[str, str]] = ()
    raw_query: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes | None:
        return self.content if self.json is _NOTHING else jsonlib.dumps(self.json).encode()

    @property
    def all_headers(self) -> dict[str, str]:
        kind = {} if self.json is _NOTHING else {"Content-Type": "application/json"}
        login = {} if self.user is None else {"Authorization": f"Bearer {self.user}"}
        return {**kind, **login, **self.headers}


@dataclass(frozen=True)
class Reply:
    """One answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> object:
        return jsonlib.loads(self.text)

    @property
    def code(self) -> object:
        """The code of an error in the envelope, after a look at the envelope."""
        body = self.json()
        assert isinstance(body, dict)
        assert body.keys() == {"success", "error"}, body
        assert body["success"] is False
        assert body["error"].keys() == {"code", "message"}
        assert isinstance(body["error"]["message"], str)
        return body["error"]["code"]


class Backend(ABC):
    """A running application with the endpoints at ``mount``, for users who log in with ``Authorization: Bearer <id>``.

    The user ``nobody`` is refused by the application with a 403, the user ``reauth`` with a 401 of its own.
    """

    mount: str
    fake: FakeAmoCRM
    clock: Clock

    @abstractmethod
    def send(self, *asks: Ask) -> list[Reply]:
        """Send all at once and return the answers in the same order."""

    @abstractmethod
    def row(self, user: str) -> UserToken | None:
        """Return what the store has for the user."""

    @abstractmethod
    def access_token(self, user: str) -> str:
        """Ask the service for the user's token, as a worker would."""

    @abstractmethod
    def refresh(self, user: str) -> ConnectionStatus:
        """Let the service refresh."""

    def ask(self, method: str, path: str, user: str | None = None, **more) -> Reply:
        """Send one request to an endpoint."""
        return self.send(Ask(method, path, user, **more))[0]

    def begin(self, user: str) -> str:
        """Ask for the authorize URL and return the state."""
        data = self.ask("GET", "authorize-url", user).json()["data"]
        return data["state"]

    def consented(self, user: str, account: str = "example") -> dict[str, str]:
        """Begin, let the user allow it at amoCRM, and return the parameters of the redirect."""
        return self.fake.callback(user, account, self.begin(user))

    def exchange(self, user: str, answer: Mapping[str, str]) -> Reply:
        """Post what the app got from the redirect."""
        body = {key: answer[key] for key in ("code", "state", "referer") if key in answer}
        return self.ask("POST", "exchange-code", user, json=body)

    def connected(self, user: str, account: str = "example") -> None:
        """Connect a user, as the app does."""
        reply = self.exchange(user, self.consented(user, account))
        assert reply.status == 200, reply
