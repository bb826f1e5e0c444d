"""Rule 3: a late answer undoes nothing."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncOAuthClient, AsyncUserAuth, errors, events
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


@pytest.mark.parametrize("at", ["before", "after"])
async def test_a_disconnect_during_a_refresh_stays(fake_amocrm, at):
    """A user who disconnects while their refresh is under way stays disconnected, and the caller is told so."""
    fake, told = fake_amocrm, []
    async with serving(fake, events=told) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna", at=at)
        caller = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        assert await auth.disconnect("42")
        hold.release()
        assert isinstance(await caller.outcome(), errors.NotConnected)
        assert await auth.store.get("42") is None
        assert not (await auth.status("42")).has_tokens
    assert [type(event) for event in told] == [events.Connected, events.Disconnected]


@pytest.mark.parametrize("at", ["before", "after"])
async def test_a_reconnect_during_a_refresh_stays(fake_amocrm, at):
    """A user who reconnects while a refresh of the old grant is under way keeps the new grant."""
    fake = fake_amocrm
    async with serving(fake) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna", at=at)
        caller = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        await connect(auth, fake)
        new = await stored(auth)
        hold.release()
        assert await caller.outcome() == new.pair.access_token
        assert (await stored(auth)).revision == new.revision
        await assert_in_step(auth, fake)


async def test_a_repeated_commit_that_finds_its_own_pair_has_succeeded(fake_amocrm):
    """A commit that was stored although the store reported a failure is not taken for a lost race."""
    fake = fake_amocrm

    class Ambiguous(AsyncFailingStore):
        """Commits, and then reports a failure."""

        lost = 1

        async def commit(self, token, **more):
            row = await super().commit(token, **more)
            if self.lost:
                self.lost -= 1
                raise OSError("example: the answer was lost")
            return row

    told = []
    async with serving(fake, Ambiguous(), events=told) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        token = await auth.access_token("42")
        assert token == (await stored(auth)).pair.access_token
        assert refreshes(fake) == 1
        await assert_in_step(auth, fake)
    assert [type(event).__name__ for event in told] == ["Connected", "SaveFailed", "Recovered", "Refreshed"]


class AsyncStoppedHolder(AsyncApartStore):
    """A store whose commit waits until another did something: a holder that was stopped with the pair in its hand."""

    def __init__(self, store, meanwhile) -> None:
        super().__init__(store)
        self.__dict__ = dict(store.__dict__) | {"meanwhile": meanwhile}

    async def commit(self, token, **more):
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().commit(token, **more)


@pytest.mark.parametrize("rotation", ["strict", "lenient"])
async def test_a_holder_stopped_past_its_lease_that_commits_first(rotation):
    """Both holders have a pair, the late one's is stored first: the user ends connected."""
    with FakeAmoCRM(rotation=rotation) as fake:
        store = AsyncMemoryTokenStore()
        async with serving(fake, store) as plain:
            await connect(plain, fake)
            fake.advance(DAY)

            async def others_turn() -> None:
                # the second holder takes over, spends the same token and is stopped before its own commit
                fake.advance(91)
                async with serving(fake, AsyncStoppedHolder(store, commit_of_the_first)) as second:
                    outcomes.append(await async_try_token(second))

            async def commit_of_the_first() -> None:
                row = await store.get("42")
                pair = pairs[0]
                await store.commit(pair, over=row.revision, keep_previous=False)

            outcomes, pairs = [], []

            class First(AsyncStoppedHolder):
                """Remembers the pair that it was about to commit."""

                async def commit(self, token, **more):
                    pairs.append(token)
                    return await super().commit(token, **more)

            async with serving(fake, First(store, others_turn)) as first:
                outcomes.append(await async_try_token(first))
            fake.advance(DAY)
            assert await plain.access_token("42")
            await assert_in_step(plain, fake)
            assert (await plain.status("42")).connected


async def async_try_token(auth):
    """Return the token or the error."""
    try:
        return await auth.access_token("42")
    except errors.AmoCRMUserAuthError as error:
        return error


@pytest.mark.parametrize("rotation", ["strict", "lenient"])
async def test_a_holder_stopped_past_its_lease_that_commits_last(rotation):
    """The second holder has finished when the stopped one comes back: nothing is undone, the user ends connected."""
    with FakeAmoCRM(rotation=rotation) as fake:
        store = AsyncMemoryTokenStore()
        async with serving(fake, store) as plain:
            await connect(plain, fake)
            fake.advance(DAY)
            outcomes = []

            async def others_turn() -> None:
                fake.advance(91)
                async with serving(fake, AsyncApartStore(store)) as second:
                    outcomes.append(await async_try_token(second))

            async with serving(fake, AsyncStoppedHolder(store, others_turn)) as first:
                outcomes.append(await async_try_token(first))
            fake.advance(DAY)
            assert await plain.access_token("42")
            await assert_in_step(plain, fake)
    if rotation == "strict":
        # the second holder was refused; the late commit of the first cleared the mark
        assert isinstance(outcomes[0], errors.GrantRevoked)


async def test_without_the_previous_token_the_first_order_loses_the_user():
    """The fallback is needed: a store that forgets the previous token loses the user in the lenient reading."""

    class Forgetful(AsyncMemoryTokenStore):
        """Keeps no previous token."""

        async def get(self, user_id, *, with_tokens=True):
            row = await super().get(user_id, with_tokens=with_tokens)
            return row and replace(row, previous_refresh_token=None)

        async def take_lease(self, user_id, **more):
            row = await super().take_lease(user_id, **more)
            return row and replace(row, previous_refresh_token=None)

    for kind, lost in ((AsyncMemoryTokenStore, False), (Forgetful, True)):
        with FakeAmoCRM(rotation="lenient") as fake:
            store = kind()
            async with serving(fake, store) as auth:
                await connect(auth, fake)
                await both_holders_commit_the_dead_pair(fake, store)
                fake.advance(DAY)
                outcome = await async_try_token(auth)
                assert isinstance(outcome, errors.GrantRevoked) is lost


async def both_holders_commit_the_dead_pair(fake, store) -> None:
    """Leave the row with the pair that the second holder's repeat killed."""
    fake.advance(DAY)
    row = await store.get("42")
    until = fake.now() + timedelta(seconds=90)
    await store.take_lease("42", revision=row.revision, holder="first", until=until, now=fake.now())
    async with fake.async_http_client() as http:
        client = AsyncOAuthClient(fake.integration(), http=http, clock=fake.now)
        first = await client.refresh(row.pair.refresh_token, domain=row.pair.domain)
        fake.advance(91)
        until = fake.now() + timedelta(seconds=90)
        await store.take_lease("42", revision=row.revision, holder="second", until=until, now=fake.now())
        await client.refresh(row.pair.refresh_token, domain=row.pair.domain)
    token = replace(
        row,
        pair=first,
        revision="of-the-first",
        previous_refresh_token=row.pair.refresh_token,
        pair_saved_at=fake.now(),
        in_doubt=False,
    )
    await store.commit(token, over=row.revision, keep_previous=False)


async def test_an_unrelated_service_sees_the_new_pair_at_once(fake_amocrm):
    """By default every call reads the store: what another process stored is what is served."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as one, serving(fake, AsyncApartStore(store), kind=AsyncUserAuth) as two:
        await connect(one, fake)
        assert await two.access_token("42") == await one.access_token("42")
        await one.refresh("42")
        assert await two.access_token("42") == await one.access_token("42")
        await one.disconnect("42")
        with pytest.raises(errors.NotConnected):
            await two.access_token("42")
