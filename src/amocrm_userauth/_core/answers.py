"""What the token endpoint's answers mean.

The server is league/oauth2-server by its hints; depending on its version refresh-token hints come with 401 or 400,
so the hint decides and the status does not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import cast

from amocrm_userauth._core.claims import Claims, read_claims
from amocrm_userauth._core.hosts import trusted_host
from amocrm_userauth._core.model import TokenPair
from amocrm_userauth.errors import UntrustedHost

__all__ = [
    "Answer",
    "CodeRefused",
    "Elsewhere",
    "Granted",
    "Late",
    "Misconfigured",
    "NotUnderstood",
    "Refused",
    "Reply",
    "Transient",
    "read_answer",
    "read_json",
    "retry_after",
]

_OK = 200
_BAD_REQUEST = 400
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_SERVER_ERROR = 500
_BLOCKED = (402, 403, 429)
_EARLIEST, _LATEST = 946_684_800, 4_102_444_800  # the years 2000 and 2100
_USUAL_LIFETIME, _MAX_LIFETIME = 86_400, 10 * 366 * 86_400
_USUAL_DIGITS = 12
_MAX_TOKEN = 16_384
_MAX_RETRY_AFTER = 3_600.0

_REFUSALS = {
    "token has been revoked": "revoked",
    "token has expired": "expired",
    "cannot decrypt the refresh token": "undecryptable",
}
_CODE_REFUSALS = (
    "authorization code has expired",
    "authorization code has been revoked",
    "cannot decrypt the authorization code",
)
_REDIRECT = "redirect_uri differs from the registered one; compare every character"
_MISCONFIGURED = {
    "check the `client_id` parameter": "client_id is not known to amoCRM; check the integration's id",
    "check the `client_secret` parameter": "client_secret is wrong; copy it again from the integration's page",
    "redirect uri is not associated with client": _REDIRECT,
    "check the `redirect_uri` parameter": _REDIRECT,
    "token is not linked to client": "this grant belongs to another integration; check client_id or connect again",
    "authorization code was not issued to this client": "this code belongs to another integration; check client_id",
}
_WRONG_CLIENT = "некорректный клиент"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer, read to its end. ``headers`` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: "bytes | bytearray"

    def __repr__(self) -> str:
        """Show the status only: bodies hold tokens."""
        return f"Reply({self.status})"


@dataclass(frozen=True, slots=True)
class Granted:
    """A new pair."""

    pair: TokenPair


@dataclass(frozen=True, slots=True)
class Refused:
    """The refresh token is no good; ``reason`` as in ``GrantRevoked``."""

    reason: str


@dataclass(frozen=True, slots=True)
class CodeRefused:
    """The authorization code is no good."""


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """The client, secret or redirect URI is not what amoCRM knows; ``message`` says which."""

    message: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The account may have moved to another host; ``otherwise`` is what the answer means if it has not."""

    otherwise: "Misconfigured | NotUnderstood | Transient"


@dataclass(frozen=True, slots=True)
class Transient:
    """No answer of use. ``doubt``: the token may have been spent. ``wait``: seconds that amoCRM asked for."""

    message: str
    doubt: bool
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """An answer that means nothing to us. ``doubt`` as in :class:`Transient`."""

    message: str
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class Late:
    """Nothing was sent: the time of the lease was over."""


Answer = Granted | Refused | CodeRefused | Misconfigured | Elsewhere | Transient | NotUnderstood | Late


def read_json(body: bytes | bytearray) -> Mapping[str, object]:
    """Return the JSON object in ``body``, or an empty one if there is none."""
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}


def read_answer(reply: Reply, *, domain: str, suffixes: tuple[str, ...], now: datetime) -> Answer:
    """Classify a reply of ``POST /oauth2/access_token`` that came from ``domain``; ``now`` is the local clock."""
    fields = read_json(reply.body)
    if reply.status == _OK:
        return _read_grant(fields, domain=domain, suffixes=suffixes, now=now)
    if reply.status in _BLOCKED:
        return Transient(f"amoCRM answered {reply.status}", doubt=False, wait=retry_after(reply, fields, now))
    if reply.status >= _SERVER_ERROR:
        return Transient(f"amoCRM answered {reply.status}", doubt=True, wait=retry_after(reply, fields, now))
    if reply.status == _NOT_FOUND:
        return Elsewhere(NotUnderstood("amoCRM does not know the account's host (404); has the account moved or gone?"))
    if reply.status in {_BAD_REQUEST, _UNAUTHORIZED}:
        return _read_refusal(reply.status, fields)
    return NotUnderstood(f"amoCRM answered {reply.status} to a token request", doubt=True)


