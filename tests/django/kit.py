"""What the tests of the Django adapter share: a site, its databases, its users."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.settings")
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections, models  # noqa: E402
from django.test import override_settings  # noqa: E402
from sqlalchemy import URL  # noqa: E402

_ENGINES = {"postgresql": "django.db.backends.postgresql", "mysql": "django.db.backends.mysql"}


def add_database(alias: str, **settings: Any) -> str:
    """Make a database known under ``alias``."""
    connections.settings[alias] = settings
    connections.configure_settings(connections.settings)
    return alias


def remove_database(alias: str) -> None:
    """Forget a database of :func:`add_database`."""
    connections[alias].close()
    del connections[alias], connections.settings[alias]


def add_url(alias: str, url: URL, **settings: Any) -> str:
    """Make the database at ``url`` known under ``alias``."""
    known = {"NAME": url.database, "USER": url.username or "", "PASSWORD": url.password or "", "HOST": url.host}
    options = {"charset": "utf8mb4"} if url.get_backend_name() == "mysql" else {}
    engine = _ENGINES[url.get_backend_name()]
    return add_database(alias, ENGINE=engine, PORT=url.port or "", OPTIONS=options, **known, **settings)


def migrate(alias: str = "default") -> str:
    """Make the tables in ``alias``."""
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
    connections[alias].close()
    return alias


class To:
    """A router that sends everything to one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, *_: object, **__: object) -> str:
        return self.alias

    db_for_write = db_for_read


def routed(alias: str) -> override_settings:
    """Send everything to ``alias``."""
    return override_settings(DATABASE_ROUTERS=[To(alias)])


@cache
def site() -> str:
    """Return the alias of the site's default database, migrated."""
    return migrate()


def key(name: str) -> Any:
    """Return the primary key of the user that the tests call ``name``: other names, other keys."""
    kind = get_user_model()._meta.pk
    while kind.remote_field is not None:
        kind = kind.target_field
    if isinstance(kind, models.UUIDField):
        return uuid5(NAMESPACE_URL, name)
    if isinstance(kind, models.IntegerField):
        return int.from_bytes(uuid5(NAMESPACE_URL, name).bytes[:3], "big") + 1
    return name


def make_user(name: str, using: str = "default") -> str:
    """Make the user that the tests call ``name``, unless there is one, and return the id."""
    users, pk = get_user_model(), key(name)
    fields: dict[str, Any] = (
        {} if users._meta.pk.name == users.USERNAME_FIELD else {users.USERNAME_FIELD: uuid5(NAMESPACE_URL, name).hex}
    )
    if users._meta.pk.remote_field is not None:
        users._meta.pk.remote_field.model.objects.using(using).get_or_create(pk=pk)
    users._base_manager.using(using).get_or_create(pk=pk, defaults=fields)
    return str(pk)


@contextmanager
def empty(using: str) -> Iterator[None]:
    """Leave no users, connections and states behind."""
    try:
        yield
    finally:
        clear(using)


def clear(using: str) -> None:
    """Delete users, connections and states."""
    from amocrm_userauth.django.models import AmoCRMState, AmoCRMToken

    for model in (AmoCRMToken, AmoCRMState, get_user_model()):
        model._base_manager.using(using).all().delete()
    connections[using].close()
