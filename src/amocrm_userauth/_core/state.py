"""The ``state`` value: random, signed, bound to the client and the user, expiring. Claiming it once is the store's."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.model import check_user_id
from amocrm_userauth.errors import ConfigurationError, InvalidState

__all__ = ["StateManager", "Ticket", "hash_code", "utc_now"]

_VERSION = "a1"
_SHAPE = re.compile(r"a1\.([A-Za-z0-9_-]{22})\.([0-9a-f]{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")
_LATEST = 32_503_680_000  # the year 3000: a signature is checked before the time is, so any number must be readable
_MIN_KEY = 16
_WHY = {
    "missing": "the state is missing; start the connection anew",
    "malformed": "the state is not one of ours; start the connection anew",
    "signature": "the state was not made here, or with a key that is gone; start the connection anew",
    "expired": "the state has expired; start the connection anew",
    "other_user": "the state was made for another user; start the connection anew",
}


def utc_now() -> datetime:
    """Return the current time, aware, UTC: the clock of a service that is given no other."""
    return datetime.now(UTC)


def hash_code(code: str) -> str:
    """Return what is remembered of an authorization code instead of the code."""
    return hashlib.sha256(b"code\0" + code.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A state whose signature and age are good: its nonce and user, both hashed, and when it expires."""

    nonce_hash: str
    user_hash: str
    expires_at: datetime


class StateManager:
    """Makes and checks state values. It keeps nothing: that a state is accepted once is the store's part.

    Args:
        integration: the client that a state is bound to.
        keys: secrets of at least 16 characters; the first one signs, all of them verify, so that a key can be
            rotated. Without any, a key is derived from the client secret (HKDF, RFC 5869).
        ttl: seconds that a state is good for. AmoCRM's codes live 20 minutes.
        clock: returns the current aware time.

    Raises:
        ConfigurationError: a key is too short, or the ttl is not positive.

    """

    def __init__(
        self,
        integration: Integration,
        keys: Iterable[str | bytes] = (),
        *,
        ttl: float = 1200,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        given = [keys] if isinstance(keys, (str, bytes)) else keys
        self._keys = [_Key(key, integration.client_id) for key in given] or [_derived(integration)]
        del keys, given
        self._ttl = timedelta(seconds=ttl)
        self._clock = clock
        faults = [key.fault for key in self._keys if key.fault]
        if faults:
            raise ConfigurationError(faults[0])
        if ttl <= 0:
            msg = "the state's ttl must be a positive number of seconds"
            raise ConfigurationError(msg)

    def issue(self, user_id: str) -> tuple[str, datetime]:
        """Return a new state for this user and the time at which it expires."""
        expires_at = (self._clock() + self._ttl).replace(microsecond=0)
        key = self._keys[0]
        nonce = secrets.token_urlsafe(16)
        head = f"{_VERSION}.{nonce}.{int(expires_at.timestamp()):x}.{key.tag(check_user_id(user_id))}"
        return f"{head}.{key.sign(head)}", expires_at

    def verify(self, state: object, *, user_id: str | None = None) -> Ticket:
        """Return what ``state`` proves, if it is ours, in time and (where given) this user's.

        Raises:
            InvalidState: with ``reason`` ``missing``, ``malformed``, ``signature``, ``expired`` or ``other_user``.

        """
        parts, missing = _Parts.of(state), not state
        del state
        if parts is None:
            fault: str | None = "missing" if missing else "malformed"
        else:
            fault = self._fault(parts, user_id)
        if parts is None or fault is not None:
            reason = fault or "malformed"
            raise InvalidState(_WHY[reason], reason=reason)
        return parts.ticket

    def user_hashes(self, user_id: str) -> list[str]:
        """Return this user's keyed hash under every key: what a stored record of theirs may hold."""
        return [key.tag(check_user_id(user_id)) for key in self._keys]

    @property
    def ttl(self) -> timedelta:
        """How long a state is good for."""
        return self._ttl

    def _fault(self, parts: "_Parts", user_id: str | None) -> str | None:
        key = next((key for key in self._keys if hmac.compare_digest(key.sign(parts.head), parts.signature)), None)
        if key is None:
            return "signature"
        if parts.ticket.expires_at <= self._clock():
            return "expired"
        if user_id is not None and not hmac.compare_digest(key.tag(check_user_id(user_id)), parts.ticket.user_hash):
            return "other_user"
        return None


class _Key:
    """One signing key, bound to the client; not shown by a rendered traceback."""

    __slots__ = ("_client", "_raw", "fault")

    def __init__(self, raw: str | bytes, client_id: str) -> None:
        self._raw = raw.encode(errors="surrogatepass") if isinstance(raw, str) else raw
        self._client = client_id.encode()
        self.fault = ""
        if not isinstance(self._raw, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - a variable that is not set
            self.fault = f"a state key is text or bytes, not {type(raw).__name__}"
        elif len(self._raw) < _MIN_KEY:
            self.fault = f"a state key needs at least {_MIN_KEY} characters; make one with secrets.token_urlsafe(32)"

    def tag(self, user_id: str) -> str:
        return _encode(self._mac(b"user", user_id.encode())[:16])

    def sign(self, head: str) -> str:
        return _encode(self._mac(b"state", head.encode()))

    def _mac(self, purpose: bytes, message: bytes) -> bytes:
        fields = (purpose, self._client, message)
        framed = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
        return hmac.new(self._raw, framed, hashlib.sha256).digest()


class _Parts:
    """A state taken apart; not shown by a rendered traceback."""

    __slots__ = ("head", "signature", "ticket")

    def __init__(self, shape: re.Match[str]) -> None:
        self.head = shape[0].rpartition(".")[0]
        self.signature = shape[4]
        self.ticket = Ticket(
            nonce_hash=hashlib.sha256(b"nonce\0" + shape[1].encode()).hexdigest(),
            user_hash=shape[3],
            expires_at=datetime.fromtimestamp(min(int(shape[2], 16), _LATEST), UTC),
        )

    @classmethod
    def of(cls, state: object) -> "_Parts | None":
        shape = _SHAPE.fullmatch(state) if isinstance(state, str) else None
        return cls(shape) if shape else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _derived(integration: Integration) -> _Key:
    # HKDF-SHA256 for one block: extract, then expand (RFC 5869 sections 2.2 and 2.3)
    extracted = hmac.new(b"amocrm_userauth", integration.client_secret.encode(), hashlib.sha256).digest()
    return _Key(hmac.new(extracted, b"state\x01", hashlib.sha256).digest(), integration.client_id)
