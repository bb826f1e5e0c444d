"""The databases of the site."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests import services
from tests.django import kit


@pytest.fixture(scope="session")
def on_sqlite() -> str:
    """Return the alias of a migrated SQLite file."""
    return kit.site()


@pytest.fixture(scope="session")
def on_postgresql(postgresql_of_django: URL) -> str:
    """Return the alias of a migrated PostgreSQL database."""
    return kit.migrate(kit.add_url("postgresql", postgresql_of_django))


@pytest.fixture(scope="session")
def on_mariadb(mariadb_of_django: URL) -> str:
    """Return the alias of a migrated MariaDB database."""
    return kit.migrate(kit.add_url("mariadb", mariadb_of_django))


@pytest.fixture(scope="session")
def postgresql_of_django() -> Iterator[URL]:
    """Give a PostgreSQL database of these tests' own: others use the same names of tables."""
    yield from services.database("postgresql")


@pytest.fixture(scope="session")
def mariadb_of_django() -> Iterator[URL]:
    """Give a MariaDB database of these tests' own."""
    yield from services.database("mariadb")


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the alias of each database in turn, empty, and with everything routed to it."""
    alias: str = request.getfixturevalue(f"on_{request.param}")
    with kit.routed(alias), kit.empty(alias):
        yield alias
