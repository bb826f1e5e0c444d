"""Rule 5: a pair in hand is not dropped when the store does not take it."""

from functools import partial

import pytest

from amocrm_userauth import errors, events
from amocrm_userauth._pairs import AsyncFlights
from amocrm_userauth.errors import StoreUnavailable
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
from tests.pairs import async_launch, async_together

FOR_GOOD = 10_000


@pytest.mark.parametrize("times", [1, 10])
async def test_a_store_that_fails_a_few_times_is_tried_again(fake_amocrm, times, caplog):
    """The pair is saved in the end; the application is told in between; nobody fails."""
    fake, store, told = fake_amocrm, AsyncFailingStore(), []
    async with serving(fake, store, events=told) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["commit"] = times
        tokens = await async_together([partial(auth.access_token, "42")] * 5)
        assert set(tokens) == {(await stored(auth)).pair.access_token}
        assert refreshes(fake) == 1
        await assert_in_step(auth, fake)
    assert [type(event) for event in told[1:]] == [events.SaveFailed, events.Recovered, events.Refreshed]
    assert [record.levelname for record in caplog.records if "could not be saved" in record.message] == ["ERROR"]


async def test_a_store_that_fails_for_good_raises_and_the_next_call_saves(fake_amocrm):
    """After the save budget the caller is told; the pair stays here, and the next call saves it without another spend."""
    fake, store, told = fake_amocrm, AsyncFailingStore(), []
    async with serving(fake, store, events=told) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        store.failing.clear()
        token = await auth.access_token("42")
        assert token == (await stored(auth)).pair.access_token
        assert refreshes(fake) == 1
        await assert_in_step(auth, fake)
    assert events.Recovered("42") in told


async def test_another_service_object_of_the_process_saves_it_too(fake_amocrm):
    """The pair is kept per store and user, not per service object."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
    store.failing.clear()
    async with serving(fake, store) as other:
        await other.access_token("42")
        assert refreshes(fake) == 1
        await assert_in_step(other, fake)


async def test_callers_are_served_from_it_while_its_lease_runs(fake_amocrm):
    """Within its own lease an unsaved pair is served; after it, the caller is told that it is not saved."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        served = await auth.access_token("42")
        assert fake.accepts_access(served)
        auth._time.skipped += 91
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        assert refreshes(fake) == 1


async def test_a_doubted_pair_is_never_served_unsaved(fake_amocrm):
    """A pair whose spend was in doubt may have a rival elsewhere: it is not served before it is stored."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", kind="silence")
        with pytest.raises(errors.AmoCRMUnavailable):
            await auth.access_token("42")
        fake.advance(120)
        store.failing["commit"] = FOR_GOOD
        for _ in range(2):
            with pytest.raises(errors.TokenNotSaved):
                await auth.access_token("42")


async def test_a_connection_that_could_not_be_stored_is_stored_by_the_next_call(fake_amocrm):
    """The code is spent, so the pair of a connect is kept as well; the same post then succeeds."""
    fake, store, told = fake_amocrm, AsyncFailingStore(), []
    async with serving(fake, store, events=told) as auth:
        request = await auth.begin("42")
        code = fake.authorize(user="anna", state=request.state)
        call = partial(auth.connect, "42", code=code, state=request.state, referer=fake.host("anna"))
        store.failing["put"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await call()
        store.failing.clear()
        assert (await call()).connected
        assert fake.token_calls() == 1
        await assert_in_step(auth, fake)


async def test_a_put_that_was_stored_after_all_is_not_put_again(fake_amocrm):
    """A first save that succeeded although it reported a failure is recognised by its code."""
    fake = fake_amocrm

    class Ambiguous(AsyncFailingStore):
        """Stores, and then reports a failure."""

        async def put(self, token):
            await super().put(token)
            raise OSError("example: the answer was lost")

    store = Ambiguous()
    async with serving(fake, store) as auth:
        assert (await connect(auth, fake)).connected
        assert store.calls.count("put") == 1


async def test_a_store_that_is_gone_altogether_keeps_the_pair(fake_amocrm):
    """While even reading fails the pair waits; when the store is back, it is saved."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        request = await auth.begin("42")
        code = fake.authorize(user="anna", state=request.state)
        call = partial(auth.connect, "42", code=code, state=request.state, referer=fake.host("anna"))

        class Away(Exception):
            """Stands for any driver's error."""

        async def away(*_args, **_more):
            raise Away

        put, get = store.put, store.get
        store.put = away
        gets = []

        async def get_until_put(user_id, **more):
            gets.append(user_id)
            if len(gets) > 1:
                raise Away
            return await get(user_id, **more)

        store.get = get_until_put
        with pytest.raises(errors.TokenNotSaved):
            await call()
        with pytest.raises(errors.TokenNotSaved):
            await call()
        store.put, store.get = put, get
        assert (await call()).connected
        assert fake.token_calls() == 1


