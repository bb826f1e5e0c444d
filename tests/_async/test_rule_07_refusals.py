"""Rule 7: a refusal condemns only after another look; everything else condemns nobody."""

from dataclasses import replace
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
from tests.pairs import async_launch

HARMLESS = {
    "429 with a wait in JSON": {"status": 429, "retry_after": 7},
    "429 without JSON": {"status": 429, "kind": "plain"},
    "402": {"status": 402},
    "403 as an nginx page": {"status": 403},
    "500": {"status": 500},
    "504": {"status": 504},
    "truncated JSON": {"status": 400, "body": '{"hint":"Token has been rev'},
    "a page with 401": {"status": 401, "kind": "html"},
    "an empty 400": {"status": 400, "kind": "empty"},
    "silence": {"kind": "silence"},
}


@pytest.mark.parametrize("rotation", ["strict", "lenient", "family"])
@pytest.mark.parametrize("failure", HARMLESS)
async def test_a_transient_failure_condemns_nobody(rotation, failure):
    """The caller is told to come back later; the user stays connected and is refreshed then."""
    with FakeAmoCRM(rotation=rotation) as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            fake.fail_next("anna", **HARMLESS[failure])
            with pytest.raises(errors.AmoCRMUnavailable) as caught:
                await auth.access_token("42")
            assert caught.value.retry_after >= 1
            assert (await auth.status("42")).connected
            fake.advance(400)
            await auth.access_token("42")
            await assert_in_step(auth, fake)


@pytest.mark.parametrize(
    "body",
    ['{"hint":"Something new","title":"?","status":400}', '{"title":"Некорректный запрос","status":400}', '{"a":1}'],
)
async def test_an_unknown_refusal_is_not_understood_and_condemns_nobody(fake_amocrm, body):
    """Callers get ProtocolError, also during the cool-down, and the user stays connected."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=400, body=body)
        for _ in range(2):
            with pytest.raises(errors.ProtocolError):
                await auth.access_token("42")
        assert refreshes(fake) == 1
        assert (await auth.status("42")).connected
        fake.advance(120)
        await auth.access_token("42")


async def test_a_broken_success_is_not_understood_and_in_doubt(fake_amocrm):
    """A 200 without a usable pair may have spent the token."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=200, body='{"token_type":"Bearer"}')
        with pytest.raises(errors.ProtocolError):
            await auth.access_token("42")
        assert (await stored(auth)).in_doubt


@pytest.mark.parametrize("style", [400, 401])
async def test_a_revoked_grant_asks_for_a_new_connection(style):
    """The row and its revision are kept, amoCRM is not called again, and every caller is told."""
    with FakeAmoCRM(status_style=style) as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            before = await stored(auth)
            fake.advance(DAY)
            fake.revoke("anna")
            for _ in range(3):
                with pytest.raises(errors.GrantRevoked) as caught:
                    await auth.access_token("42")
                assert (caught.value.reason, caught.value.user_id) == ("revoked", "42")
            assert refreshes(fake) == 1
            row = await stored(auth)
            assert row.revision == before.revision
            assert fake.now() - row.reauth_at < timedelta(minutes=1)
            assert (await connect(auth, fake)).connected


async def test_an_expired_refresh_token_asks_for_a_new_connection(fake_amocrm):
    """Three months of silence: status says so without asking amoCRM, and a call finds the reason."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(93 * DAY)
        assert not (await auth.status("42")).connected
        fake.expire_refresh("anna")
        with pytest.raises(errors.GrantRevoked) as caught:
            await auth.access_token("42")
        assert caught.value.reason == "expired"


async def test_refresh_tries_a_refused_grant_once_more(fake_amocrm):
    """refresh() presents the token of a marked row again; a success clears the mark."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        row = await stored(auth)
        await auth.store.put(replace(row, reauth_reason="revoked", reauth_at=fake.now()))
        with pytest.raises(errors.GrantRevoked):
            await auth.access_token("42")
        assert (await auth.refresh("42")).connected
        await auth.access_token("42")
        fake.revoke("anna")
        with pytest.raises(errors.GrantRevoked):
            await auth.refresh("42")
        with pytest.raises(errors.GrantRevoked):
            await auth.refresh("42")
        assert refreshes(fake) == 3


