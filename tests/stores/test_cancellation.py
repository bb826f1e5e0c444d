"""A cancelled call gives its connection back, wherever it was cancelled, and leaves no half of a step behind."""

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import MetaData
from sqlalchemy.pool import QueuePool, StaticPool

from amocrm_userauth import TokenPair, UserToken
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, state_table, token_table
from tests.engines import async_engine, below

NOW = datetime(2025, 3, 9, 12, tzinfo=UTC)
CALLS = 60


def token(user_id: str) -> UserToken:
    pair = TokenPair(access_token="example", refresh_token="example", expires_at=NOW)
    return UserToken(user_id=user_id, pair=pair, revision="rev-1", pair_saved_at=NOW)


async def cancelled_after(steps: int, store: AsyncSQLAlchemyTokenStore, number: int) -> None:
    """Call, and cancel the call after so many turns of the loop."""
    take = partial(store.take_lease, revision="rev-1", holder=f"h-{number}", until=NOW + timedelta(90), now=NOW)
    call = asyncio.ensure_future(take("bob") if number % 2 else store.get("bob"))
    for _ in range(steps):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


# A connection that is cancelled as it opens is left to the garbage collector by its driver; Python 3.13 says so.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mariadb"])
async def test_cancelled_calls_give_their_connections_back(
    server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """However many calls are cancelled, the pool is whole afterwards and the next call is served."""
    address = f"sqlite:///{tmp_path}/db.sqlite3" if server == "sqlite" else request.getfixturevalue(server)
    made = async_engine(address, pool_size=2, max_overflow=0, pool_timeout=20)
    tables = token_table(MetaData(), "cancelled_tokens"), state_table(MetaData(), "cancelled_states")
    store = AsyncSQLAlchemyTokenStore(made, table=tables[0], states=tables[1])
    await store.create_schema()
    await store.put(token("bob"))
    for number in range(CALLS):
        await cancelled_after(number // 2, store, number)
    pool = below(made).pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedout() == 0
    row = await store.get("bob")
    assert row is not None
    assert (row.lease_holder is None) == (row.lease_until is None)
    await made.dispose()
    gc.collect()


async def test_cancelled_calls_let_the_next_one_in_where_all_share_one_connection() -> None:
    """The turn of a cancelled caller passes on."""
    made = async_engine("sqlite://", poolclass=StaticPool)
    store = AsyncSQLAlchemyTokenStore(made)
    await store.create_schema()
    await store.put(token("bob"))
    for number in range(CALLS):
        await asyncio.gather(*(cancelled_after(number // 2, store, number + other) for other in range(3)))
    assert await store.get("bob") is not None
    await made.dispose()
