"""The same promise for Django: endpoints, stored connections and a valid token for each of the site's users.

::

    INSTALLED_APPS = [..., "amocrm_userauth.django"]
    AMOCRM_USERAUTH = {"ENCRYPTION_KEYS": [os.environ["AMO_ENCRYPTION_KEY"]]}  # client id and so on: AMO_… variables
    urlpatterns = [path("api/amo-crm/", include("amocrm_userauth.django.urls"))]

Then ``manage.py migrate``, and ``user_auth().access_token(str(user.pk))`` anywhere in the site. Needs the extra
``amocrm_userauth[django]``; importing this package touches no models.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from amocrm_userauth.django._service import user_auth

if TYPE_CHECKING:
    from amocrm_userauth.django._callers import session_user
    from amocrm_userauth.django._refusals import RequestRefused
    from amocrm_userauth.django.http import amocrm_client, async_amocrm_client
    from amocrm_userauth.django.store import DjangoTokenStore

__all__ = [
    "DjangoTokenStore",
    "RequestRefused",
    "amocrm_client",
    "async_amocrm_client",
    "session_user",
    "user_auth",
]

# What needs the site's models or its settings is imported when it is first asked for.
_LATER = {
    "DjangoTokenStore": "store",
    "RequestRefused": "_refusals",
    "amocrm_client": "http",
    "async_amocrm_client": "http",
    "session_user": "_callers",
}


def __getattr__(name: str) -> object:
    """Import what is asked for."""
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
