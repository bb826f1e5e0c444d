"""Rule 9: a failure is followed by a pause in which amoCRM is left alone."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import httpx
import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, Failure, errors
from tests._async.kit import (
    DAY,
    AsyncApartStore,
    AsyncImpatientUserAuth,
    assert_in_step,
    connect,
    refreshes,
    serving,
    stored,
)
from tests.networks import AsyncNetwork
from tests.pairs import async_launch


async def test_callers_with_an_expired_token_fail_at_once_during_the_cool_down(fake_amocrm):
    """After a failure nobody asks amoCRM again for a while; callers are told how long."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=429, retry_after=50)
        for _ in range(5):
            with pytest.raises(errors.AmoCRMUnavailable) as caught:
                await auth.access_token("42")
            assert 40 < caught.value.retry_after <= 50
        assert refreshes(fake) == 1
        with pytest.raises(errors.AmoCRMUnavailable):
            await auth.refresh("42")
        assert refreshes(fake) == 1
        fake.advance(51)
        await auth.access_token("42")


async def test_the_header_of_a_429_is_honoured(fake_amocrm):
    """A Retry-After header counts where the body says nothing."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=429, kind="plain", headers=(("retry-after", "33"),))
        with pytest.raises(errors.AmoCRMUnavailable) as caught:
            await auth.access_token("42")
        assert caught.value.retry_after == 33


async def test_failures_in_a_row_make_the_pause_longer_up_to_a_minute(fake_amocrm):
    """The pause doubles, and is capped."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        pauses = []
        for _ in range(8):
            fake.fail_next("anna", status=429, kind="plain")
            with pytest.raises(errors.AmoCRMUnavailable) as caught:
                await auth.access_token("42")
            pauses.append(caught.value.retry_after)
            fake.advance(61)
        assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_reconnect_ends_the_cool_down(fake_amocrm):
    """A user who connects anew is served at once."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=429, retry_after=3000)
        with pytest.raises(errors.AmoCRMUnavailable):
            await auth.access_token("42")
        await connect(auth, fake)
        await auth.access_token("42")


async def test_waiters_elsewhere_learn_of_a_failure_at_once(fake_amocrm):
    """Who waits for another process's refresh is told as soon as that one has failed."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as one, serving(fake, AsyncApartStore(store), kind=AsyncUserAuth) as two:
        await connect(one, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        holder = await async_launch(partial(one.access_token, "42"))
        await hold.async_wait_arrived()
        waiter = await async_launch(partial(two.access_token, "42"))
        hold.release(drop=True)
        assert isinstance(await holder.outcome(), errors.AmoCRMUnavailable)
        assert isinstance(await waiter.outcome(), errors.AmoCRMUnavailable)
        assert refreshes(fake) == 1


async def test_a_wait_longer_than_its_budget_ends(fake_amocrm):
    """Who waits for a refresh of this process gives up after wait_budget; the refresh goes on."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        async with serving(fake, auth.store, kind=AsyncUserAuth, wait_budget=0.2) as hasty:
            hold = fake.hold_next("anna")
            caller = await async_launch(partial(hasty.access_token, "42"))
            await hold.async_wait_arrived()
            assert isinstance(await caller.outcome(), errors.RefreshInProgress)
            hold.release()
        await assert_in_step(auth, fake)
        assert refreshes(fake) == 1


async def test_an_amocrm_that_cannot_be_reached_in_time_starts_the_pause(fake_amocrm):
    """A connection that hangs until the budget is over is a failure like any other: the next caller is told at once."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        tries = []

        async def hang(request):
            tries.append(request.method)
            stuck._time.skipped += 30
            raise httpx.ConnectTimeout("example", request=request)

        async with httpx.AsyncClient(transport=AsyncNetwork(hang)) as http:
            stuck = AsyncImpatientUserAuth(fake.integration(), auth.store, http=http, clock=fake.now, wait_budget=1000)
            for _ in range(3):
                with pytest.raises(errors.AmoCRMUnavailable):
                    await stuck.access_token("42")
            await stuck.aclose()
        row = await stored(auth)
        assert (row.failures, row.in_doubt, tries) == (1, False, ["POST"])


FAILED_ELSEWHERE = {
    "a failure": (Failure(failures=1, failure="amocrm_unavailable", in_doubt=True), errors.AmoCRMUnavailable),
    "a refusal": (Failure(reauth_reason="revoked"), errors.GrantRevoked),
}


@pytest.mark.parametrize("how", FAILED_ELSEWHERE)
async def test_a_lease_after_another_holders_failure_is_given_back(fake_amocrm, how):
    """Who takes the lease just after another has failed looks again first: nothing is presented a second time."""
    fake = fake_amocrm
    failure, error = FAILED_ELSEWHERE[how]

    class Overtaken(AsyncMemoryTokenStore):
        """Another holder takes the lease and fails just before."""

        async def take_lease(self, user_id, *, revision, holder, until, now, rejected=False):
            if not self.overtaken:
                self.overtaken = True
                more = {"revision": revision, "holder": "another"}
                await super().take_lease(user_id, until=until, now=now, **more)
                pause = now + timedelta(seconds=60)
                noted = replace(failure, retry_at=pause if failure.failures else None, reauth_at=now)
                await super().note_failure(user_id, failure=noted, **more)
            return await super().take_lease(
                user_id, revision=revision, holder=holder, until=until, now=now, rejected=rejected
            )

    async with serving(fake, Overtaken()) as auth:
        auth.store.overtaken = True
        await connect(auth, fake)
        fake.advance(DAY)
        auth.store.overtaken = False
        with pytest.raises(error):
            await auth.access_token("42")
        assert refreshes(fake) == 0
        assert (await stored(auth)).lease_until is None