async def test_a_disconnect_ends_the_attempts_to_save(fake_amocrm):
    """A user who disconnects while their new connection cannot be stored stays disconnected."""
    fake = fake_amocrm
    hooks = []

    class Leaving(AsyncFailingStore):
        """Its user disconnects at the second look, between two attempts."""

        async def get(self, user_id, *, with_tokens=True):
            if self.calls.count("put") and hooks:
                await hooks.pop()("42")
            return await super().get(user_id, with_tokens=with_tokens)

    store = Leaving()
    async with serving(fake, store) as auth:
        hooks.append(auth.disconnect)
        store.failing["put"] = 3
        with pytest.raises(errors.NotConnected):
            await connect(auth, fake)
        assert await store.get("42") is None
        with pytest.raises(errors.NotConnected):
            await auth.access_token("42")


async def test_a_disconnect_during_an_attempt_to_save_ends_them(fake_amocrm):
    """A user who disconnects while their new connection fails to be stored is not tried again."""
    fake = fake_amocrm
    hooks = []

    class Leaving(AsyncFailingStore):
        """Its user disconnects while a write fails."""

        async def put(self, token):
            self._step("put")
            await hooks.pop()("42")
            raise OSError("example: the database said no")

    store = Leaving()
    async with serving(fake, store) as auth:
        hooks.append(auth.disconnect)
        with pytest.raises(errors.NotConnected):
            await connect(auth, fake)
        assert store.calls.count("put") == 1
        assert await store.get("42") is None


async def test_an_unknown_user_is_not_tried_again(fake_amocrm):
    """A user that the database does not know is a configuration error at once, and no pair is kept for them."""
    fake = fake_amocrm

    class Strict(AsyncFailingStore):
        """Its user is deleted while the code is exchanged."""

        async def put(self, token):
            self.calls.append("put")
            raise errors.ConfigurationError("example: no such user")

        async def check_user(self, user_id):
            if "put" in self.calls:
                raise errors.ConfigurationError("example: no such user")

    store = Strict()
    async with serving(fake, store) as auth:
        with pytest.raises(errors.ConfigurationError, match="no such user"):
            await connect(auth, fake)
        assert store.calls.count("put") == 1
        with pytest.raises(errors.NotConnected):
            await auth.access_token("42")


async def test_a_user_unknown_beforehand_keeps_their_code(fake_amocrm):
    """Where the store can tell before the exchange, the code is not spent for an unknown user."""
    fake = fake_amocrm

    class Strict(AsyncFailingStore):
        """Knows nobody, and says so when asked."""

        async def check_user(self, user_id):
            raise errors.ConfigurationError("example: no such user", user_id=user_id)

    async with serving(fake, Strict()) as auth:
        with pytest.raises(errors.ConfigurationError, match="no such user"):
            await connect(auth, fake)
        assert fake.token_calls() == 0


