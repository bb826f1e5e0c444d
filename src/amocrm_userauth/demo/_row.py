"""The stored row of a user as the page shows it: fingerprints and lengths, never a secret."""

from datetime import datetime, timedelta

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncEngine

from amocrm_userauth import AsyncUserAuth, UserToken
from amocrm_userauth.testing import fingerprint

__all__ = ["stored_row"]

Field = dict[str, str]
_SECRETS = ("access_token", "refresh_token")


async def stored_row(
    auth: AsyncUserAuth, engine: AsyncEngine, table: Table, user_id: str, now: datetime
) -> list[Field]:
    """Return the columns of the user's row, ``[]`` if nothing is stored."""
    columns = [table.c[name] for name in _SECRETS]
    async with engine.connect() as connection:
        stored = (await connection.execute(select(*columns).where(table.c.user_id == user_id))).one_or_none()
    row = await auth.store.get(user_id)
    if stored is None or row is None:
        return []
    encrypted: dict[str, int] = dict(zip(_SECRETS, (len(value) for value in stored), strict=True))
    return [*_account(row), *_tokens(row, encrypted), *_times(row, now), *_health(row, now)]


def _field(name: str, value: object, tone: str = "") -> Field:
    return {"name": name, "value": str(value), "tone": tone}


def _account(row: UserToken) -> list[Field]:
    return [
        _field("user_id", row.user_id),
        _field("domain", row.pair.domain),
        _field("account_id", row.pair.account_id),
        _field("amocrm_user_id", row.pair.amocrm_user_id),
    ]


def _tokens(row: UserToken, encrypted: dict[str, int]) -> list[Field]:
    marks = {
        "access_token": fingerprint(row.pair.access_token)[:6],
        "refresh_token": fingerprint(row.pair.refresh_token)[:6],
    }
    return [_field(name, f"#{mark}, encrypted, {encrypted[name]} characters", "secret") for name, mark in marks.items()]


def _times(row: UserToken, now: datetime) -> list[Field]:
    gone = row.pair.expires_at <= now
    return [
        _field("expires_at", _distance(row.pair.expires_at - now), "bad" if gone else "good"),
        _field("pair_saved_at", _distance(row.pair_saved_at - now)),
        _field("revision", f"{row.revision[:8]}…"),
    ]


def _health(row: UserToken, now: datetime) -> list[Field]:
    leased = row.lease_until is not None and row.lease_until > now
    refused = row.reauth_reason is not None
    return [
        _field("lease", "held: a refresh is under way" if leased else "free"),
        _field("in_doubt", "yes" if row.in_doubt else "no", "bad" if row.in_doubt else ""),
        _field("failures", row.failures, "bad" if row.failures else ""),
        _field("retry_at", _distance(row.retry_at - now) if row.retry_at and row.retry_at > now else "–"),
        _field("reauth_reason", row.reauth_reason or "–", "bad" if refused else ""),
    ]


def _distance(time: timedelta) -> str:
    seconds = int(abs(time.total_seconds()))
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = seconds // size
            words = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"in {words}" if time > timedelta() else f"{words} ago"
    return "now"
