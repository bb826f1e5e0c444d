"""When a pair is due, how long a cool-down lasts, and what a row says of its connection."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.model import ConnectionStatus, UserToken
from amocrm_userauth.errors import ConfigurationError

__all__ = [
    "cool_down",
    "cooling_down",
    "due_at",
    "expires_at",
    "fingerprint",
    "grant_dies_at",
    "may_answer_rejection",
    "status_of",
]

_REJECTION_PAUSE = timedelta(minutes=1)
_CLOCK_AHEAD = timedelta(minutes=15)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


def due_at(token: UserToken, leeway: float) -> datetime:
    """Return when the pair should be refreshed ahead of time.

    That is ``leeway`` seconds (at most a quarter of its life) before it expires, less up to half of that by user, so
    that a fleet does not refresh at one moment.
    """
    end = expires_at(token)
    ahead = min(leeway, (end - token.pair_saved_at).total_seconds() / 4)
    return end - timedelta(seconds=ahead * (1 - _share(token.user_id) / 2))


def expires_at(token: UserToken) -> datetime:
    """Return when the access token runs out, on the local clock.

    A pair that had run out when it was stored shows a local clock that is far ahead of amoCRM's: it is taken for good
    for a while, or it would be refreshed at every call.
    """
    if token.pair.expires_at > token.pair_saved_at:
        return token.pair.expires_at
    return token.pair_saved_at + _CLOCK_AHEAD


def cooling_down(token: UserToken, now: datetime, fingerprint: str) -> bool:
    """Say whether this user is left alone after a failure; one of the client's settings binds only who has the same."""
    if token.retry_at is None or token.retry_at <= now:
        return False
    code, _, settings = token.failure.partition(":")
    return code != ConfigurationError.code or settings == fingerprint


def _share(user_id: str) -> float:
    digest = hashlib.blake2b(user_id.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


def cool_down(failures: int, wait: float | None) -> timedelta:
    """Return the pause after the ``failures``-th transient failure in a row; ``wait`` is what amoCRM asked for."""
    pause = min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE)
    return timedelta(seconds=max(pause, wait or 0.0))


def grant_dies_at(saved_at: datetime) -> datetime:
    """Return when a refresh token stored at ``saved_at`` dies of silence: three calendar months later.

    An overflowing day runs into the next month, as the server's own date arithmetic does.
    """
    months = saved_at.year * 12 + saved_at.month - 1 + 3
    first = saved_at.replace(year=months // 12, month=months % 12 + 1, day=1)
    return first + timedelta(days=saved_at.day - 1)


def may_answer_rejection(token: UserToken, now: datetime) -> bool:
    """Say whether a 401 of the API may lead to a refresh: at most once a minute for one user."""
    return token.rejected_at is None or now - token.rejected_at >= _REJECTION_PAUSE


def status_of(token: UserToken | None, integration: Integration, now: datetime) -> ConnectionStatus:
    """Return what the row says, with the integration's defaults where there is none."""
    if token is None:
        return ConnectionStatus(
            connected=False,
            has_tokens=False,
            domain=integration.account_domain,
            account_id=integration.account_id,
        )
    pair = token.pair
    alive = now < expires_at(token) or now < grant_dies_at(token.pair_saved_at)
    return ConnectionStatus(
        connected=token.reauth_reason is None and alive,
        has_tokens=True,
        domain=pair.domain,
        account_id=pair.account_id or integration.account_id,
        amocrm_user_id=pair.amocrm_user_id,
        reauth_reason=token.reauth_reason,
        expires_at=pair.expires_at.astimezone(UTC),
        refreshed_at=token.pair_saved_at.astimezone(UTC),
    )


def fingerprint(integration: Integration) -> str:
    """Return a short mark of the client's settings: a cool-down for a wrong one binds only who has the same."""
    settings = f"{integration.client_id}\0{integration.redirect_uri}".encode()
    return hmac.new(integration.client_secret.encode(), b"settings\0" + settings, hashlib.sha256).hexdigest()[:8]