async def test_a_store_failure_elsewhere_is_ours(fake_amocrm):
    """Whatever a store raises becomes StoreUnavailable, without its text and without a chain."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        store.failing["get"] = 1
        with pytest.raises(StoreUnavailable) as caught:
            await auth.access_token("42")
        assert "the database said no" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert caught.value.user_id == "42"


async def test_a_lease_that_cannot_be_taken_is_a_store_failure(fake_amocrm):
    """Without a lease nothing is sent; the caller is told that the store failed."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["take_lease"] = 2
        with pytest.raises(StoreUnavailable):
            await auth.access_token("42")
        assert refreshes(fake) == 0
        await auth.access_token("42")


async def test_an_end_of_a_lease_that_cannot_be_noted_leaves_it_to_run_out(fake_amocrm):
    """If the store takes no note of a failure the lease runs out unreported, and the token is in doubt."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        fake.fail_next("anna", status=429)
        store.failing["note_failure"] = FOR_GOOD
        with pytest.raises(errors.AmoCRMUnavailable):
            await auth.access_token("42")
        store.failing.clear()
        fake.advance(91)
        await auth.access_token("42")
        assert (await stored(auth)).previous_refresh_token is not None


async def unsaved_connect(fake, store):
    """Let a connect fail at its save; return the call that tries again."""
    async with serving(fake, store) as auth:
        request = await auth.begin("42")
        code = fake.authorize(user="anna", state=request.state)
        store.failing["put"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.connect("42", code=code, state=request.state, referer=fake.host("anna"))
    store.failing.clear()
    return {"code": code, "state": request.state, "referer": fake.host("anna")}


async def test_a_connection_made_elsewhere_meanwhile_is_not_overwritten(fake_amocrm):
    """The user connected through another process while this one could not save: the newer connection stays."""
    fake, store = fake_amocrm, AsyncFailingStore()
    await unsaved_connect(fake, store)
    async with serving(fake, AsyncApartStore(store)) as elsewhere:
        await connect(elsewhere, fake)
        newer = (await stored(elsewhere)).revision
    async with serving(fake, store) as auth:
        await auth.access_token("42")
        assert (await stored(auth)).revision == newer


async def test_a_disconnect_elsewhere_ends_the_attempts_to_save_a_reconnect(fake_amocrm):
    """The user left through another process while this one could not save their new connection: they stay away."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
    await unsaved_connect(fake, store)
    async with serving(fake, AsyncApartStore(store)) as elsewhere:
        await elsewhere.disconnect("42")
    async with serving(fake, store) as auth:
        with pytest.raises(errors.NotConnected):
            await auth.access_token("42")
        assert await store.get("42") is None


async def test_a_newer_connection_wins_over_one_that_is_still_being_saved(fake_amocrm):
    """Between two attempts to save, another process connected the user: that one's row is the answer, and told once."""
    fake, told, hooks = fake_amocrm, [], []

    class Overtaken(AsyncFailingStore):
        """Another process connects the user between two attempts."""

        async def get(self, user_id, *, with_tokens=True):
            if self.calls.count("put") and hooks:
                async with serving(fake, AsyncApartStore(self)) as elsewhere:
                    await connect(elsewhere, hooks.pop())
            return await super().get(user_id, with_tokens=with_tokens)

    store = Overtaken()
    async with serving(fake, store, events=told) as auth:
        hooks.append(fake)
        store.failing["put"] = 1
        assert (await connect(auth, fake)).connected
        assert store.calls.count("put") == 1
        await assert_in_step(auth, fake)
    assert [type(event) for event in told] == [events.SaveFailed, events.Recovered]


async def test_a_new_connection_is_saved_by_the_process_that_made_it(fake_amocrm, monkeypatch):
    """After a fork the child leaves an unsaved new connection to its parent."""
    fake, store = fake_amocrm, AsyncFailingStore()
    await unsaved_connect(fake, store)
    async with serving(fake, store) as child:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(errors.NotConnected):
            await child.access_token("42")
        monkeypatch.undo()


