"""Rule 4: what has begun goes on when its caller is gone, until the service is closed."""

import gc
from functools import partial

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, errors
from tests._async.kit import DAY, assert_in_step, connect, refreshes, serving, stored
from tests.pairs import async_launch


@pytest.mark.parametrize("at", ["before", "after"])
async def test_closing_the_service_waits_for_a_refresh(fake_amocrm, at):
    """A refresh whose caller went away is stored by the time the service is closed."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store) as auth:
        await connect(auth, fake)
    async with serving(fake, store, wait_budget=0) as auth:
        fake.advance(DAY)
        hold = fake.hold_next("anna", at=at)
        caller = await async_launch(partial(auth.access_token, "42"))
        await hold.async_wait_arrived()
        assert isinstance(await caller.outcome(), errors.RefreshInProgress)
        hold.release()
    async with serving(fake, store) as auth:
        await assert_in_step(auth, fake)
        assert refreshes(fake) == 1
        assert (await stored(auth)).lease_until is None


@pytest.mark.parametrize("at", ["before", "after"])
async def test_closing_the_service_waits_for_a_code_exchange(fake_amocrm, at):
    """A code exchange whose caller went away is stored by the time the service is closed."""
    fake, store = fake_amocrm, AsyncMemoryTokenStore()
    async with serving(fake, store, wait_budget=0) as auth:
        request = await auth.begin("42")
        code = fake.authorize(user="anna", state=request.state)
        hold = fake.hold_next("anna", at=at)
        call = partial(auth.connect, "42", code=code, state=request.state, referer=fake.host("anna"))
        caller = await async_launch(call)
        await hold.async_wait_arrived()
        assert isinstance(await caller.outcome(), errors.RefreshInProgress)
        hold.release()
    async with serving(fake, store) as auth:
        await assert_in_step(auth, fake)
        assert (await auth.status("42")).connected


async def test_a_service_that_opened_a_client_warns_when_it_is_not_closed(fake_amocrm):
    """A forgotten service says so, as whatever is under way may be lost with it."""
    auth = AsyncUserAuth(fake_amocrm.integration(), AsyncMemoryTokenStore())
    auth._http._pick()
    client = auth._http._own
    with pytest.warns(ResourceWarning, match="close it"):
        auth.__del__()
    await auth.aclose()
    assert client.is_closed
    auth.__del__()
    del auth
    gc.collect()


async def test_a_passed_client_stays_open(fake_amocrm):
    """A client that was passed in is not closed with the service."""
    async with fake_amocrm.async_http_client() as http:
        async with AsyncUserAuth(fake_amocrm.integration(), AsyncMemoryTokenStore(), http=http):
            pass
        assert not http.is_closed


async def test_events_that_raise_do_no_harm(fake_amocrm, caplog):
    """An exception of the application's on_event is logged and changes nothing."""
    fake = fake_amocrm

    class Broken(list):
        """A callback that fails."""

        def append(self, event) -> None:
            raise LookupError("example")

    async with serving(fake, events=Broken()) as auth:
        await connect(auth, fake)
        assert (await auth.status("42")).connected
    assert "on_event raised; the event was Connected" in caplog.text


async def test_closing_leaves_the_client_to_what_another_loop_still_does(fake_amocrm):
    """Our own HTTP client is closed by the last one to close."""
    auth = AsyncUserAuth(fake_amocrm.integration(), AsyncMemoryTokenStore())
    auth._http._pick()
    elsewhere = object()
    auth._mine.add(elsewhere)
    await auth.aclose()
    assert auth._http.opened
    auth._mine.discard(elsewhere)
    await auth.aclose()
    assert not auth._http.opened
