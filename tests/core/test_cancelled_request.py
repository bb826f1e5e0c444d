"""A caller who gives up in the middle of an answer: what the traceback then shows."""

import asyncio

import pytest

from amocrm_userauth import AsyncOAuthClient, Integration
from amocrm_userauth._async import http as http_module
from amocrm_userauth._async.http import AsyncHTTP
from amocrm_userauth.testing import async_http_client
from tests.leaks import shown
from tests.raw import RawServer, answer, drip, reply

INTEGRATION = Integration(
    "example-client", "example-secret", "https://app.example/callback", account_domain="example.amocrm.ru"
)
PAIR = {"expires_in": 86_400, "access_token": "example-access-51de", "refresh_token": "example-refresh-93cc"}
ANSWER = answer(200, PAIR)


async def test_a_timeout_around_the_call_shows_nothing_of_the_answer():
    """The frames of the request are chained to the caller's ``TimeoutError``."""
    longer = ANSWER.replace(b"content-length: ", b"content-length: 9") + b" "
    with RawServer(drip(longer, len(longer) - 1, interval=10)) as server:
        async with async_http_client(server.url) as http:
            client = AsyncOAuthClient(INTEGRATION, http=http)
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.3):
                    await client.exchange_code("example-code-2b81")
    text = shown(caught.value)
    assert "_exchange" in text
    for secret in ("example-access", "example-refresh", "example-code", "example-secret"):
        assert secret not in text


@pytest.mark.parametrize("at_home", [True, False])
async def test_a_forked_child_takes_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch, at_home):
    """A lock inside the parent's may have been held by another thread at that moment."""
    opened = []
    with RawServer(reply(200, PAIR)) as server:
        ready = [async_http_client(server.url) for _ in range(2)]

        def open_client(*, limits):
            opened.append(limits)
            return ready[len(opened) - 1]

        monkeypatch.setattr(http_module.httpx, "AsyncClient", open_client)
        own = AsyncHTTP(None, http_module.AsyncTime())
        first = own._pick()
        process = http_module.os.getpid()
        monkeypatch.setattr(http_module.os, "getpid", lambda: process if at_home else process + 1)
        assert (own._pick() is first) is at_home
        assert own._pick() is own._pick()
        monkeypatch.undo()
        await own.aclose()
        for client in ready:
            await client.aclose()