async def test_a_disconnect_elsewhere_between_two_attempts_to_save_stands(fake_amocrm):
    """A reconnect that could not be saved at once gives way to the user's leaving through another process."""
    fake, hooks = fake_amocrm, []

    class Leaving(AsyncFailingStore):
        """Its user leaves through another process between two attempts."""

        async def get(self, user_id, *, with_tokens=True):
            if self.failing.get("put") == 0 and hooks:
                await hooks.pop()(user_id)
            return await super().get(user_id, with_tokens=with_tokens)

    store = Leaving()
    async with serving(fake, store) as auth, serving(fake, AsyncApartStore(store)) as elsewhere:
        await connect(auth, fake)
        hooks.append(elsewhere.disconnect)
        store.failing["put"] = 1
        with pytest.raises(errors.NotConnected):
            await connect(auth, fake)
        assert await store.get("42") is None


async def test_a_disconnect_that_fails_keeps_a_refreshed_pair(fake_amocrm):
    """The row may still be there, with a spent token: the pair that replaces it is not given up."""
    fake = fake_amocrm

    class Undeletable(AsyncFailingStore):
        """Deletes nothing when told to."""

        async def delete(self, user_id, *, revision=None):
            self._step("delete")
            return await super().delete(user_id, revision=revision)

    store = Undeletable()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        store.failing["delete"] = 1
        with pytest.raises(StoreUnavailable):
            await auth.disconnect("42")
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        store.failing["delete"] = 1
        with pytest.raises(StoreUnavailable):
            await auth.disconnect("42")
        store.failing.clear()
        await auth.access_token("42")
        assert refreshes(fake) == 1
        await assert_in_step(auth, fake)


async def test_callers_who_wait_at_once_for_a_save_share_it(fake_amocrm):
    """Several callers find the same unsaved pair; it is saved once, and all are served."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        store.failing.clear()
        tokens = await async_together([partial(auth.access_token, "42")] * 10)
        assert set(tokens) == {(await stored(auth)).pair.access_token}
        # a caller who comes when the pair has just been saved finds nothing to do
        assert await auth._server._rescue("42") is None


async def test_a_store_that_cannot_be_held_weakly_is_served_too(fake_amocrm):
    """Such a store shares nothing with other service objects; everything else works."""
    fake = fake_amocrm

    class Unshared(AsyncFailingStore):
        """Cannot be a key."""

        __hash__ = None

    async with serving(fake, Unshared()) as auth:
        await connect(auth, fake)
        assert await auth.access_token("42")


async def test_closing_saves_a_pair_that_waits(fake_amocrm, caplog):
    """A worker that is recycled after the database is back takes no pair with it; one that cannot save says so."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
    fake.advance(DAY)
    for failing in (FOR_GOOD, 0):
        async with serving(fake, store) as auth:
            if failing:
                store.failing["commit"] = failing
                with pytest.raises(errors.TokenNotSaved):
                    await auth.access_token("42")
            else:
                store.failing.clear()
        assert ("closing with a token pair" in caplog.text) is True
    async with serving(fake, AsyncApartStore(store)) as elsewhere:
        await assert_in_step(elsewhere, fake)
        assert refreshes(fake) == 1


async def test_a_reconnect_while_a_refresh_is_being_saved_is_served(fake_amocrm):
    """The refresh's caller gets the new connection's token, not a request to connect."""
    fake, hooks = fake_amocrm, []

    class Reconnecting(AsyncFailingStore):
        """Its user reconnects while a commit fails."""

        async def commit(self, token, **more):
            if hooks:
                hooks.pop()
                async with serving(fake, self) as again:
                    await connect(again, fake)
                raise OSError("example: the database said no")
            return await super().commit(token, **more)

    async with serving(fake, Reconnecting()) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hooks.append(1)
        assert await auth.access_token("42") == (await stored(auth)).pair.access_token
        await assert_in_step(auth, fake)


