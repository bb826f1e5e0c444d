"""What ``refresh_due`` adds to the token calls that it makes, without a rate.

Against a loop of the same calls with httpx. A database on a disk waits for the disk at every commit, so there the loop
makes the two writes that keep a token from being spent twice or lost: one before the call, one after it.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy import Engine, MetaData, bindparam, create_engine, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, Integration, MemoryTokenStore, UserAuth
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore, token_table
from amocrm_userauth.testing import FakeAmoCRM
from benchmarks.figures import Figure, Length, at_most, compare, compare_async, not_measured, seconds_text
from benchmarks.rows import row
from benchmarks.servers import Missing, database, on

__all__ = ["on_database", "run"]

_BAR = 2.0
_LONG_AGO = timedelta(days=40)
_bare = token_table(MetaData(), "bare_tokens")
_of_user = update(_bare).where(_bare.c.user_id == bindparam("user"))
_spend = _of_user.values(lease_holder="bare", lease_until=bindparam("until"))
_keep = _of_user.values(
    access_token=bindparam("access"), refresh_token=bindparam("refresh"), lease_holder=None, lease_until=None
)


def run(length: Length) -> Iterator[Figure]:
    with FakeAmoCRM(process=True, rate_limit=None) as fake:
        job = _Job(fake, [f"user-{number}" for number in range(length.of(50, 4))], length.of(9, 1))
        name = f"refresh_due, {{}}, {len(job.users)} users, memory, no rate / httpx loop"
        yield at_most(name.format("sync"), *_sync(job, MemoryTokenStore(), None), _BAR, show=seconds_text)
        figures = asyncio.run(_async(job, AsyncMemoryTokenStore(), None))
        yield at_most(name.format("async"), *figures, _BAR, show=seconds_text)
        with tempfile.TemporaryDirectory() as folder:
            url, async_url = f"sqlite:///{folder}/tokens.sqlite", f"sqlite+aiosqlite:///{folder}/async.sqlite"
            yield from on_database("SQLite", url, async_url, job)
        try:
            with database("postgresql") as server:
                yield from on_database("PostgreSQL", on(server, "psycopg"), on(server, "asyncpg"), job)
        except Missing as missing:
            yield not_measured("refresh_due, PostgreSQL, no rate / httpx loop + 2 updates each", str(missing))


@dataclass(slots=True)
class _Job:
    """Users of a fake, and how often they are refreshed."""

    fake: FakeAmoCRM
    users: list[str]
    repeats: int
    integration: Integration = field(init=False)
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.integration = self.fake.integration()
        self.fake.authorize(self.users[0])
        self.url = f"https://{self.fake.host(self.users[0])}/oauth2/access_token"

    def body(self, grant_type: str, name: str, value: str) -> dict[str, str]:
        """Return what a token call posts."""
        return {
            "client_id": self.integration.client_id,
            "client_secret": self.integration.client_secret,
            "grant_type": grant_type,
            "redirect_uri": self.integration.redirect_uri,
            name: value,
        }

    def new_tokens(self) -> dict[str, str]:
        """Return a refresh token for each user."""
        with self.fake.http_client() as http:
            bodies = {user: self.body("authorization_code", "code", self.fake.authorize(user)) for user in self.users}
            return {user: _pair(http.post(self.url, json=body))["refresh_token"] for user, body in bodies.items()}

    def rows(self) -> Iterator:
        """Return a row for each user, that is due."""
        for user, token in self.new_tokens().items():
            yield row(user, saved_ago=_LONG_AGO, refresh_token=token, client_id=self.integration.client_id)


def on_database(name: str, url: str, async_url: str, job: _Job) -> Iterator[Figure]:
    """Measure both worlds, each on a database that gets the tables and users."""
    name = f"refresh_due, {{}}, {len(job.users)} users, {name}, no rate / httpx loop + 2 updates each"
    engine = create_engine(url)
    figures = _sync(job, SQLAlchemyTokenStore(engine), engine)
    engine.dispose()
    yield at_most(name.format("sync"), *figures, _BAR, show=seconds_text)
    yield at_most(name.format("async"), *asyncio.run(_on_async_url(job, async_url)), _BAR, show=seconds_text)


async def _on_async_url(job: _Job, url: str) -> tuple[float, float]:
    engine = create_async_engine(url)
    figures = await _async(job, AsyncSQLAlchemyTokenStore(engine), engine)
    await engine.dispose()
    return figures


def _pair(response: httpx.Response) -> dict[str, str]:
    return response.raise_for_status().json()


def _spending(user: str) -> dict[str, object]:
    return {"user": user, "until": datetime.now(UTC) + timedelta(seconds=90)}


def _keeping(user: str, pair: dict[str, str]) -> dict[str, object]:
    return {"user": user, "access": pair["access_token"], "refresh": pair["refresh_token"]}


def _sync(job: _Job, store: MemoryTokenStore | SQLAlchemyTokenStore, engine: Engine | None) -> tuple[float, float]:
    if engine is not None:
        store.create_schema()
        bare = SQLAlchemyTokenStore(engine, table=_bare)
        bare.create_schema()
        for user in job.users:
            bare.put(row(user))
    for due in job.rows():
        store.put(due)
    tokens = job.new_tokens()

    def write(statement: object, values: dict[str, object]) -> None:
        if engine is not None:
            with engine.begin() as connection:
                connection.execute(statement, values)

    with job.fake.http_client() as http, UserAuth(job.integration, store, http=http) as auth:

        def ours() -> None:
            report = auth.refresh_due(older_than=datetime.now(UTC), rate=None)
            assert report.refreshed == len(job.users), report

        def baseline() -> None:
            for user in job.users:
                write(_spend, _spending(user))
                pair = _pair(http.post(job.url, json=job.body("refresh_token", "refresh_token", tokens[user])))
                write(_keep, _keeping(user, pair))
                tokens[user] = pair["refresh_token"]

        return compare(ours, baseline, repeats=job.repeats, per=len(job.users))


async def _async(
    job: _Job, store: AsyncMemoryTokenStore | AsyncSQLAlchemyTokenStore, engine: AsyncEngine | None
) -> tuple[float, float]:
    if engine is not None:
        await store.create_schema()
        bare = AsyncSQLAlchemyTokenStore(engine, table=_bare)
        await bare.create_schema()
        for user in job.users:
            await bare.put(row(user))
    for due in job.rows():
        await store.put(due)
    tokens = job.new_tokens()

    async def write(statement: object, values: dict[str, object]) -> None:
        if engine is not None:
            async with engine.begin() as connection:
                await connection.execute(statement, values)

    async with job.fake.async_http_client() as http, AsyncUserAuth(job.integration, store, http=http) as auth:

        async def ours() -> None:
            report = await auth.refresh_due(older_than=datetime.now(UTC), rate=None)
            assert report.refreshed == len(job.users), report

        async def baseline() -> None:
            for user in job.users:
                await write(_spend, _spending(user))
                body = job.body("refresh_token", "refresh_token", tokens[user])
                pair = _pair(await http.post(job.url, json=body))
                await write(_keep, _keeping(user, pair))
                tokens[user] = pair["refresh_token"]

        return await compare_async(ours, baseline, repeats=job.repeats, per=len(job.users))
