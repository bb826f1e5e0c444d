"""Real races at each isolation level that an engine may have: one winner, nothing lost, no error, no hang."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from amocrm_userauth._core.model import Failure
from tests.databases.kit import (
    DRIVERS,
    NOW,
    Given,
    address_of,
    claim,
    lease,
    on_statement,
    opened,
    together,
    token,
)
from tests.databases.test_contract import DEFAULTS, LEVELS

CALLERS = 12
# In the usual run each level on a sync and an async driver; in the long run on all.
_USUAL = {("psycopg", level) for level in LEVELS} | {("asyncmy", level) for level in LEVELS}
_ALL = [(name, level) for name, driver in DRIVERS.items() if driver.kind != "sqlite" for level in LEVELS]
PLACES = [
    pytest.param(name, level, marks=() if (name, level) in _USUAL else pytest.mark.long, id=f"{name} {level.lower()}")
    for name, level in _ALL
]


async def one_lease(store: Any, user: str) -> None:
    """Of many takers one gets the lease, and all see the same holder."""
    await store.put(token(user))
    calls = [lambda n=n: store.take_lease(**lease(user, holder=f"h-{n}")) for n in range(CALLERS)]
    rows = right(await together(calls))
    assert len({row.lease_holder for row in rows}) == 1
    assert sum(row.lease_holder == f"h-{n}" for n, row in enumerate(rows)) == 1


async def one_commit(store: Any, user: str) -> None:
    """Of many commits over one revision one is stored, and all are told which."""
    await store.put(token(user))
    new = [token(user, f"new-{n}") for n in range(CALLERS)]
    calls = [lambda t=t: store.commit(t, over="rev-1", keep_previous=False) for t in new]
    rows = right(await together(calls))
    assert len({(row.revision, row.pair.access_token) for row in rows}) == 1
    row = await store.get(user)
    assert row.revision == rows[0].revision


async def one_claim(store: Any, user: str) -> None:
    """Of many who claim one nonce, with equal codes and with others, one is granted, beside sweeps."""
    for number in range(5):
        old = {"nonce_hash": f"{user}-old-{number}", "code_hash": "c", "user_hash": "u", "expires_at": NOW}
        await store.remember_code(**old, now=NOW - timedelta(1))
    calls = [
        lambda n=n: store.claim(**claim(f"{user}-{n % 2}", f"claimant-{n}", f"code-{n % 3}")) for n in range(CALLERS)
    ]
    records = right(await together(calls))
    for nonce in (0, 1):
        of_nonce = records[nonce::2]
        assert len({(record.claimant, record.code_hash) for record in of_nonce}) == 1
        assert of_nonce[0].outcome == "claimed"


async def disconnect_beside_commit(store: Any, user: str) -> None:
    """Whatever the order, the user who left is gone, and was there when they left."""
    await store.put(token(user))
    await store.take_lease(**lease(user))
    steps = [
        lambda: store.commit(token(user, "rev-2"), over="rev-1", keep_previous=False),
        lambda: store.delete(user),
        lambda: store.note_failure(user, revision="rev-1", holder="holder", failure=Failure(failures=1)),
    ]
    row, deleted, _ = right(await together(steps))
    assert deleted is True
    assert row is None or row.revision == "rev-2"
    assert await store.get(user) is None


async def puts_beside_puts(store: Any, user: str) -> None:
    """New connections of one user at once, with and without a row before: the last one wins, whole."""
    for first in ("new", "again"):
        new = [token(user, f"{first}-{n}") for n in range(CALLERS // 2)]
        right(await together([lambda t=t: store.put(t) for t in new]))
        row = await store.get(user)
        assert row.pair in [t.pair for t in new if t.revision == row.revision]


async def different_users(store: Any, user: str) -> None:
    """What different users do at once does not hinder them."""
    users = [f"{user}-{n}" for n in range(CALLERS)]

    async def life(own: str) -> None:
        await store.put(token(own))
        await store.take_lease(**lease(own))
        await store.commit(token(own, "rev-2"), over="rev-1", keep_previous=False)
        await store.take_lease(**lease(own, "rev-2"))
        assert await store.note_failure(own, revision="rev-2", holder="holder", failure=Failure(failures=1))
        assert (await store.get(own)).failures == 1
        assert await store.delete(own)

    right(await together([lambda own=own: life(own) for own in users]))


def right(results: list[Any]) -> list[Any]:
    """Return the results, none of which is an error."""
    failed = [result for result in results if isinstance(result, BaseException)]
    assert not failed, f"{len(failed)} of {len(results)}: {failed[0]!r}"
    return results


RACES = (one_lease, one_commit, one_claim, disconnect_beside_commit, puts_beside_puts, different_users)


async def race(given: Given, rounds: int) -> None:
    for number in range(rounds):
        for run in RACES:
            await run(given.store, f"{run.__name__}-{number}")


@pytest.mark.parametrize(("name", "level"), PLACES)
async def test_races_have_one_winner(name: str, level: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """At every level: no lost update, no deadlock or conflict that reaches a caller, no hang."""
    driver = DRIVERS[name]
    options = {"isolation_level": level, "pool_size": CALLERS, "max_overflow": 0}
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="races", on_connect=DEFAULTS[driver.kind], **options) as given:
        await asyncio.wait_for(race(given, 2), 60)


@pytest.mark.parametrize("name", ["psycopg", "asyncpg", "pymysql", "asyncmy"])
async def test_an_autocommit_engine_is_given_transactions(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Nobody sees a write before the store has seen its result, or a winner might be told of its successor."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="autocommit", isolation_level="AUTOCOMMIT") as given:
        await given.store.put(token("bob"))
        seen: list[Any] = []
        on_statement(given, "SELECT", lambda: seen.extend(given.rows("lease_holder")))
        assert (await given.store.take_lease(**lease("bob"))).lease_holder == "holder"
        assert seen == [(None,)]
        assert given.rows("lease_holder") == [("holder",)]


_IN_PROCESSES = [
    pytest.param(
        name,
        level,
        marks=() if (name, level) == ("pymysql", "AUTOCOMMIT") else pytest.mark.long,
        id=f"{name} {level.lower()}",
    )
    for name, level in _ALL
]


@pytest.mark.parametrize(("name", "level"), _IN_PROCESSES)
async def test_no_update_is_lost_between_processes(
    name: str, level: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Three processes count on one row by leases and commits: the row's number is the number of their wins."""
    processes, workers, times = 3, 2, 5
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="racer") as given:
        await given.store.put(token("counter", account_id="0"))
        address = database.render_as_string(hide_password=False)
        command = [sys.executable, "-m", "tests.databases.racer", name, level, address, str(workers), str(times)]
        racers = [await asyncio.create_subprocess_exec(*command, stdout=PIPE) for _ in range(processes)]
        said = [await asyncio.wait_for(racer.communicate(), 60) for racer in racers]
        row = await given.store.get("counter")
    books = [json.loads(out) for out, _ in said]
    assert [book["errors"] for book in books] == [[]] * processes
    assert int(row.pair.account_id) == sum(book["won"] for book in books) == processes * workers * times
    leases = Counter[str]()
    for book in books:
        leases.update(book["leases"])
    assert max(leases.values()) == 1
