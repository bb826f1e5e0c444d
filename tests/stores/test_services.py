"""The servers that tests run against: found, started, or missed loudly."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from tests import services

pytest_plugins = ["pytester"]


def test_each_process_has_a_database_of_its_own(postgresql: URL, mariadb: URL) -> None:
    """Parallel runs do not meet: the name is random, and the database is dropped at the end."""
    for kind in ("postgresql", "mariadb"):
        database = services.database(kind)
        url = next(database)
        assert url.database not in {postgresql.database, mariadb.database}
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE t (i INTEGER)"))
        assert inspect(engine).get_table_names() == ["t"]
        assert list(database) == []
        with pytest.raises(Exception, match=str(url.database)):
            create_engine(url, poolclass=NullPool).connect()


def test_redis_is_found(redis_url: str) -> None:
    """And answers."""
    assert services._answers_redis(redis_url)


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given is used without looking further; the driver is ours."""
    monkeypatch.setenv("AMOCRM_TEST_POSTGRESQL_URL", "postgresql://example@db.example:6543/x")
    assert services._find("postgresql") == make_url("postgresql+psycopg://example@db.example:6543/x")


@pytest.mark.long
@pytest.mark.parametrize(
    ("start", "answers"),
    [
        (services._start_postgresql, services._answers),
        (services._start_mariadb, services._answers),
        (services._start_redis, services._answers_redis),
    ],
)
def test_a_server_of_our_own_can_be_started(start: Any, answers: Any) -> None:
    """Where nothing is found, one is started for this process."""
    assert answers(services._search(start.__name__, (), answers, start))


def missing() -> str:
    msg = "example-server is not installed"
    raise RuntimeError(msg)


@pytest.mark.parametrize(("required", "outcome"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_server_is_skipped_or_fails(required: str, outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``AMOCRM_TEST_REQUIRE_SERVICES=1`` turns the skip into a failure; both give the reason."""
    monkeypatch.setenv("AMOCRM_TEST_REQUIRE_SERVICES", required)
    monkeypatch.setattr(services, "MISSING", {})
    with pytest.raises(outcome, match="example-server is not installed; set EXAMPLE_URL"):
        services._found("example", "EXAMPLE_URL", [], services._answers, missing)


def test_the_summary_names_what_was_not_tested(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skipped database is not overlooked."""
    monkeypatch.delenv("AMOCRM_TEST_REQUIRE_SERVICES", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeconftest("from tests.conftest import *")
    pytester.makepyfile(
        """
        import pytest

        def test_one():
            pytest.skip("no mariadb: mariadbd is not installed")
        """
    )
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["*MARIADB WAS NOT TESTED*", "*mariadbd is not installed*"])
