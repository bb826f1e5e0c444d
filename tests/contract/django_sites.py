"""What the tests of the Django adapter's web side share: a site with its settings, and browsers that are logged in."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.http import HttpRequest
from django.test import Client, override_settings

from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.backend import DEEP_LINK
from tests.django import kit

MOUNT = "/api/amo-crm"


def settings_of(fake: FakeAmoCRM, **more: Any) -> dict[str, Any]:
    """Return ``AMOCRM_USERAUTH`` for this amoCRM."""
    known = fake.integration()
    return {
        "CLIENT_ID": known.client_id,
        "CLIENT_SECRET": known.client_secret,
        "REDIRECT_URI": known.redirect_uri,
        "AUTHORIZE_URL": known.authorize_url,
        "HTTP_CLIENT": fake.http_client,
        "DEEP_LINK": DEEP_LINK,
        **more,
    }


@contextmanager
def site(fake: FakeAmoCRM, urls: Any = "tests.contract.django_urls", **more: Any) -> Iterator[None]:
    """Run a site for a ``with`` block; ``more`` goes into ``AMOCRM_USERAUTH``, and Django's own settings by their names."""
    ours = {name: more.pop(name) for name in ("CURRENT_USER", "DEEP_LINK") if name in more}
    with kit.empty(kit.site()), override_settings(AMOCRM_USERAUTH=settings_of(fake, **ours), ROOT_URLCONF=urls, **more):
        yield


def browser(user: str | None, **more: Any) -> Client:
    """Return a browser in which this user is logged in. It enforces CSRF as a real one meets it."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False, **more)
    if user is not None:
        kit.make_user(user)
        client.force_login(kit.get_user_model().objects.get(pk=kit.key(user)))
    return client


def by_header(request: HttpRequest) -> object | None:
    """Stand in for an application's own login: the header holds the user's name."""
    name = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return kit.get_user_model().objects.filter(pk=kit.key(name)).first() if name else None
