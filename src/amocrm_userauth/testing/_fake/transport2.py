"""The clients of :mod:`amocrm_userauth.testing._fake.transport` for httpx2, whose classes are others."""

import httpx2

from amocrm_userauth.testing._fake.transport import no_tls, refusal, target

__all__ = ["async_client", "async_transport", "client", "sync_transport"]


class _Transport(httpx2.HTTPTransport):
    def __init__(self, fake: str) -> None:
        super().__init__(verify=no_tls(), trust_env=False)
        self._fake = fake

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return super().handle_request(_repointed(request, self._fake))


class _AsyncTransport(httpx2.AsyncHTTPTransport):
    def __init__(self, fake: str) -> None:
        super().__init__(verify=no_tls(), trust_env=False)
        self._fake = fake

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return await super().handle_async_request(_repointed(request, self._fake))


def _repointed(request: httpx2.Request, fake: str) -> httpx2.Request:
    url = request.url
    address = target(url.scheme, url.host, url.port, fake)
    if address is None:
        raise httpx2.ConnectError(refusal(url.host), request=request)
    moved = url.copy_with(scheme="http", host=address[0], port=address[1])
    return httpx2.Request(
        request.method, moved, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


def sync_transport(url: str) -> httpx2.BaseTransport:
    """Return what carries the requests of a sync client of httpx2 to the fake at ``url``."""
    return _Transport(url)


def async_transport(url: str) -> httpx2.AsyncBaseTransport:
    """Return what carries the requests of an async client of httpx2 to the fake at ``url``."""
    return _AsyncTransport(url)


def client(url: str, timeout: float | None) -> httpx2.Client:
    """Return a sync client of httpx2 for the fake at ``url``."""
    return httpx2.Client(transport=_Transport(url), trust_env=False, timeout=timeout)


def async_client(url: str, timeout: float | None) -> httpx2.AsyncClient:
    """Return an async client of httpx2 for the fake at ``url``."""
    return httpx2.AsyncClient(transport=_AsyncTransport(url), trust_env=False, timeout=timeout)
