"""The fake as an ASGI application."""

import httpx
import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, errors
from amocrm_userauth.testing import FakeAmoCRM


async def test_a_service_works_on_the_application_without_a_socket(fake_amocrm):
    """Connect, refresh and lose answers through httpx.ASGITransport, with the fake's own books."""
    fake = fake_amocrm
    transport = httpx.ASGITransport(fake.app)
    async with httpx.AsyncClient(transport=transport) as http:
        auth = AsyncUserAuth(fake.integration(), AsyncMemoryTokenStore(), http=http, clock=fake.now)
        request = await auth.begin("42")
        code = fake.authorize(user="anna", state=request.state)
        assert (await auth.connect("42", code=code, state=request.state, referer=fake.host("anna"))).connected
        assert (await auth.refresh("42")).connected
        for arrange in (fake.drop_answer_next, lambda user: fake.fail_next(user, kind="cut")):
            arrange("anna")
            with pytest.raises(errors.AmoCRMUnavailable):
                await auth.refresh("42")
            fake.advance(120)
            fake.clear_faults()
            with pytest.raises(errors.GrantRevoked):
                await auth.refresh("42")
            request = await auth.begin("42")
            code = fake.authorize(user="anna", state=request.state)
            await auth.connect("42", code=code, state=request.state, referer=fake.host("anna"))
        fake.drip_next("anna", 0.0)
        assert (await auth.refresh("42")).connected
        assert fake.token_calls("anna", "refresh_token") == 4
        await auth.aclose()


async def test_the_applications_lifespan_is_empty(fake_amocrm):
    """A server that runs it may start and stop it; other kinds of connection are left alone."""
    said = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        said.append(message["type"])

    await fake_amocrm.app({"type": "lifespan"}, receive, send)
    await fake_amocrm.app({"type": "websocket"}, receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_only_a_fake_of_this_process_is_an_application():
    """A handle on a fake elsewhere has an address only."""
    with FakeAmoCRM() as fake, pytest.raises(TypeError, match="use its url"):
        FakeAmoCRM.attach(fake.control_url).app  # noqa: B018
