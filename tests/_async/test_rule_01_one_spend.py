"""Rule 1: a refresh token is spent only under a lease, for the revision that was read with it, and in time."""

from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, errors
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import (
    DAY,
    AsyncApartStore,
    AsyncFailingStore,
    assert_in_step,
    connect,
    refreshes,
    serving,
    stored,
)
from tests.pairs import AsyncSkippingTime, async_launch, async_together


@pytest.mark.parametrize("rotation", ["strict", "lenient", "family"])
async def test_fifty_callers_spend_one_token(rotation):
    """Fifty callers with an expired token make one token call and all get the same token."""
    with FakeAmoCRM(rotation=rotation) as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            tokens = await async_together([partial(auth.access_token, "42")] * 50)
            assert set(tokens) == {(await stored(auth)).pair.access_token}
            assert refreshes(fake) == 1
            await assert_in_step(auth, fake)


async def test_fifty_services_on_one_store_spend_one_token(fake_amocrm):
    """It holds when every caller builds a service object of its own."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()

    async def call() -> str:
        async with serving(fake, store) as own:
            return await own.access_token("42")

    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        tokens = await async_together([call] * 50)
        assert set(tokens) == {(await stored(auth)).pair.access_token}
        assert refreshes(fake) == 1


async def test_the_lease_alone_is_enough(fake_amocrm):
    """Without anything shared in the process the lease still lets only one caller spend the token."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()

    async def call() -> str:
        async with serving(fake, AsyncApartStore(store), kind=AsyncUserAuth) as own:
            return await own.access_token("42")

    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        tokens = await async_together([call] * 20)
        assert set(tokens) == {(await stored(auth)).pair.access_token}
        assert refreshes(fake) == 1


async def test_another_holders_lease_is_respected(fake_amocrm):
    """While somebody else holds the lease, a caller waits and then says so, and spends nothing."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        row = await stored(auth)
        until = fake.now() + timedelta(seconds=90)
        await auth.store.take_lease("42", revision=row.revision, holder="other", until=until, now=fake.now())
        with pytest.raises(errors.RefreshInProgress) as caught:
            await auth.access_token("42")
        assert caught.value.retry_after == 1.0
        assert refreshes(fake) == 0


async def test_a_waiter_takes_what_the_other_holder_brought(fake_amocrm):
    """A caller who waited for another's lease gets the token that the other one stored."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as one, serving(fake, AsyncApartStore(store), kind=AsyncUserAuth) as two:
        await connect(one, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna", at="after")
        first = await async_launch(partial(one.access_token, "42"))
        await hold.async_wait_arrived()
        second = await async_launch(partial(two.access_token, "42"))
        hold.release()
        assert await first.outcome() == await second.outcome()
        assert refreshes(fake) == 1


class AsyncSlowLeaseStore(AsyncFailingStore):
    """A store whose lease call takes longer than the exchange budget."""

    time: AsyncSkippingTime | None = None

    async def take_lease(self, user_id, **more):
        row = await super().take_lease(user_id, **more)
        if self.time is not None:
            self.time.skipped += 25
        return row


async def test_a_lease_that_was_long_in_coming_sends_nothing(fake_amocrm):
    """The holder's clock starts before the lease call: without time left it goes back to the store and sends nothing."""
    fake, store = fake_amocrm, AsyncSlowLeaseStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.time = auth._time
        with pytest.raises(errors.RefreshInProgress):
            await auth.access_token("42")
        assert refreshes(fake) == 0
        row = await stored(auth)
        assert row.lease_until is None
        assert not row.in_doubt
        store.time = None
        await auth.access_token("42")
        assert refreshes(fake) == 1


async def test_an_ambiguous_lease_call_is_repeated_by_the_same_holder(fake_amocrm):
    """A lease that was granted although the store reported a failure does not lock the user out."""
    fake = fake_amocrm

    class Ambiguous(AsyncFailingStore):
        """Grants the lease and then fails."""

        lost = 0

        async def take_lease(self, user_id, **more):
            row = await super().take_lease(user_id, **more)
            if self.lost:
                self.lost -= 1
                raise OSError("example: the answer was lost")
            return row

    store = Ambiguous()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.lost = 1
        await auth.access_token("42")
        assert refreshes(fake) == 1
        assert not (await stored(auth)).in_doubt


async def test_a_grant_of_another_client_is_not_presented(fake_amocrm):
    """A row that was made with another client id is a configuration error, and its token is not spent."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
    fake.advance(DAY)
    async with serving(fake, store, integration={"client_id": "another-example-id"}) as wrong:
        with pytest.raises(errors.ConfigurationError, match="client_id"):
            await wrong.access_token("42")
    assert refreshes(fake) == 0
    async with serving(fake, store) as auth:
        await auth.access_token("42")
