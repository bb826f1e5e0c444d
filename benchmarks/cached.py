"""``access_token`` of a valid token with ``cache_ttl`` on, against a dict and a comparison of aware datetimes."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, MemoryTokenStore, UserAuth
from benchmarks.figures import Figure, Length, at_most, compare, compare_async, seconds_text
from benchmarks.rows import INTEGRATION, names, row

__all__ = ["run"]

_BAR = 2.0
_TTL = 3600


def run(length: Length) -> Iterator[Figure]:
    users = names(length.of(10_000, 200))
    repeats = length.of(31, 2)
    yield _sync(users, repeats)
    yield asyncio.run(_async(users, repeats))


def _known(users: list[str]) -> dict[str, tuple[str, datetime]]:
    until = datetime.now(UTC) + timedelta(seconds=_TTL)
    return {user: (row(user).pair.access_token, until + timedelta(microseconds=at)) for at, user in enumerate(users)}


def _sync(users: list[str], repeats: int) -> Figure:
    store, known = MemoryTokenStore(), _known(users)
    for user in users:
        store.put(row(user))

    def look_up(user: str) -> str | None:
        token, until = known[user]
        return token if datetime.now(UTC) < until else None

    with UserAuth(INTEGRATION, store, cache_ttl=_TTL) as auth:

        def ours() -> None:
            for user in users:
                auth.access_token(user)

        def baseline() -> None:
            for user in users:
                look_up(user)

        figures = compare(ours, baseline, repeats=repeats, per=len(users))
    return at_most(f"cached token, sync, {len(users)} users / dict", *figures, _BAR, show=seconds_text)


async def _async(users: list[str], repeats: int) -> Figure:
    store, known = AsyncMemoryTokenStore(), _known(users)
    for user in users:
        await store.put(row(user))

    async def look_up(user: str) -> str | None:
        token, until = known[user]
        return token if datetime.now(UTC) < until else None

    async with AsyncUserAuth(INTEGRATION, store, cache_ttl=_TTL) as auth:

        async def ours() -> None:
            for user in users:
                await auth.access_token(user)

        async def baseline() -> None:
            for user in users:
                await look_up(user)

        figures = await compare_async(ours, baseline, repeats=repeats, per=len(users))
    return at_most(f"cached token, async, {len(users)} users / dict", *figures, _BAR, show=seconds_text)
