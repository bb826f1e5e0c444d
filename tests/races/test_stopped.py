"""A process that is stopped while amoCRM answers finds its deadline past when it goes on, and the answer there."""

import os
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, MemoryTokenStore, UserAuth
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport
from tests.races.kit import USER

BUDGET, STOPPED = 0.4, 1.2
LOST = "amoCRM rotated, the answer came in time, and the pair is gone"


def stop_for(seconds: float) -> None:
    """Stop this process; another one lets it go on."""
    me = os.getpid()
    helper = subprocess.Popen(["sh", "-c", f"kill -STOP {me}; sleep {seconds}; kill -CONT {me}"])
    helper.wait()


class Stopping:
    """Stops the process at one event of one request's trace, once it is told to."""

    def __init__(self, event: str) -> None:
        self.event, self.armed = event, False

    def passing(self, name: str) -> None:
        if self.armed and name.endswith(self.event):
            self.armed = False
            stop_for(STOPPED)

    def traced(self, request: httpx.Request) -> Callable[..., Any]:
        return request.extensions["trace"]


class Network(Stopping, httpx.BaseTransport):
    def __init__(self, inner: httpx.BaseTransport, event: str) -> None:
        super().__init__(event)
        self.inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        original = self.traced(request)

        def trace(name: str, info: Any) -> None:
            original(name, info)
            self.passing(name)

        request.extensions["trace"] = trace
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()


class AsyncNetwork(Stopping, httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, event: str) -> None:
        super().__init__(event)
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        original = self.traced(request)

        async def trace(name: str, info: Any) -> None:
            await original(name, info)
            self.passing(name)

        request.extensions["trace"] = trace
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self.inner.aclose()


EVENTS = pytest.mark.parametrize(
    "event", ["send_request_body.complete", "receive_response_headers.complete", "receive_response_body.complete"]
)


def brought(fake: FakeAmoCRM, state: str) -> dict[str, str]:
    return {"code": fake.authorize(USER, state=state), "state": state, "referer": fake.host(USER)}


@EVENTS
def test_a_sync_holder_takes_the_answer_that_came_while_it_was_stopped(event: str) -> None:
    """Under strict rotation nobody else could save the user."""
    store = MemoryTokenStore()
    with FakeAmoCRM("strict", process=True) as fake:
        network = Network(http_transport(fake.url), event)
        with (
            httpx.Client(transport=network) as http,
            UserAuth(fake.integration(), store, http=http, exchange_budget=BUDGET, lease=31) as auth,
        ):
            auth.connect(USER, **brought(fake, auth.begin(USER).state))
            network.armed = True
            auth.refresh(USER)
        assert fake.is_alive(store.get(USER).pair, USER), LOST


@EVENTS
async def test_an_async_holder_takes_the_answer_that_came_while_it_was_stopped(event: str) -> None:
    """The same for its twin."""
    store = AsyncMemoryTokenStore()
    with FakeAmoCRM("strict", process=True) as fake:
        network = AsyncNetwork(async_http_transport(fake.url), event)
        async with (
            httpx.AsyncClient(transport=network) as http,
            AsyncUserAuth(fake.integration(), store, http=http, exchange_budget=BUDGET, lease=31) as auth,
        ):
            await auth.connect(USER, **brought(fake, (await auth.begin(USER)).state))
            network.armed = True
            await auth.refresh(USER)
        assert fake.is_alive((await store.get(USER)).pair, USER), LOST
