"""Databases on real servers: the server that the environment names, or the one on the usual local port."""

import contextlib
import getpass
import os
from collections.abc import Iterator
from secrets import token_hex

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

__all__ = ["NAMES", "Missing", "database", "on"]

NAMES = {"postgresql": "PostgreSQL", "mariadb": "MariaDB"}
_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}
_USUAL = {
    "postgresql": [f"postgresql://{user}@127.0.0.1:5432/postgres" for user in ("postgres", getpass.getuser())],
    "mariadb": ["mysql://root@127.0.0.1:3306/"],
}


class Missing(Exception):
    """There is no such server here; the message says what would name one."""


@contextlib.contextmanager
def database(kind: str) -> Iterator[URL]:
    """Yield the address of a new database, which is dropped at the end. Raises ``Missing``."""
    server = _find(kind)
    name = f"amocrm_bench_{os.getpid()}_{token_hex(4)}"
    _execute(server, f"CREATE DATABASE {name}" + (" CHARACTER SET utf8mb4" if kind == "mariadb" else ""))
    try:
        yield server.set(database=name)
    finally:
        _execute(server, f"DROP DATABASE {name}" + (" WITH (FORCE)" if kind == "postgresql" else ""))


def on(url: URL, driver: str) -> str:
    """Return the address with another driver, such as ``asyncpg``, as text."""
    return url.set(drivername=f"{url.get_backend_name()}+{driver}").render_as_string(hide_password=False)


def _find(kind: str) -> URL:
    variable = f"AMOCRM_TEST_{kind.upper()}_URL"
    given = os.environ.get(variable)
    for address in [given] if given else _USUAL[kind]:
        url = make_url(address).set(drivername=_DRIVERS[kind])
        with contextlib.suppress(SQLAlchemyError, OSError):
            _execute(url, "SELECT 1")
            return url
    tried = f"{variable} names one that does not answer" if given else f"none on its usual port; set {variable}"
    raise Missing(f"no {NAMES[kind]}: {tried}")


def _execute(url: URL, statement: str) -> None:
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