async def test_a_refused_loser_takes_the_winners_pair(fake_amocrm):
    """A holder whose token another spent and stored meanwhile uses what the winner stored."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        loser = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        fake.advance(91)
        async with serving(fake, AsyncApartStore(store)) as winner:
            token = await winner.access_token("42")
        hold.release()
        assert await loser.outcome() == token
        assert (await auth.status("42")).connected


async def test_only_the_holder_condemns(fake_amocrm):
    """A holder that was refused after its lease passed to another marks nothing."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store, kind=AsyncUserAuth, wait_budget=1) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        late = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        fake.revoke("anna")
        fake.advance(91)
        row = await stored(auth)
        until = fake.now() + timedelta(seconds=90)
        await store.take_lease("42", revision=row.revision, holder="another", until=until, now=fake.now())
        hold.release()
        assert isinstance(await late.outcome(), errors.RefreshInProgress)
        assert (await stored(auth)).reauth_reason is None


async def test_a_silent_holder_is_waited_for_before_condemning():
    """Refused in doubt, the holder waits a little for a silent one's commit, and takes what that brings."""
    with FakeAmoCRM() as fake:

        class Silent(AsyncMemoryTokenStore):
            """A silent holder commits at the third look."""

            looks = 0
            token = None

            async def get(self, user_id, *, with_tokens=True):
                if self.token is not None and not with_tokens:
                    self.looks += 1
                    if self.looks == 3:
                        await self.commit(self.token, over=self.over, keep_previous=False)
                return await super().get(user_id, with_tokens=with_tokens)

        store = Silent()
        async with serving(fake, store) as auth:
            await connect(auth, fake)
            fake.advance(DAY)
            row = await stored(auth)
            until = fake.now() + timedelta(seconds=90)
            await store.take_lease("42", revision=row.revision, holder="silent", until=until, now=fake.now())
            async with serving(fake, AsyncMemoryTokenStore()) as aside:
                await aside.store.put(row)
                await aside.refresh("42")
                pair = (await stored(aside)).pair
            fake.advance(91)
            store.over = row.revision
            store.token = replace(row, pair=pair, revision="of-the-silent", pair_saved_at=fake.now())
            assert await auth.access_token("42") == pair.access_token
            assert (await auth.status("42")).connected


async def test_the_previous_token_saves_a_user_whose_stored_pair_is_dead():
    """Where a repeat killed the stored pair, the previous token is presented once, and what it brings is stored."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            row = await stored(auth)
            fake.advance(DAY)
            async with serving(fake, AsyncMemoryTokenStore()) as aside:
                await aside.store.put(row)
                await aside.refresh("42")
                dead = await stored(aside)
                await aside.store.put(row)
                await aside.refresh("42")
            await auth.store.put(replace(dead, previous_refresh_token=row.pair.refresh_token))
            assert (await auth.refresh("42")).connected
            after = await stored(auth)
            assert after.previous_refresh_token is not None
            await assert_in_step(auth, fake)


@pytest.mark.parametrize(
    ("failure", "error"),
    [({"status": 500}, errors.AmoCRMUnavailable), ({"kind": "silence"}, errors.AmoCRMUnavailable)],
)
async def test_a_fallback_without_an_answer_condemns_nobody(failure, error):
    """An unknown outcome of the previous token leaves the row connected, and in doubt."""
    with FakeAmoCRM(rotation="lenient") as fake:
        async with serving(fake) as auth:
            await connect(auth, fake)
            row = await stored(auth)
            await auth.refresh("42")
            await auth.refresh("42")
            alive = await stored(auth)
            await auth.store.put(replace(row, previous_refresh_token=alive.pair.refresh_token))
            refused = '{"hint":"Token has been revoked","status":401}'
            fake.fail_next("anna", status=401, body=refused)
            fake.fail_next("anna", **failure)
            with pytest.raises(error):
                await auth.refresh("42")
            assert (await auth.status("42")).connected
            fake.advance(120)
            assert (await auth.refresh("42")).connected
            await assert_in_step(auth, fake)


async def test_a_mark_that_could_not_be_written_is_not_told_as_one(fake_amocrm):
    """If the store does not take the mark, the caller is not told that the grant is gone."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.revoke("anna")
        store.failing["note_failure"] = 2
        with pytest.raises(errors.RefreshInProgress):
            await auth.access_token("42")
        fake.advance(91)
        with pytest.raises(errors.GrantRevoked):
            await auth.access_token("42")


