"""Rule 2: no lock and no transaction is held while amoCRM is asked, and the budgets fit the lease."""

from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, errors
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore
from tests._async.kit import DAY, AsyncImpatientUserAuth, connect, serving, stored
from tests.pairs import async_launch, async_sqlite_engine


async def test_others_go_on_while_one_refresh_hangs(fake_amocrm):
    """While one user's refresh is held at amoCRM, the store serves that user's status and another user's refresh."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        await connect(auth, fake, "7", "boris")
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        slow = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        assert (await auth.status("42")).connected
        assert await auth.access_token("7") == (await stored(auth, "7")).pair.access_token
        hold.release()
        assert await slow.outcome() == (await stored(auth)).pair.access_token


async def test_a_file_of_sqlite_is_not_locked_by_a_refresh_that_hangs(fake_amocrm, tmp_path):
    """SQLite has one write lock for all users: a hanging refresh does not hold it."""
    fake, engine = fake_amocrm, async_sqlite_engine(tmp_path / "example.sqlite3")
    async with serving(fake, AsyncSQLAlchemyTokenStore(engine)) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        slow = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        await connect(auth, fake, "7", "boris")
        assert await auth.disconnect("7")
        hold.release()
        assert await slow.outcome() == (await stored(auth)).pair.access_token
    await engine.dispose()


async def test_budgets_that_could_let_two_spend_are_refused(fake_amocrm):
    """A lease shorter than two exchanges and the clock skew is refused at construction."""
    store = AsyncMemoryTokenStore()
    with pytest.raises(errors.ConfigurationError, match="lease"):
        AsyncImpatientUserAuth(fake_amocrm.integration(), store, lease=69)
    with pytest.raises(errors.ConfigurationError, match="exchange_budget"):
        AsyncImpatientUserAuth(fake_amocrm.integration(), store, exchange_budget=0)
    with pytest.raises(errors.ConfigurationError, match="negative"):
        AsyncImpatientUserAuth(fake_amocrm.integration(), store, leeway=timedelta(seconds=-1))
    with pytest.raises(errors.ConfigurationError, match="state_policy"):
        AsyncImpatientUserAuth(fake_amocrm.integration(), store, state_policy="never")
    with pytest.raises(errors.ConfigurationError, match="aware"):
        AsyncImpatientUserAuth(fake_amocrm.integration(), store, clock=lambda: fake_amocrm.now().replace(tzinfo=None))
