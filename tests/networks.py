"""Networks that do what a test says, as a pair of names for the two worlds."""

from collections.abc import Awaitable, Callable

import httpx

__all__ = ["AsyncNetwork", "Network"]


class AsyncNetwork(httpx.AsyncBaseTransport):
    """Carries no request anywhere: ``act`` answers or raises."""

    def __init__(self, act: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> None:
        self._act = act

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._act(request)


class Network(httpx.BaseTransport):
    """Carries no request anywhere: ``act`` answers or raises."""

    def __init__(self, act: Callable[[httpx.Request], httpx.Response]) -> None:
        self._act = act

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._act(request)
