"""Rule 6: an unknown outcome puts the token in doubt; only a definite answer ends that."""

from datetime import timedelta

import pytest

from amocrm_userauth import errors, events
from amocrm_userauth.testing import FakeAmoCRM
from tests._async.kit import DAY, assert_in_step, connect, refreshes, serving, stored

UNKNOWN = {
    "dropped": lambda fake: fake.drop_answer_next("anna"),
    "truncated": lambda fake: fake.fail_next("anna", kind="truncated"),
    "cut": lambda fake: fake.fail_next("anna", kind="cut"),
}


@pytest.mark.parametrize("lost", UNKNOWN)
async def test_an_answer_lost_after_the_rotation_is_noticed_by_nobody_in_the_lenient_reading(lost):
    """The old token still works at amoCRM: after the cool-down it is presented again, and kept as the previous one."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            UNKNOWN[lost](fake)
            with pytest.raises(errors.AmoCRMUnavailable) as caught:
                await auth.access_token("42")
            assert caught.value.retry_after is not None
            assert (await stored(auth)).in_doubt
            fake.advance(120)
            await auth.access_token("42")
            row = await stored(auth)
            assert not row.in_doubt
            assert row.previous_refresh_token is not None
            assert refreshes(fake) == 2
            await assert_in_step(auth, fake)


@pytest.mark.parametrize("lost", UNKNOWN)
@pytest.mark.parametrize("rotation", ["strict", "family"])
async def test_an_answer_lost_after_the_rotation_is_told_to_the_user_otherwise(rotation, lost):
    """Where the token works once nobody has the new pair: the user is told to connect again, and can."""
    with FakeAmoCRM(rotation=rotation) as fake:
        told = []
        async with serving(fake, events=told) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            UNKNOWN[lost](fake)
            with pytest.raises(errors.AmoCRMUnavailable):
                await auth.access_token("42")
            fake.advance(120)
            with pytest.raises(errors.GrantRevoked) as caught:
                await auth.access_token("42")
            assert caught.value.reason == "revoked"
            status = await auth.status("42")
            assert (status.connected, status.has_tokens, status.reauth_reason) == (False, True, "revoked")
            assert events.ReauthorizationRequired("42", "revoked") in told
            assert (await connect(auth, fake)).connected


async def test_the_look_up_is_asked_before_a_doubted_token_is_presented():
    """A clear "dead" of the look-up counts as the refusal: the doubted token is not presented again."""
    with FakeAmoCRM(rotation="family") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            fake.drop_answer_next("anna")
            with pytest.raises(errors.AmoCRMUnavailable):
                await auth.access_token("42")
            fake.advance(120)
            with pytest.raises(errors.GrantRevoked):
                await auth.access_token("42")
            assert refreshes(fake) == 1
            assert [entry.path for entry in fake.requests].count("/oauth2/account/current/subdomain") == 1


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_an_unclear_look_up_changes_nothing(status):
    """Where the look-up is not to be had, the doubted token is presented all the same."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            fake.drop_answer_next("anna")
            with pytest.raises(errors.AmoCRMUnavailable):
                await auth.access_token("42")
            fake.advance(120)
            fake.fail_next("anna", status=status, on="lookup")
            await auth.access_token("42")
            await assert_in_step(auth, fake)


async def test_doubt_lasts_as_long_as_the_outcome_stays_unknown():
    """A doubted token is tried once per unknown outcome, after the cool-down, until there is an answer."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            for attempt in range(1, 6):
                fake.drop_answer_next("anna")
                with pytest.raises(errors.AmoCRMUnavailable):
                    await auth.access_token("42")
                assert refreshes(fake) == attempt
                with pytest.raises(errors.AmoCRMUnavailable):
                    await auth.access_token("42")
                assert refreshes(fake) == attempt
                assert (await stored(auth)).failures == attempt
                fake.advance(120)
            await auth.access_token("42")
            assert (await stored(auth)).failures == 0
            await assert_in_step(auth, fake)


async def test_the_previous_token_is_forgotten_by_the_next_undoubted_refresh():
    """The kept token is cleared by an undoubted commit, and by a reconnect."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            for end in ("refresh", "connect"):
                fake.advance(DAY)
                fake.drop_answer_next("anna")
                with pytest.raises(errors.AmoCRMUnavailable):
                    await auth.access_token("42")
                fake.advance(120)
                await auth.access_token("42")
                assert (await stored(auth)).previous_refresh_token is not None
                await (auth.refresh("42") if end == "refresh" else connect(auth, fake))
                assert (await stored(auth)).previous_refresh_token is None


@pytest.mark.parametrize("rotation", ["strict", "lenient", "family"])
async def test_a_lease_that_ran_out_unreported_is_a_doubt(rotation):
    """A holder that died before the send costs nobody anything: the next one takes over, in doubt, and succeeds."""
    with FakeAmoCRM(rotation=rotation) as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            row = await stored(auth)
            until = fake.now() + timedelta(seconds=90)
            await auth.store.take_lease("42", revision=row.revision, holder="dead", until=until, now=fake.now())
            fake.advance(91)
            await auth.access_token("42")
            assert (await stored(auth)).previous_refresh_token is not None
            await assert_in_step(auth, fake)


async def test_a_connection_that_was_never_made_leaves_no_doubt(fake_amocrm):
    """Nothing was sent, so nothing can have been spent."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.down()
        with pytest.raises(errors.AmoCRMUnavailable):
            await auth.access_token("42")
        fake.up()
        assert not (await stored(auth)).in_doubt
        fake.advance(120)
        await auth.access_token("42")
        assert (await stored(auth)).previous_refresh_token is None


@pytest.mark.parametrize("how", ["slow", "drip"])
async def test_a_server_past_the_budget_is_an_unknown_outcome(how):
    """The budget is a real deadline, also against a server that drips; what it may have done is in doubt."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            async with serving(fake, auth.store, exchange_budget=0.4) as hurried:
                fake.advance(DAY)
                if how == "slow":
                    fake.delay_next("anna", 5, at="after")
                else:
                    fake.drip_next("anna", 0.05)
                with pytest.raises(errors.AmoCRMUnavailable):
                    await hurried.access_token("42")
                assert (await stored(auth)).in_doubt
            fake.clear_faults()
            fake.advance(120)
            await auth.access_token("42")
            await assert_in_step(auth, fake)
