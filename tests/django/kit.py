"""What the tests of the Django adapter share: a site, its databases, its users."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
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
    # ssl_disabled: else PyMySQL reads the system's certificates for every connection, which takes longer than the rest
    options = {"charset": "utf8mb4", "ssl_disabled": True} if url.get_backend_name() == "mysql" else {}
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


def write_ahead(folder: Path) -> str:
    """Make a SQLite file with write-ahead logging, in which readers are in nobody's way, and return its alias."""
    options = {"init_command": "PRAGMA journal_mode=WAL"}
    path = str(folder / "wal.sqlite3")
    return migrate(add_database("wal", ENGINE="django.db.backends.sqlite3", NAME=path, OPTIONS=options))


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
    if connections[using].vendor == "sqlite":
        # threads of other tests, such as an ASGI server's, may still have theirs
        _strays[using] = 0
        _strays[using] = len(sessions(using))
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


_strays: dict[str, int] = {}
_SESSIONS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}


def sessions(alias: str) -> list[Any]:
    """Return who else is connected to the database: sessions of the server, or this process's open files."""
    connection = connections[alias]
    if connection.vendor == "sqlite":
        connection.close()
        found = [link for link in _open_files() if link == os.path.realpath(connection.settings_dict["NAME"])]
        return found[_strays.get(alias, 0) :]
    with connection.cursor() as cursor:
        cursor.execute(_SESSIONS[connection.vendor])
        found = [row[0] for row in cursor.fetchall()]
    connection.close()
    return found


def left(alias: str, count: int) -> list[Any]:
    """Return who is connected, as soon as these are ``count``: a server takes a moment to end a session."""
    give_up = time.monotonic() + 10
    while len(found := sessions(alias)) != count and time.monotonic() < give_up:
        time.sleep(0.05)
    return found


def cut_off(alias: str) -> int:
    """End everybody else's connection, as a server does that is restarted; return how many there were."""
    others = sessions(alias)
    connection = connections[alias]
    with connection.cursor() as cursor:
        for other in others:
            cursor.execute(
                "SELECT pg_terminate_backend(%s)" if connection.vendor == "postgresql" else "KILL %s", [other]
            )
    connection.close()
    return len(others)


def _open_files() -> Iterator[str]:
    for entry in os.scandir("/proc/self/fd"):
        with suppress(OSError):
            yield str(Path(entry.path).readlink())