def _read_refusal(status: int, fields: Mapping[str, object]) -> Answer:
    hint = _lower(fields.get("hint"))
    if hint in _REFUSALS:
        return Refused(_REFUSALS[hint])
    if hint in _CODE_REFUSALS:
        return CodeRefused()
    if hint in _MISCONFIGURED:
        return Misconfigured(_MISCONFIGURED[hint])
    if not fields:
        # a page or a broken body says nothing about the grant (docs/concepts/grant.md)
        nothing = Transient(f"amoCRM answered {status} without JSON", doubt=False)
        return Elsewhere(nothing) if status == _UNAUTHORIZED else nothing
    return _read_unclear(status, hint, _lower(fields.get("title")))


def _read_unclear(status: int, hint: str, title: str) -> Answer:
    if hint == "invalid account":
        return Elsewhere(NotUnderstood("amoCRM says that this host is not the account's"))
    otherwise = (
        Misconfigured("amoCRM does not accept the client: check client_id, client_secret and redirect_uri")
        if title == _WRONG_CLIENT and not hint
        else NotUnderstood(f"amoCRM answered {status} to a token request with an unknown hint")
    )
    return Elsewhere(otherwise) if status == _UNAUTHORIZED else otherwise


def _lower(value: object) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _read_grant(fields: Mapping[str, object], *, domain: str, suffixes: tuple[str, ...], now: datetime) -> Answer:
    access, refresh = fields.get("access_token"), fields.get("refresh_token")
    if not (_is_token(access) and _is_token(refresh)):
        if not fields:
            return Transient("amoCRM answered 200 with a broken body", doubt=True)
        return NotUnderstood("amoCRM answered 200 without a usable token pair", doubt=True)
    claims = read_claims(cast("str", access))
    pair = TokenPair(
        access_token=cast("str", access),
        refresh_token=cast("str", refresh),
        token_type="Bearer",  # noqa: S106 - amoCRM knows no other type
        expires_at=_issued(fields, now) + timedelta(seconds=_lifetime(fields.get("expires_in"))),
        account_id=claims.account_id,
        amocrm_user_id=claims.user_id,
        domain=domain,
        api_domain=_api_domain(claims, suffixes),
        scopes=claims.scopes,
    )
    return Granted(pair)


def _is_token(value: object) -> bool:
    # visible ASCII only: a token goes into a header (RFC 6750 section 2.1)
    return isinstance(value, str) and 0 < len(value) <= _MAX_TOKEN and value.isascii() and _visible(value)


def _visible(value: str) -> bool:
    return value.isprintable() and " " not in value


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _lifetime(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < _USUAL_DIGITS:
        value = int(value)
    # the old pair is spent, so this one is not dropped for a lifetime that cannot be right
    return cast("int", value) if _is_int(value, 1, _MAX_LIFETIME) else _USUAL_LIFETIME


def _issued(fields: Mapping[str, object], now: datetime) -> datetime:
    server_time = fields.get("server_time")
    if _is_int(server_time, _EARLIEST, _LATEST):
        return datetime.fromtimestamp(cast("int", server_time), UTC)
    return now


def _api_domain(claims: Claims, suffixes: tuple[str, ...]) -> str:
    try:
        return trusted_host(claims.api_domain, suffixes)
    except UntrustedHost:
        return ""


def retry_after(reply: Reply, fields: Mapping[str, object], now: datetime) -> float | None:
    """Return how many seconds amoCRM asks to wait, from the body or the header, within an hour; ``None`` if unsaid."""
    wait = _seconds(fields.get("retry_after"))
    if wait is None:
        wait = _seconds(reply.headers.get("retry-after"))
    return wait if wait is not None else _until(reply.headers.get("retry-after"), now)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return min(number, _MAX_RETRY_AFTER) if number >= 0 else None


def _until(value: str | None, now: datetime) -> float | None:
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return min(max((moment - now).total_seconds(), 0.0), _MAX_RETRY_AFTER)
    except (ValueError, TypeError, OverflowError):
        return None