async def test_a_store_that_fails_while_a_refusal_is_looked_at_condemns_nobody(fake_amocrm):
    """The second look failed: the caller learns that, the lease is free again, and nothing is marked."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        caller = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        fake.revoke("anna")
        store.failing["get"] = 1
        hold.release()
        assert isinstance(await caller.outcome(), errors.StoreUnavailable)
        row = await stored(auth)
        assert (row.reauth_reason, row.lease_until) == (None, None)


@pytest.mark.parametrize(
    "wrong",
    [{"client_secret": "wrong-example-secret"}, {"redirect_uri": "https://wrong.example/callback"}],
)
@pytest.mark.parametrize("style", ["hint", "2020"])
async def test_a_wrong_deployment_condemns_nobody(wrong, style):
    """One of two deployments is misconfigured: it says so; no row is marked, and the other works at once."""
    with FakeAmoCRM(client_mismatch=style) as fake:
        store = AsyncMemoryTokenStore()
        async with serving(fake, store) as right, serving(fake, store, integration=wrong) as bad:
            await connect(right, fake)
            fake.advance(DAY)
            for _ in range(3):
                with pytest.raises(errors.ConfigurationError):
                    await bad.access_token("42")
            assert refreshes(fake) == 1
            assert (await right.status("42")).connected
            await right.access_token("42")
            await assert_in_step(right, fake)


async def test_a_token_of_another_integration_is_a_configuration_error(fake_amocrm):
    """amoCRM's "not linked to client" condemns nobody: a deployment may simply have the wrong id."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        body = '{"hint":"Token is not linked to client","title":"Некорректный запрос","status":401}'
        fake.fail_next("anna", status=401, body=body)
        with pytest.raises(errors.ConfigurationError):
            await auth.access_token("42")
        assert (await auth.status("42")).connected


async def test_a_refusal_of_a_user_who_just_left_is_not_connected(fake_amocrm):
    """A user who disconnects while amoCRM refuses their token is simply not connected."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        caller = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        fake.revoke("anna")
        await auth.disconnect("42")
        hold.release()
        assert isinstance(await caller.outcome(), errors.NotConnected)


async def test_ten_minutes_of_outage_lose_nobody():
    """Thirty users with expired tokens ask all through an outage; when amoCRM is back, every one is served."""
    with FakeAmoCRM(rate_limit=None) as fake:
        async with serving(fake) as auth:
            for number in range(30):
                await connect(auth, fake, f"user-{number}", f"broker-{number}")
            fake.advance(DAY)
            fake.down(status=503)
            for _ in range(10):
                for number in range(30):
                    with pytest.raises(errors.AmoCRMUnavailable):
                        await auth.access_token(f"user-{number}")
                fake.advance(60)
            fake.up()
            fake.advance(60)
            for number in range(30):
                await auth.access_token(f"user-{number}")
                await assert_in_step(auth, fake, f"user-{number}", f"broker-{number}")


async def test_a_dead_previous_token_ends_the_search(fake_amocrm):
    """Refused with both tokens, the grant is marked; the previous one was presented once."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        row = await stored(auth)
        await auth.refresh("42")
        await auth.refresh("42")
        now = await stored(auth)
        await auth.store.put(replace(now, pair=row.pair, previous_refresh_token=row.pair.refresh_token))
        with pytest.raises(errors.GrantRevoked):
            await auth.refresh("42")
        assert refreshes(fake) == 4
        assert not (await auth.status("42")).connected
