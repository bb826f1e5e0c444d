"""HTTP clients of either library for a fake at some address."""

from typing import TYPE_CHECKING, Literal, overload

import httpx

from amocrm_userauth.testing._fake import transport

if TYPE_CHECKING:
    import httpx2

__all__ = ["async_http_client", "async_http_transport", "http_client", "http_transport"]

_PATIENCE = 30.0


@overload
def http_client(
    url: str, *, library: Literal["httpx"] = "httpx", timeout: float | None = _PATIENCE
) -> httpx.Client: ...
@overload
def http_client(url: str, *, library: Literal["httpx2"], timeout: float | None = _PATIENCE) -> "httpx2.Client": ...
def http_client(
    url: str, *, library: Literal["httpx", "httpx2"] = "httpx", timeout: float | None = _PATIENCE
) -> "httpx.Client | httpx2.Client":
    """Return a client whose https requests to amoCRM's hosts end at the fake at ``url`` (its :attr:`FakeAmoCRM.url`).

    The ``Host`` header stays the account's, so the fake knows who was meant. A request to any other host is refused
    with the library's ``ConnectError``: a test never leaves the machine. The client is yours to close.
    """
    if library == "httpx":
        return transport.client(url, timeout)
    from amocrm_userauth.testing._fake import transport2  # noqa: PLC0415 - an extra

    return transport2.client(url, timeout)


@overload
def async_http_client(
    url: str, *, library: Literal["httpx"] = "httpx", timeout: float | None = _PATIENCE
) -> httpx.AsyncClient: ...
@overload
def async_http_client(
    url: str, *, library: Literal["httpx2"], timeout: float | None = _PATIENCE
) -> "httpx2.AsyncClient": ...
def async_http_client(
    url: str,
    *,
    library: Literal["httpx", "httpx2"] = "httpx",
    timeout: float | None = _PATIENCE,
) -> "httpx.AsyncClient | httpx2.AsyncClient":
    """Return the async twin of :func:`http_client`. Close it on the event loop that used it."""
    if library == "httpx":
        return transport.async_client(url, timeout)
    from amocrm_userauth.testing._fake import transport2  # noqa: PLC0415 - an extra

    return transport2.async_client(url, timeout)


@overload
def http_transport(url: str, *, library: Literal["httpx"] = "httpx") -> httpx.BaseTransport: ...
@overload
def http_transport(url: str, *, library: Literal["httpx2"]) -> "httpx2.BaseTransport": ...
def http_transport(
    url: str, *, library: Literal["httpx", "httpx2"] = "httpx"
) -> "httpx.BaseTransport | httpx2.BaseTransport":
    """Return what :func:`http_client` is made with, for a client with settings of your own."""
    if library == "httpx":
        return transport.sync_transport(url)
    from amocrm_userauth.testing._fake import transport2  # noqa: PLC0415 - an extra

    return transport2.sync_transport(url)


@overload
def async_http_transport(url: str, *, library: Literal["httpx"] = "httpx") -> httpx.AsyncBaseTransport: ...
@overload
def async_http_transport(url: str, *, library: Literal["httpx2"]) -> "httpx2.AsyncBaseTransport": ...
def async_http_transport(
    url: str, *, library: Literal["httpx", "httpx2"] = "httpx"
) -> "httpx.AsyncBaseTransport | httpx2.AsyncBaseTransport":
    """Return what :func:`async_http_client` is made with, for a client with settings of your own."""
    if library == "httpx":
        return transport.async_transport(url)
    from amocrm_userauth.testing._fake import transport2  # noqa: PLC0415 - an extra

    return transport2.async_transport(url)
