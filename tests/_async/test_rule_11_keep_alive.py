"""Rule 11: a walk refreshes the users who were silent for long, one user's failure not touching the next."""

from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, errors
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import DAY, AsyncApartStore, assert_in_step, connect, refreshes, serving, stored
from tests.pairs import async_together

MONTH = timedelta(days=30)


async def connect_many(auth, fake, number: int) -> None:
    """Connect users ``u0`` to ``u<number - 1>``."""
    for index in range(number):
        await connect(auth, fake, f"u{index}", f"broker-{index}")


async def test_only_the_users_who_are_due_are_refreshed():
    """Pairs older than the bound are refreshed, younger ones are not."""
    with FakeAmoCRM(rate_limit=None) as fake:
        async with serving(fake) as auth:
            await connect_many(auth, fake, 5)
            fake.advance(31 * DAY)
            await connect(auth, fake, "young", "young")
            seen = []
            report = await auth.refresh_due(older_than=MONTH, rate=None, on_progress=seen.append)
            assert (report.due, report.refreshed, report.skipped, report.failed) == (5, 5, 0, {})
            assert len(seen) == 5
            assert refreshes(fake, "young") == 0
            for index in range(5):
                await assert_in_step(auth, fake, f"u{index}", f"broker-{index}")
            assert (await auth.refresh_due(older_than=MONTH)).due == 0


async def test_a_walk_goes_through_every_page_and_stops_at_its_limit():
    """More users than a page holds are all found; a limit is kept."""
    with FakeAmoCRM(rate_limit=None) as fake:
        async with serving(fake) as auth:
            await connect_many(auth, fake, 130)
            fake.advance(31 * DAY)
            bound = fake.now() - MONTH
            assert (await auth.refresh_due(older_than=bound, limit=3, rate=None)).refreshed == 3
            assert (await auth.refresh_due(older_than=bound, rate=None)).refreshed == 127
            assert (await auth.refresh_due(older_than=bound, limit=0)).due == 0


async def test_one_users_failure_does_not_touch_the_next():
    """Revoked, failing, marked and vanished users are told apart in the report."""
    with FakeAmoCRM(rate_limit=None) as fake:
        async with serving(fake) as auth:
            await connect_many(auth, fake, 5)
            fake.advance(31 * DAY)
            fake.revoke("broker-1")
            fake.fail_next("broker-2", status=500)
            report = await auth.refresh_due(older_than=MONTH, rate=None)
            assert report.refreshed == 3
            assert report.failed == {"u1": "grant_revoked", "u2": "amocrm_unavailable"}
            again = await auth.refresh_due(older_than=MONTH, rate=None)
            assert (again.due, again.failed) == (1, {"u2": "amocrm_unavailable"})


async def test_workers_side_by_side_do_no_double_work():
    """Two walks at once refresh every user once."""
    with FakeAmoCRM(rate_limit=None) as fake:
        store = AsyncMemoryTokenStore()
        async with serving(fake, store) as one, serving(fake, AsyncApartStore(store)) as two:
            await connect_many(one, fake, 30)
            fake.advance(31 * DAY)
            walks = [partial(auth.refresh_due, older_than=MONTH, rate=None) for auth in (one, two)]
            reports = await async_together(walks)
            assert sum(report.refreshed for report in reports) == 30
            assert not any(report.failed for report in reports)
            assert fake.token_calls(grant_type="refresh_token") == 30


async def test_the_rate_is_kept(fake_amocrm):
    """At five a second, eleven users take two seconds (of the service's own clock)."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect_many(auth, fake, 11)
        fake.advance(31 * DAY)
        started = auth._time.monotonic()
        await auth.refresh_due(older_than=MONTH, rate=5, concurrency=1)
        assert auth._time.monotonic() - started >= 2.0


async def test_somebody_elses_refresh_is_skipped(fake_amocrm):
    """A user whose lease is held, or who left, is skipped."""
    fake = fake_amocrm

    class Leaving(AsyncMemoryTokenStore):
        """Its user ``gone`` leaves right after the page was read."""

        async def list_due(self, **more):
            page = await super().list_due(**more)
            await self.delete("gone")
            return page

    async with serving(fake, Leaving()) as auth:
        await connect(auth, fake, "busy", "busy")
        await connect(auth, fake, "gone", "gone")
        fake.advance(31 * DAY)
        row = await stored(auth, "busy")
        until = fake.now() + timedelta(seconds=90)
        await auth.store.take_lease("busy", revision=row.revision, holder="other", until=until, now=fake.now())
        report = await auth.refresh_due(older_than=MONTH)
        assert (report.due, report.refreshed, report.skipped) == (2, 0, 2)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"rate": 0}, {"limit": -1}])
async def test_arguments_that_cannot_be_right_are_refused(fake_amocrm, wrong):
    """They are a configuration error."""
    async with serving(fake_amocrm) as auth:
        with pytest.raises(errors.ConfigurationError):
            await auth.refresh_due(older_than=MONTH, **wrong)


async def test_users_who_always_fail_do_not_keep_the_others_from_their_turn():
    """A limit counts what was refreshed: the oldest rows may be hopeless."""
    with FakeAmoCRM(rate_limit=None) as fake:
        async with serving(fake) as auth:
            await connect_many(auth, fake, 5)
            fake.advance(31 * DAY)
            for broker in ("broker-0", "broker-1"):
                fake.fail_next(broker, status=402)
            report = await auth.refresh_due(older_than=MONTH, limit=2, rate=None, concurrency=1)
            assert (report.refreshed, set(report.failed)) == (2, {"u0", "u1"})
