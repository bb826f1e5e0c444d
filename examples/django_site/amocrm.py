"""How this site reaches amoCRM: a real one, or the fake that ``python -m examples.django_site`` starts."""

import os
from functools import cache

import httpx

from amocrm_userauth import testing

FAKE = os.environ.get("FAKE_AMOCRM", "")
"""The address of the fake, set by ``python -m examples.django_site``."""


def http_client() -> httpx.Client:
    """Return the client for amoCRM's token endpoint; without a fake the library makes its own."""
    return testing.http_client(FAKE)


@cache
def transport() -> httpx.BaseTransport:
    """Return the connections that the site's views share."""
    if FAKE:
        return testing.http_transport(FAKE)
    return httpx.HTTPTransport()


def async_transport() -> httpx.AsyncBaseTransport:
    """Return a transport for one request: under WSGI each async view has an event loop of its own."""
    if FAKE:
        return testing.async_http_transport(FAKE)
    return httpx.AsyncHTTPTransport()
