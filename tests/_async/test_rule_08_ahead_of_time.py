"""Rule 8: refreshing ahead of time costs nobody anything."""

from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import errors
from amocrm_userauth._core.decisions import due_at
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import (
    DAY,
    AsyncFailingStore,
    assert_in_step,
    connect,
    refreshes,
    serving,
    stored,
)
from tests.pairs import async_launch, async_together

NEARLY = DAY - 60


async def test_a_token_near_its_end_is_refreshed_by_one_caller(fake_amocrm):
    """Inside the leeway twenty callers all get a valid token, and one of them refreshes."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(NEARLY)
        tokens = await async_together([partial(auth.access_token, "42")] * 20)
        assert all(isinstance(token, str) for token in tokens)
        assert refreshes(fake) == 1
        await assert_in_step(auth, fake)


async def test_a_fresh_token_is_left_alone(fake_amocrm):
    """Outside the leeway amoCRM is not called."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY - 16 * 60)
        await auth.access_token("42")
        assert refreshes(fake) == 0


async def test_users_of_one_moment_are_due_at_different_ones(fake_amocrm):
    """The leeway differs by user, between a half and the whole of it."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        moments = set()
        for number in range(20):
            await connect(auth, fake, f"user-{number}")
            row = await stored(auth, f"user-{number}")
            ahead = row.pair.expires_at - due_at(row, 900)
            assert timedelta(minutes=7.5) <= ahead <= timedelta(minutes=15)
            moments.add(ahead)
        assert len(moments) == 20


async def test_a_slow_amocrm_keeps_nobody_waiting_inside_the_leeway(fake_amocrm):
    """One caller waits a second at most, then goes on with the valid token; the others do not wait at all."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        old = (await stored(auth)).pair.access_token
        fake.advance(NEARLY)
        hold = fake.hold_next("anna")
        first = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        assert await async_together([partial(auth.access_token, "42")] * 19) == [old] * 19
        assert await first.outcome() == old
        assert refreshes(fake) <= 1
        hold.release()
    async with serving(fake, auth.store) as later:
        assert await later.access_token("42") != old
        assert refreshes(fake) == 1


async def test_a_token_that_runs_out_during_the_wait_is_not_handed_out(fake_amocrm):
    """The look at its end is taken again: then the caller hears what any caller with an expired token does."""
    fake = fake_amocrm

    class Slow(AsyncFailingStore):
        """Two minutes pass while it notes a failure."""

        async def note_failure(self, user_id, **more):
            fake.advance(120)
            return await super().note_failure(user_id, **more)

    async with serving(fake, Slow()) as auth:
        await connect(auth, fake)
        fake.advance(NEARLY)
        fake.fail_next("anna", status=429, retry_after=300)
        with pytest.raises(errors.AmoCRMUnavailable):
            await auth.access_token("42")


async def test_a_fresh_token_that_ran_out_before_it_came_is_not_handed_out(fake_amocrm):
    """A process that was stopped for days at its commit refreshes again."""
    fake, stops = fake_amocrm, [1]

    class Stopped(AsyncFailingStore):
        """Its process stands still for two days after a commit."""

        async def commit(self, token, **more):
            row = await super().commit(token, **more)
            if stops:
                fake.advance(stops.pop() * 2 * DAY)
            return row

    async with serving(fake, Stopped()) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        token = await auth.access_token("42")
        assert refreshes(fake) == 2
        assert token == (await stored(auth)).pair.access_token
        await assert_in_step(auth, fake)


async def test_another_processs_refresh_is_not_waited_for_inside_the_leeway(fake_amocrm):
    """A lease that somebody else holds sends a caller with a valid token on without a write."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        old = await stored(auth)
        fake.advance(NEARLY)
        until = fake.now() + timedelta(seconds=90)
        await store.take_lease("42", revision=old.revision, holder="other", until=until, now=fake.now())
        store.calls.clear()
        assert await auth.access_token("42") == old.pair.access_token
        assert store.calls == ["get"]


FAILURES = {
    "down": lambda fake: fake.down(),
    "503": lambda fake: fake.down(status=503),
    "429": lambda fake: fake.fail_next("anna", status=429),
    "silence": lambda fake: fake.fail_next("anna", kind="silence"),
    "not understood": lambda fake: fake.fail_next("anna", status=400, body="{}"),
    "wrong secret": lambda fake: fake.fail_next(
        "anna", status=400, body='{"hint":"Check the `client_secret` parameter"}'
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_no_failure_of_amocrm_reaches_a_caller_inside_the_leeway(fake_amocrm, failure):
    """With a valid token nobody fails, and the failed refresh is not repeated at every call."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        old = (await stored(auth)).pair.access_token
        fake.advance(NEARLY)
        FAILURES[failure](fake)
        for _ in range(5):
            assert await auth.access_token("42") == old
        assert refreshes(fake) <= 1


async def test_a_store_that_gives_no_lease_does_not_fail_a_caller_inside_the_leeway(fake_amocrm):
    """A read-only store still serves the valid token."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(NEARLY)
        store.failing["take_lease"] = 1_000
        assert await auth.access_token("42") == (await stored(auth)).pair.access_token


async def test_a_refusal_inside_the_leeway_is_told_at_once(fake_amocrm):
    """A revoked grant is not hidden by minutes that are left."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(NEARLY)
        fake.revoke("anna")
        with pytest.raises(errors.GrantRevoked):
            await auth.access_token("42")


async def test_a_short_lived_token_is_refreshed_in_its_last_quarter():
    """The leeway is never more than a quarter of the token's life."""
    with FakeAmoCRM(access_lifetime=60) as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(44)
            await auth.access_token("42")
            assert refreshes(fake) == 0
            fake.advance(13)
            await auth.access_token("42")
            assert refreshes(fake) == 1


async def test_a_clock_that_is_a_day_ahead_does_not_spend_tokens_in_a_loop(fake_amocrm):
    """A pair that has run out when it arrives shows a wrong clock: it is served for a while all the same."""
    fake = fake_amocrm
    async with serving(fake, clock=lambda: fake.now() + timedelta(hours=25)) as auth:
        await connect(auth, fake)
        for _ in range(20):
            assert fake.accepts_access(await auth.access_token("42"))
        assert refreshes(fake) == 0
        assert (await auth.status("42")).connected
        fake.advance(16 * 60)
        for _ in range(20):
            assert fake.accepts_access(await auth.access_token("42"))
        assert refreshes(fake) == 1
