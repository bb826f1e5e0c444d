"""The verbs and books of a fake as methods, wherever the fake runs."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from amocrm_userauth.testing._fake.books import LedgerEntry, LoggedRequest, Presentation
from amocrm_userauth.testing._fake.control import Backend
from amocrm_userauth.testing._fake.server import Server

__all__ = ["Handle", "Hold", "IssuedPair"]

_POLL = 0.005
_PATIENCE = 10.0

On = Literal["token", "api", "lookup", "any"]
At = Literal["before", "after"]
Kind = Literal["json", "html", "plain", "empty", "truncated", "cut", "silence"]


@dataclass(frozen=True, slots=True)
class IssuedPair:
    """A pair that the fake issued. ``state`` of its refresh token: ``alive``, ``spent`` or ``killed``."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    fingerprint: str
    state: str
    expires_at: datetime


class _Pair(Protocol):
    @property
    def access_token(self) -> str: ...
    @property
    def refresh_token(self) -> str: ...


class _Event(Protocol):
    def is_set(self) -> bool: ...
    def wait(self, timeout: float | None = None) -> bool: ...


class _RemoteEvent:
    def __init__(self, backend: Backend, number: int) -> None:
        self._backend = backend
        self._number = number

    def is_set(self) -> bool:
        return bool(self._backend.run("has_arrived", {"number": self._number}))

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(_POLL)
        return True


class Hold:
    """A request that waits inside the fake. ``arrived`` is a ``threading.Event`` (or the like) set when it is there."""

    def __init__(self, backend: Backend, number: int) -> None:
        """Made by :meth:`FakeAmoCRM.hold_next`."""
        self._backend = backend
        self._number = number
        local = backend.verbs.held(number).arrived if isinstance(backend, Server) else None
        self.arrived: _Event = local or _RemoteEvent(backend, number)

    def wait_arrived(self, timeout: float = _PATIENCE) -> None:
        """Wait until the request is there. Raises ``TimeoutError`` after ``timeout`` seconds."""
        if not self.arrived.wait(timeout):
            msg = "no request came to the place where it was to be held"
            raise TimeoutError(msg)

    async def async_wait_arrived(self, timeout: float = _PATIENCE) -> None:  # noqa: ASYNC109 - as its twin
        """Do the same without blocking the event loop, which may be the one that sends the request."""
        await asyncio.to_thread(self.wait_arrived, timeout)

    def release(self, *, drop: bool = False) -> None:
        """Let the request go on; with ``drop`` its answer is never sent and the connection ends."""
        self._backend.run("release", {"number": self._number, "drop": drop})


