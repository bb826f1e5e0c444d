"""A Django site on the database of a run: its settings, its tables and users, and the store on its ORM.

``python -m tests.chaos.site`` with the database's address and a number of users makes the tables, as ``migrate`` does,
and the users. Django is imported by the processes that use it, not by the orchestrator.
"""

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from sqlalchemy import make_url

from tests.chaos.processes import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from amocrm_userauth.django import DjangoTokenStore

_KEPT = 60
_ENGINES = {"sqlite": "sqlite3", "postgresql": "postgresql", "mysql": "mysql"}


def tables(address: str, users: int) -> None:
    """Make the tables and the users, in a process of its own."""
    command = [sys.executable, "-m", "tests.chaos.site", address, str(users)]
    subprocess.run(command, check=True, env=environment())


@contextlib.contextmanager
def store(address: str, *, patience: int, pre_ping: bool) -> "Iterator[DjangoTokenStore]":
    """Set Django up in this process, and give a store that waits for ``patience`` real seconds."""
    _set_up(address, patience=patience, CONN_HEALTH_CHECKS=pre_ping)
    from amocrm_userauth.django import DjangoTokenStore

    made = DjangoTokenStore(lock_timeout=patience, conn_max_age=_KEPT)
    _count(made._database.connections)
    try:
        yield made
    finally:
        made.close()


def held(store: "DjangoTokenStore") -> dict[str, int]:
    """What connections the store holds."""
    ours = store._database.connections
    there = [wrapper for wrapper in list(ours.made) if wrapper.connection is not None]
    return {"connections": len(there), "in use": len(there) - len(ours._idle)}


def _count(connections: Any) -> None:
    """Let the store remember which connections it has made."""
    make, connections.made = connections._make, WeakSet()

    def counted(settings: dict[str, Any]) -> Any:
        wrapper = make(settings)
        connections.made.add(wrapper)
        return wrapper

    connections._make = counted


def _set_up(address: str, *, patience: int, **more: Any) -> None:
    url = make_url(address)
    if url.get_backend_name() == "mysql":
        import pymysql

        pymysql.install_as_MySQLdb()
    import django
    from django.conf import settings

    known = {"NAME": url.database, "USER": url.username or "", "HOST": url.host or "", "PORT": url.port or ""}
    engine = f"django.db.backends.{_ENGINES[url.get_backend_name()]}"
    options = _options(url.get_backend_name(), patience)
    settings.configure(
        SECRET_KEY="example-secret-key-of-the-harness",
        DATABASES={"default": {"ENGINE": engine, "OPTIONS": options, **known, **more}},
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "amocrm_userauth.django",
            "tests.django.people",
        ],
        AUTH_USER_MODEL="people.TextUser",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()


def _options(backend: str, patience: int) -> dict[str, Any]:
    """Limits such as an application sets, as those of the other stores."""
    if backend == "sqlite":
        return {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL"}
    if backend == "mysql":
        # ssl_disabled: else PyMySQL reads the system's certificates for every connection
        return {"charset": "utf8mb4", "connect_timeout": patience, "ssl_disabled": True}
    limits = f"-c lock_timeout={patience}s -c idle_in_transaction_session_timeout={patience}s"
    return {"connect_timeout": patience, "options": limits}


def main() -> None:
    """Make the tables and the users."""
    _set_up(sys.argv[1], patience=30)
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", verbosity=0, run_syncdb=True)
    users = get_user_model()
    users.objects.bulk_create([users(name=f"u{number}") for number in range(int(sys.argv[2]))])


if __name__ == "__main__":
    main()
