"""HTTP clients whose requests to amoCRM's hosts go to a fake's loopback socket, and to nowhere else."""

import ssl
from urllib.parse import urlsplit

import httpx

from amocrm_userauth._core.hosts import DEFAULT_SUFFIXES

__all__ = ["async_client", "async_transport", "client", "no_tls", "refusal", "sync_transport", "target"]


def target(scheme: str, host: str, port: int | None, fake: str) -> tuple[str, int] | None:
    """Return the address of the fake at ``fake`` if a request goes to amoCRM over https, or to the fake itself.

    ``None`` for everything else: it must not leave the machine.
    """
    parts = urlsplit(fake)
    address = (parts.hostname or "", parts.port or 80)
    if (scheme, host, port) == ("http", *address):
        return address
    name = host.lower()
    ours = any(name == suffix or name.endswith("." + suffix) for suffix in DEFAULT_SUFFIXES)
    return address if ours and scheme == "https" and port in {None, 443} else None


def refusal(host: str) -> str:
    """Say why a request to ``host`` was not sent."""
    return f"the fake amoCRM does not serve {host!r}; nothing was sent"


def no_tls() -> ssl.SSLContext:
    """Return a context that trusts nobody: requests end at a loopback socket. It also spares loading certificates."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Transport(httpx.HTTPTransport):
    def __init__(self, fake: str) -> None:
        super().__init__(verify=no_tls(), trust_env=False)
        self._fake = fake

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(_repointed(request, self._fake))


class _AsyncTransport(httpx.AsyncHTTPTransport):
    def __init__(self, fake: str) -> None:
        super().__init__(verify=no_tls(), trust_env=False)
        self._fake = fake

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(_repointed(request, self._fake))


def _repointed(request: httpx.Request, fake: str) -> httpx.Request:
    url = request.url
    address = target(url.scheme, url.host, url.port, fake)
    if address is None:
        raise httpx.ConnectError(refusal(url.host), request=request)
    moved = url.copy_with(scheme="http", host=address[0], port=address[1])
    return httpx.Request(
        request.method, moved, headers=request.headers, stream=request.stream, extensions=request.extensions
    )


def sync_transport(url: str) -> httpx.BaseTransport:
    """Return what carries the requests of a sync client of httpx to the fake at ``url``."""
    return _Transport(url)


def async_transport(url: str) -> httpx.AsyncBaseTransport:
    """Return what carries the requests of an async client of httpx to the fake at ``url``."""
    return _AsyncTransport(url)


def client(url: str, timeout: float | None) -> httpx.Client:
    """Return a sync client of httpx for the fake at ``url``."""
    return httpx.Client(transport=_Transport(url), trust_env=False, timeout=timeout)


def async_client(url: str, timeout: float | None) -> httpx.AsyncClient:
    """Return an async client of httpx for the fake at ``url``."""
    return httpx.AsyncClient(transport=_AsyncTransport(url), trust_env=False, timeout=timeout)