class NotStarted:
    """The backend of a fake that does not run yet."""

    @property
    def url(self) -> str:
        """Say what is missing."""
        return str(self.run("", {}))

    @property
    def control_url(self) -> str:
        """Say what is missing."""
        return str(self.run("", {}))

    def run(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Say what is missing."""
        del verb, arguments
        msg = "this fake amoCRM is not running; use it in a with block, or call start()"
        raise RuntimeError(msg)


class Handle:
    """What can be done to a fake amoCRM, and what it has seen. Safe to call from any thread.

    ``user`` is a name of your choice, such as ``"anna"``. A failure that is arranged with a ``..._next`` verb meets
    that user's next request of the kind ``on`` (``"token"``: the token endpoint, ``"api"``, ``"lookup"``: the look-ups
    of an account's address, ``"any"``); ``user=None`` means anybody's. One request meets at most one failure, in the
    order they were arranged. ``at="before"`` is before amoCRM did its work, ``"after"`` is before it answers.
    """

    _backend: Backend = NotStarted()

    def _run(self, verb: str, **arguments: Any) -> Any:
        return self._backend.run(verb, arguments)

    def now(self) -> datetime:
        """Return the fake's time."""
        return datetime.fromtimestamp(self._run("now"), UTC)

    def advance(self, seconds: float) -> None:
        """Let the fake's clock jump ahead: codes and tokens age."""
        self._run("advance", seconds=seconds)

    def expire(self, user: str) -> None:
        """Let the user's access tokens die at amoCRM now, whatever their ``exp`` says."""
        self._run("expire", user=user)

    def expire_refresh(self, user: str) -> None:
        """Let the user's refresh tokens be past their three months."""
        self._run("expire_refresh", user=user)

    def revoke(self, user: str) -> None:
        """End the user's grants, as an administrator can."""
        self._run("revoke", user=user)

    def disable(self, user: str) -> None:
        """Switch the integration off in the user's account: the grants of everybody there end."""
        self._run("disable", user=user)

    def deactivate(self, user: str) -> None:
        """Let the API answer 401 for this user although their tokens are fresh; a refresh still works."""
        self._run("set_active", user=user, active=False)

    def activate(self, user: str) -> None:
        """Take :meth:`deactivate` back."""
        self._run("set_active", user=user, active=True)

    def rename_account(self, user: str, subdomain: str) -> str:
        """Move the user's account to another subdomain and return the new host; the old one is unknown from now on."""
        return str(self._run("rename_account", user=user, subdomain=subdomain))

    def fail_next(
        self,
        user: str | None,
        *,
        status: int = 500,
        kind: Kind | None = None,
        body: str | None = None,
        content_type: str = "application/json",
        retry_after: int = 300,
        headers: tuple[tuple[str, str], ...] = (),
        times: int = 1,
        on: On = "token",
    ) -> None:
        """Let the next requests fail.

        Args:
            user: whose; ``None``: anybody's.
            status: the status of ``json``, ``html``, ``plain``, ``empty`` and of ``body``.
            kind: ``json`` (amoCRM's problem body; 429 has ``retry_after`` in it), ``html`` (nginx's page, the default
                for 403, 502, 503 and 504), ``plain`` (text), ``empty``, ``silence`` (the connection ends without an
                answer). With these, amoCRM does no work. ``truncated`` (a complete answer with half its JSON) and
                ``cut`` (the connection ends in the middle of the answer) come after the work was done.
            body: this very body instead.
            content_type: the type of ``body``.
            retry_after: the seconds in the body of a 429.
            headers: more headers of the answer, such as ``(("retry-after", "5"),)``.
            times: how many requests fail.
            on: which requests.

        """
        more: dict[str, Any] = {"content_type": content_type, "retry_after": retry_after, "headers": list(headers)}
        self._run("fail", user=user, kind=kind, body=body, status=status, times=times, on=on, **more)

    def drop_answer_next(self, user: str | None, *, times: int = 1, on: On = "token") -> None:
        """Let amoCRM do its work (rotate the token) and lose the answer: the connection ends."""
        self._arrange(user, "drop", times=times, on=on)

    def delay_next(
        self, user: str | None, seconds: float, *, at: At = "before", times: int = 1, on: On = "token"
    ) -> None:
        """Let the next request wait for some seconds of real time."""
        self._arrange(user, "pause", seconds=seconds, at=at, times=times, on=on)

    def drip_next(self, user: str | None, interval: float = 0.1, *, times: int = 1, on: On = "token") -> None:
        """Let amoCRM do its work and send the body a byte at a time, ``interval`` seconds apart."""
        self._arrange(user, "drip", seconds=interval, times=times, on=on)

    def hold_next(self, user: str | None, *, at: At = "before", on: On = "token") -> Hold:
        """Stop the next request inside amoCRM until :meth:`Hold.release`."""
        return Hold(self._backend, self._run("hold", user=user, on=on, at=at))

    def _arrange(self, user: str | None, kind: str, **more: Any) -> None:
        self._run("fail", user=user, kind=kind, body=None, status=500, headers=[], **more)

    def clear_faults(self) -> None:
        """Forget arranged failures and release held requests."""
        self._run("clear_faults")

    def down(self, *, status: int | None = None) -> None:
        """Take amoCRM down: connections are refused and those there are cut, or every answer is ``status``."""
        self._run("down", status=status)

    def up(self) -> None:
        """Take :meth:`down` back; the address stays."""
        self._run("up")

    def token_calls(self, user: str | None = None, grant_type: str | None = None) -> int:
        """Count the calls of the token endpoint, refused and failed ones too (of one user, of one grant type)."""
        return len(self._run("presentations", user=user, grant_type=grant_type))

    def presentations(self, user: str | None = None, grant_type: str | None = None) -> list[Presentation]:
        """Return what was presented at the token endpoint and what came of it, oldest first."""
        return [Presentation(**seen) for seen in self._run("presentations", user=user, grant_type=grant_type)]

    def ledger(self) -> list[LedgerEntry]:
        """Return every pair that was ever issued, oldest first, without its tokens: what an audit needs."""
        return [LedgerEntry(**entry) for entry in self._run("ledger")]

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every request so far, oldest first; nothing secret is in it."""
        return [LoggedRequest(**entry) for entry in self._run("requests")]

    def accepts(self, refresh_token: str, user: str | None = None) -> bool:
        """Say whether amoCRM would take this refresh token now (and whether it is this user's); nothing is spent."""
        return bool(self._run("accepts", refresh_token=refresh_token, user=user))

    def accepts_access(self, access_token: str) -> bool:
        """Say whether the API would take this access token now at its own account."""
        return bool(self._run("access_is_good", access_token=access_token))

    def is_alive(self, token: str | _Pair, user: str) -> bool:
        """Say whether this refresh token, or whole pair, is this user's and can be refreshed now."""
        if isinstance(token, str):
            return self.accepts(token, user)
        whole = self._run("same_pair", refresh_token=token.refresh_token, access_token=token.access_token)
        return bool(whole) and self.accepts(token.refresh_token, user)

    def alive_pair(self, user: str) -> IssuedPair | None:
        """Return the newest pair of the user that can be refreshed, ``None`` if there is none."""
        seen = self._run("alive_pair", user=user)
        return None if seen is None else _issued(seen)

    def pairs(self, user: str) -> list[IssuedPair]:
        """Return every pair that the user ever got, oldest first."""
        return [_issued(seen) for seen in self._run("pairs", user=user)]


def _issued(seen: dict[str, Any]) -> IssuedPair:
    return IssuedPair(expires_at=datetime.fromtimestamp(seen.pop("expires_at"), UTC), **seen)