async def test_a_new_connection_may_be_saved_as_long_as_its_state_is_good(fake_amocrm, caplog):
    """After that it is given up, and that is logged: a connection does not come back long after."""
    fake = fake_amocrm
    for minutes, outcome in ((19, "saved"), (21, "given up")):
        store = AsyncFailingStore()
        await unsaved_connect(fake, store)
        async with serving(fake, store) as auth:
            auth._time.skipped += minutes * 60
            if outcome == "saved":
                assert await auth.access_token("42")
            else:
                with pytest.raises(errors.NotConnected):
                    await auth.access_token("42")
    assert "must connect again" in caplog.text
    assert fake.token_calls() == 2


async def test_a_disconnect_elsewhere_ends_the_attempts_to_save_a_first_connection(fake_amocrm):
    """The user left through another process, which found nothing stored: nobody brings them back."""
    fake, store = fake_amocrm, AsyncFailingStore()
    given = await unsaved_connect(fake, store)
    async with serving(fake, AsyncApartStore(store)) as elsewhere:
        assert not await elsewhere.disconnect("42")
    async with serving(fake, store) as auth:
        with pytest.raises(errors.RefreshInProgress):
            await auth.connect("42", **given)
        assert await store.get("42") is None
        assert (await connect(auth, fake)).connected


async def test_who_left_elsewhere_connects_anew_at_once(fake_amocrm):
    """The pair that waited here is given up, and that is no answer to the new connection."""
    fake, store = fake_amocrm, AsyncFailingStore()
    await unsaved_connect(fake, store)
    async with serving(fake, AsyncApartStore(store)) as elsewhere:
        await elsewhere.disconnect("42")
    async with serving(fake, store) as auth:
        assert (await connect(auth, fake)).connected
        await assert_in_step(auth, fake)


