"""A commit whose answer is lost: was it done? Each step of the store, on each driver, comes to the right end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from amocrm_userauth._core.model import Failure
from amocrm_userauth.errors import StoreUnavailable
from tests.databases.kit import DRIVERS, NOW, SERVERS, Given, address_of, claim, lease, opened, together, token
from tests.databases.proxy import Once, Proxy, proxy


@asynccontextmanager
async def behind_proxy(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, **options: Any
) -> AsyncIterator[tuple[Given, Proxy]]:
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    with proxy(database) as line:
        async with opened(driver, database, through=line.url(database), prefix="lost", **options) as given:
            yield given, line


@pytest.mark.parametrize("fate", ["lose", "cut"])
@pytest.mark.parametrize("name", SERVERS)
async def test_what_may_be_repeated_comes_to_the_same(
    name: str, fate: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A lease, a commit, a claim and a remembered code are repeated: done once, and the caller is told so."""
    async with behind_proxy(name, request, tmp_path) as (given, line):
        store = given.store
        await store.put(token())
        line.on_commit = Once(fate)
        row = await store.take_lease(**lease("bob"))
        assert (row.lease_holder, row.in_doubt) == ("holder", False)
        line.on_commit = Once(fate)
        row = await store.commit(token("bob", "rev-2"), over="rev-1", keep_previous=False)
        assert (row.revision, row.pair.refresh_token) == ("rev-2", "example-refresh-rev-2")
        for nth, nonce in ((1, "updated"), (2, "inserted")):
            line.on_commit = Once(fate, nth)
            record = await store.claim(**claim(nonce))
            assert (record.outcome, record.claimant) == ("claimed", "claimant")
        line.on_commit = Once(fate, 2)
        remembered = {"nonce_hash": "n", "code_hash": "c", "user_hash": "u", "expires_at": NOW + timedelta(1)}
        assert await store.remember_code(**remembered, now=NOW) is True
        assert given.execute("SELECT count(*) FROM {states}") == [(3,)]
        assert line.on_commit.left <= 0


@pytest.mark.parametrize("name", SERVERS)
async def test_what_may_not_be_repeated_says_so(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A put, a note, a delete and a finish whose answer is lost were done once, and end in ``StoreUnavailable``."""
    async with behind_proxy(name, request, tmp_path) as (given, line):
        store = given.store
        await store.put(token("replaced"))
        await store.take_lease(**lease("replaced"))
        await store.claim(**claim("n"))
        for step, nth in (
            (lambda: store.put(token("inserted")), 2),
            (
                lambda: store.note_failure("replaced", revision="rev-1", holder="holder", failure=Failure(failures=7)),
                1,
            ),
            (lambda: store.put(token("replaced", "rev-2")), 1),
            (lambda: store.finish(nonce_hash="n", claimant="claimant", outcome="connected"), 1),
            (lambda: store.delete("inserted"), 1),
        ):
            line.on_commit = Once("lose", nth)
            before = given.execute("SELECT user_id, failures, revision FROM {tokens}"), states(given)
            with pytest.raises(StoreUnavailable, match="cannot be reached, or its connection broke"):
                await step()
            assert (given.execute("SELECT user_id, failures, revision FROM {tokens}"), states(given)) != before
        assert given.rows("user_id, revision") == [("replaced", "rev-2")]
        assert states(given) == [("connected",)]


def states(given: Given) -> Any:
    return given.execute("SELECT outcome FROM {states}")


@pytest.mark.parametrize("name", SERVERS)
async def test_a_put_is_not_done_again(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The user may have left while the answer was lost: a second put would bring them back."""
    async with behind_proxy(name, request, tmp_path) as (given, line):
        for nth in (2, 1):  # the insert of a new row, the update of one that is there
            line.on_commit = Once("lose", nth)
            with pytest.raises(StoreUnavailable):
                await given.store.put(token())
            assert line.on_commit.left == 0, "another commit was asked for"
        assert given.rows("user_id") == [("bob",)]


@pytest.mark.parametrize("name", SERVERS)
async def test_what_broke_before_its_commit_is_done_again(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Stale connections, five of them, as after a restart of the database: no step fails, whichever comes first."""
    async with behind_proxy(name, request, tmp_path, pool_size=5, max_overflow=0) as (given, line):
        store = given.store
        await store.put(token())
        await store.take_lease(**lease("bob"))
        for number in range(5):
            await store.claim(**claim(f"nonce-{number}"))
        steps = (
            [lambda: store.get("bob")] * 5,
            [lambda n=n: store.put(token(f"user-{n}")) for n in range(5)],
            [lambda n=n: store.delete(f"user-{n}") for n in range(5)],
            [lambda n=n: store.finish(nonce_hash=f"nonce-{n}", claimant="claimant", outcome="retry") for n in range(5)],
            [lambda: store.note_failure("bob", revision="rev-1", holder="holder", failure=Failure(failures=1))],
        )
        for calls in steps:
            await together([lambda: store.get("bob")] * 10)  # every connection of the pool is open
            line.cut()
            results = await together(calls)
            assert [result for result in results if isinstance(result, Exception)] == []
        assert results == [True]
