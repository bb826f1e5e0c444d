"""Rule 12: how stale a token may be, and what a 401 of the API leads to."""

from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, errors
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
from tests.pairs import async_together


async def test_without_a_cache_every_call_reads_the_store(fake_amocrm):
    """The default is never stale."""
    store = AsyncFailingStore()
    async with serving(fake_amocrm, store) as auth:
        await connect(auth, fake_amocrm)
        store.calls.clear()
        for _ in range(3):
            await auth.access_token("42")
        assert store.calls == ["get"] * 3


async def test_with_a_cache_the_store_is_read_once_a_ttl(fake_amocrm):
    """Within the ttl the store is not asked; after it, it is."""
    store = AsyncFailingStore()
    async with serving(fake_amocrm, store, cache_ttl=60) as auth:
        await connect(auth, fake_amocrm)
        store.calls.clear()
        for _ in range(3):
            await auth.access_token("42")
        await auth.hosts("42")
        assert store.calls == ["get"]
        fake_amocrm.advance(61)
        await auth.access_token("42")
        assert store.calls == ["get"] * 2


async def test_what_this_service_does_is_seen_at_once_despite_the_cache(fake_amocrm):
    """Its own disconnect, reconnect and refresh end the cached token."""
    fake = fake_amocrm
    async with serving(fake, cache_ttl=600) as auth:
        await connect(auth, fake)
        tokens = {await auth.access_token("42")}
        await auth.refresh("42")
        tokens.add(await auth.access_token("42"))
        await connect(auth, fake)
        tokens.add(await auth.access_token("42"))
        assert len(tokens) == 3
        await auth.disconnect("42")
        with pytest.raises(errors.NotConnected):
            await auth.access_token("42")


async def test_the_staleness_is_bounded_by_the_ttl(fake_amocrm):
    """A disconnect elsewhere is seen after the ttl."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store, cache_ttl=60) as cached, serving(fake, AsyncApartStore(store)) as other:
        await connect(cached, fake)
        await cached.access_token("42")
        await other.disconnect("42")
        await cached.access_token("42")
        fake.advance(61)
        with pytest.raises(errors.NotConnected):
            await cached.access_token("42")


async def test_a_cached_token_is_not_served_past_its_due_time(fake_amocrm):
    """A long ttl does not hand out an expired token."""
    fake = fake_amocrm
    async with serving(fake, cache_ttl=10 * DAY) as auth:
        await connect(auth, fake)
        old = await auth.access_token("42")
        fake.advance(DAY)
        assert await auth.access_token("42") != old


@pytest.mark.parametrize("cache_ttl", [0, 600])
async def test_a_rejected_token_leads_to_one_refresh(fake_amocrm, cache_ttl):
    """Twenty callers whose token was answered with 401 share one refresh and get another token."""
    fake = fake_amocrm
    async with serving(fake, cache_ttl=cache_ttl) as auth:
        await connect(auth, fake)
        old = await auth.access_token("42")
        fake.expire("anna")
        tokens = await async_together([partial(auth.access_token, "42", rejected=old)] * 20)
        assert set(tokens) == {(await stored(auth)).pair.access_token}
        assert old not in tokens
        assert refreshes(fake) == 1
        await assert_in_step(auth, fake)


async def test_a_rejected_token_that_is_not_the_stored_one_refreshes_nothing(fake_amocrm):
    """Somebody refreshed meanwhile: their token is returned."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        old = await auth.access_token("42")
        await auth.refresh("42")
        assert await auth.access_token("42", rejected=old) == (await stored(auth)).pair.access_token
        assert refreshes(fake) == 1


async def test_a_401_that_is_not_about_age_does_not_spend_tokens_in_a_loop(fake_amocrm):
    """A user who is deactivated in amoCRM costs one refresh a minute, however often the API says 401."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.deactivate("anna")
        token = await auth.access_token("42")
        for minute in range(1, 4):
            for _ in range(10):
                token = await auth.access_token("42", rejected=token)
            assert refreshes(fake) == minute
            fake.advance(61)


async def test_status_reads_no_tokens_and_never_asks_amocrm(fake_amocrm):
    """An access token that ran out overnight is still connected, and nobody was asked."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        seen = len(fake.requests)
        status = await auth.status("42")
        assert (status.connected, status.has_tokens) == (True, True)
        assert (status.domain, status.account_id) == (fake.host("anna"), "31920194")
        assert len(fake.requests) == seen


async def test_status_without_a_connection_names_the_defaults(fake_amocrm):
    """The configured account is named until the user has one of their own."""
    options = {"account_domain": "default.amocrm.ru", "account_id": "77"}
    async with serving(fake_amocrm, integration=options) as auth:
        status = await auth.status("42")
        assert (status.connected, status.has_tokens) == (False, False)
        assert (status.domain, status.account_id) == ("default.amocrm.ru", "77")
    async with serving(fake_amocrm) as auth:
        status = await auth.status("42")
        assert (status.domain, status.account_id) == ("", "")


async def test_the_shared_token_is_an_ordinary_row(fake_amocrm):
    """shared_access_token() serves the configured user's connection, and is refused without one."""
    async with serving(fake_amocrm, shared_user_id="office") as auth:
        await connect(auth, fake_amocrm, "office")
        assert await auth.shared_access_token() == await auth.access_token("office")
    async with serving(fake_amocrm) as auth:
        with pytest.raises(errors.ConfigurationError, match="shared_user_id"):
            await auth.shared_access_token()


@pytest.mark.parametrize("wrong", [None, "", 42, "x" * 256, "a\0b", "\ud800"])
async def test_an_id_that_names_nobody_is_a_value_error(fake_amocrm, wrong):
    """An anonymous user never gets anybody's token."""
    async with serving(fake_amocrm) as auth:
        await connect(auth, fake_amocrm)
        calls = [auth.begin, auth.status, auth.access_token, auth.refresh, auth.disconnect, auth.hosts]
        for call in [*calls, partial(auth.connect, code="example")]:
            with pytest.raises(ValueError, match="user id"):
                await call(wrong)


async def test_calls_for_a_user_who_is_not_connected_say_so(fake_amocrm):
    """Every call that needs a connection raises NotConnected; disconnect says that there was none."""
    async with serving(fake_amocrm) as auth:
        for call in (auth.access_token, auth.refresh, auth.hosts):
            with pytest.raises(errors.NotConnected) as caught:
                await call("42")
            assert caught.value.user_id == "42"
        assert not await auth.disconnect("42")


@pytest.mark.parametrize("failing", ["amoCRM", "another holder"])
async def test_a_rejected_token_is_not_returned_where_another_may_be_had_later(fake_amocrm, failing):
    """While amoCRM is down, or a dead holder's lease runs, the caller is told to come back, not that it is a 401."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        row = await stored(auth)
        if failing == "amoCRM":
            fake.down()
        else:
            until = fake.now() + timedelta(seconds=90)
            await auth.store.take_lease("42", revision=row.revision, holder="dead", until=until, now=fake.now())
        with pytest.raises(errors.TemporarilyUnavailable):
            await auth.access_token("42", rejected=row.pair.access_token)
        assert await auth.access_token("42") == row.pair.access_token