@pytest.mark.parametrize("other", ["anna", "boris"])
async def test_a_connection_that_waited_is_not_a_second_one_of_its_login(fake_amocrm, other):
    """Under ``one_user_per_login``: who connected with the same login meanwhile has it."""
    fake, store, alone = fake_amocrm, AsyncFailingStore(), {"one_user_per_login": True}
    async with serving(fake, store, integration=alone) as auth:
        request = await auth.begin("42")
        code = fake.authorize(user="anna", state=request.state)
        store.failing["put"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.connect("42", code=code, state=request.state, referer=fake.host("anna"))
        store.failing.clear()
        async with serving(fake, AsyncApartStore(store), integration=alone) as elsewhere:
            await connect(elsewhere, fake, "43", other)
        if other == "anna":
            with pytest.raises(errors.NotConnected):
                await auth.access_token("42")
        else:
            assert await auth.access_token("42")
        assert (await store.get("42") is None) is (other == "anna")


async def test_a_refresh_that_comes_home_does_not_push_a_new_connection_out(fake_amocrm):
    """The last connection wins, also while it waits to be saved."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        hold = fake.hold_next("anna")
        refresh = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        store.failing["put"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await connect(auth, fake, "42", "boris")
        store.failing["put"] = 0
        hold.release()
        await refresh.outcome()
        await auth.access_token("42")
        await assert_in_step(auth, fake, "42", "boris")


async def test_a_disconnect_elsewhere_ends_a_first_connection_that_was_stored_after_all(fake_amocrm):
    """The write had come through although it failed; the user left; their row is not written again."""
    fake = fake_amocrm

    class Forgetful(AsyncFailingStore):
        """Its writes come through, but their answers are lost."""

        lost = True

        async def put(self, token):
            await super().put(token)
            if self.lost:
                self.lost = False
                async with serving(fake, AsyncApartStore(self)) as elsewhere:
                    assert await elsewhere.disconnect(token.user_id)
                raise OSError("example: the connection is lost")

    store = Forgetful()
    async with serving(fake, store) as auth:
        with pytest.raises(errors.NotConnected):
            await connect(auth, fake)
        assert await store.get("42") is None


@pytest.mark.parametrize("deletes", [1, 0], ids=["before the row is there", "not at all yet"])
async def test_a_disconnect_elsewhere_while_a_first_connection_is_being_saved_stands(fake_amocrm, deletes):
    """The user leaves after the look and before the write, or so that only their mark is seen: the row is taken back."""
    fake = fake_amocrm

    class Late(AsyncFailingStore):
        """Its second write comes just after a disconnect."""

        seen_again = 0

        async def put(self, token):
            if self.failing.get("put") == 0:
                async with serving(fake, AsyncApartStore(self)) as elsewhere:
                    await (elsewhere.disconnect("42") if deletes else elsewhere._departures.note("42"))
                self.failing["find_code"] = 1
            await super().put(token)

        async def find_code(self, code_hash, *, now):
            self._step("find_code")
            return await super().find_code(code_hash, now=now)

    store = Late()
    async with serving(fake, store) as auth:
        store.failing["put"] = 1
        with pytest.raises(errors.NotConnected):
            await connect(auth, fake)
        assert await store.get("42") is None


async def test_what_waits_to_be_saved_is_saved_beside_the_calls_of_others(fake_amocrm):
    """A user whose pair waits in this process may never come here again: any call for anybody tries to save it."""
    fake, store, told = fake_amocrm, AsyncFailingStore(), []
    async with serving(fake, store, events=told) as auth:
        await connect(auth, fake)
        await connect(auth, fake, "43", "boris")
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        store.failing.clear()
        with pytest.raises(errors.NotConnected):
            await auth.access_token("44")
        await AsyncFlights.join(auth._mine)
        assert told.count(events.Recovered("42")) == 1
        await assert_in_step(auth, fake)
    assert refreshes(fake) == 1


async def test_what_waits_to_be_saved_is_not_tried_at_every_call_of_others(fake_amocrm):
    """A database that is down is not asked for every waiting pair by every caller."""
    fake, store = fake_amocrm, AsyncFailingStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        store.failing["commit"] = FOR_GOOD
        with pytest.raises(errors.TokenNotSaved):
            await auth.access_token("42")
        before = store.calls.count("commit")
        for _ in range(10):
            with pytest.raises(errors.NotConnected):
                await auth.access_token("44")
        await AsyncFlights.join(auth._mine)
        assert store.calls.count("commit") == before + 1
        store.failing.clear()


async def test_a_missing_table_does_not_cost_the_pair(fake_amocrm):
    """A configuration error of the database is tried again like any other: only an unknown user is hopeless."""
    fake = fake_amocrm

    class Migrating(AsyncFailingStore):
        """Its table is away for a moment."""

        away = 2

        async def put(self, token):
            if self.away:
                self.away -= 1
                raise errors.ConfigurationError("example: the table is missing")
            await super().put(token)

        async def check_user(self, user_id):
            if self.away == 1:
                raise OSError("example: the database said no")

    async with serving(fake, Migrating()) as auth:
        assert (await connect(auth, fake)).connected
        await assert_in_step(auth, fake)


async def test_a_missing_table_does_not_cost_a_refreshed_pair(fake_amocrm):
    """The same at the commit of a refresh, where nothing is unknown of the user."""
    fake, away = fake_amocrm, [1]

    class Migrating(AsyncFailingStore):
        """Its table is away for a moment."""

        async def commit(self, token, **more):
            if away:
                away.pop()
                raise errors.ConfigurationError("example: the table is missing")
            return await super().commit(token, **more)

    async with serving(fake, Migrating()) as auth:
        await connect(auth, fake)
        fake.advance(DAY)
        assert await auth.access_token("42")
        await assert_in_step(auth, fake)
        assert refreshes(fake) == 1
