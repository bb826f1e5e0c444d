"""What all tests share: databases, and which tests run where."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests import services


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes minutes, unless ``AMOCRM_TEST_LONG=1``."""
    if os.environ.get("AMOCRM_TEST_LONG") == "1":
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make test-long"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which servers were missing: what ran against none of them shows less."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr)
        for kind in ("postgresql", "mariadb", "redis", "chromium"):
            if f"no {kind}: " in reason:
                services.MISSING.setdefault(kind, reason.partition(f"no {kind}: ")[2].rstrip("')"))
    for kind, reason in services.MISSING.items():
        terminalreporter.section(f"{kind.upper()} WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(reason)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[URL]:
    """Give the address of an empty PostgreSQL database of this process's own."""
    yield from services.database("postgresql")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[URL]:
    """Give the address of an empty MariaDB database of this process's own."""
    yield from services.database("mariadb")


@pytest.fixture(scope="session")
def redis_url() -> str:
    """Give the address of a Redis server."""
    return services.redis_url()
