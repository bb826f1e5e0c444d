"""The migrations say what the models say, on every database, forwards and backwards."""

import io

import pytest
from django.core.management import call_command
from django.db import connections

from amocrm_userauth.django.models import AmoCRMToken

_TABLES = {"amo_crm_tokens", "amo_crm_states"}


def test_no_migration_is_missing() -> None:
    """``makemigrations --check``."""
    call_command("makemigrations", "amocrm_userauth", check=True, dry_run=True, stdout=io.StringIO())


@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mariadb"])
def test_backwards_and_forwards(server: str, request: pytest.FixtureRequest) -> None:
    """The tables go, and come again with the unique and other indexes."""
    alias = request.getfixturevalue(f"on_{server}")
    connection = connections[alias]
    call_command("migrate", "amocrm_userauth", "zero", database=alias, verbosity=0)
    assert not _TABLES & set(connection.introspection.table_names())
    call_command("migrate", "amocrm_userauth", database=alias, verbosity=0)
    with connection.cursor() as cursor:
        assert set(connection.introspection.table_names(cursor)) >= _TABLES
        found = connection.introspection.get_constraints(cursor, "amo_crm_tokens").values()
        keys = {tuple(one["columns"]): one for one in found}
    connection.close()
    assert any(one["unique"] and one["columns"] == ["user_id"] for one in found)
    assert keys["pair_saved_at", "user_id"]["index"]
    assert keys["account_id",]["index"]
    if server != "sqlite":
        assert any(one["foreign_key"] and one["columns"] == ["user_id"] for one in found)


def test_a_row_does_not_show_its_tokens() -> None:
    """Neither as text nor as it is printed."""
    row = AmoCRMToken(user_id=7, domain="example.amocrm.ru", access_token="example-secret")
    assert str(row) == "7: example.amocrm.ru"
    assert "example-secret" not in repr(row)
