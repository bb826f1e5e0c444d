"""How this site reaches amoCRM: a real one, or the fake that ``python -m examples.django_site`` starts."""

from functools import cache

import httpx
from django.conf import settings

from amocrm_userauth import testing


def http_client() -> httpx.Client:
    """Return the client for amoCRM's token endpoint; without a fake the library makes its own."""
    return testing.http_client(settings.FAKE_AMOCRM)


@cache
def transport() -> httpx.BaseTransport:
    """Return the connections that the site's views share."""
    if settings.FAKE_AMOCRM:
        return testing.http_transport(settings.FAKE_AMOCRM)
    return httpx.HTTPTransport()


def async_transport() -> httpx.AsyncBaseTransport:
    """Return a transport for one request: under WSGI each async view has an event loop of its own."""
    if settings.FAKE_AMOCRM:
        return testing.async_http_transport(settings.FAKE_AMOCRM)
    return httpx.AsyncHTTPTransport()
