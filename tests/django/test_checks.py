"""The system checks: each wrong or missing setting by its name, with a hint."""

from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.core.checks import run_checks
from django.core.checks.registry import registry
from django.db import connections
from django.test import override_settings

from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.django._settings import KEYS
from amocrm_userauth.django.checks import check_deployment, check_settings

GOOD = {
    "CLIENT_ID": "example-id",
    "CLIENT_SECRET": "example-secret",
    "REDIRECT_URI": "https://example.com/callback",
    "ENCRYPTION_KEYS": [FernetCipher.generate_key()],
}


def found(given: Any, *, deploy: bool = False, **changes: Any) -> list[tuple[str, str]]:
    """Return the id and the message of everything that is wrong."""
    with override_settings(AMOCRM_USERAUTH=given, **changes):
        messages = check_deployment() if deploy else check_settings()
    assert all(message.hint for message in messages)
    assert "example-secret" not in str(messages)
    return [(message.id.removeprefix("amocrm_userauth."), message.msg) for message in messages]


def test_good_settings_are_good() -> None:
    """In every respect."""
    assert found(GOOD) == []
    assert found(GOOD, deploy=True) == []


def test_the_checks_are_registered() -> None:
    """``manage.py check`` runs them, ``--deploy`` the second as well."""
    with override_settings(AMOCRM_USERAUTH={}):
        ids = {message.id for message in run_checks()}
        deployed = {message.id for message in run_checks(include_deployment_checks=True)}
    assert "amocrm_userauth.E003" in ids
    assert "amocrm_userauth.W101" not in ids
    assert "amocrm_userauth.W101" in deployed
    assert check_settings in registry.registered_checks


@pytest.mark.parametrize(
    ("change", "number", "words"),
    [
        ({"CLIENT_ID": ""}, "E003", "lacks CLIENT_ID"),
        ({"CLIENT_SECRET": None}, "E003", "lacks CLIENT_SECRET"),
        ({"CLIENT_SECRET": " example-secret"}, "E004", "client_secret must be printable"),
        ({"REDIRECT_URI": "example.com"}, "E004", "redirect_uri must be an http"),
        ({"BRAND": "zoho"}, "E004", "brand must be"),
        ({"MODE": 7}, "E004", "mode must be"),
        ({"ACCOUNT_DOMAIN": "example.org"}, "E004", "account_domain must be a host"),
        ({"HOST_SUFFIXES": 7}, "E004", "a value of this type"),
        ({"ONLY_THIS_ACCOUNT": True}, "E004", "account_id must be the account's number"),
        ({"LEEWAY": "soon"}, "E004", "a value of this type"),
        ({"LEASE": 30}, "E004", "lease must be at least"),
        ({"EXCHANGE_BUDGET": 60}, "E004", "lease must be at least"),
        ({"WAIT_BUDGET": -1}, "E004", "must not be negative"),
        ({"STATE_KEYS": ["short"]}, "E004", "STATE_KEYS"),
        ({"STATE_POLICY": "none"}, "E004", "state_policy must be"),
        ({"CURRENT_USER": "nowhere.at_all"}, "E005", "CURRENT_USER"),
        ({"HTTP_CLIENT": 7}, "E005", "must be a callable"),
        ({"CIPHER": "nowhere.at_all", "ENCRYPTION_KEYS": []}, "E005", "CIPHER"),
        ({"CIPHER": str}, "E006", "both CIPHER and ENCRYPTION_KEYS"),
        ({"ENCRYPTION_KEYS": ["example"]}, "E006", "ENCRYPTION_KEYS"),
        ({"DEEP_LINK": "javascript:alert(1)"}, "E007", "DEEP_LINK"),
        ({"DATABASE": "nowhere"}, "E008", "nowhere"),
        ({"DATABASE": ["default"]}, "E008", "which DATABASES has not"),
        ({"CACHE_TTL": 1e300}, "E004", "a value of this type"),
        ({"LOCK_TIMEOUT": float("nan")}, "E009", "LOCK_TIMEOUT"),
        ({"REDIRECT_URI": "http://[x"}, "E004", "REDIRECT_URI"),
        ({"CONN_MAX_AGE": -1}, "E009", "CONN_MAX_AGE"),
        ({"LOCK_TIMEOUT": "5"}, "E009", "LOCK_TIMEOUT"),
        ({"CLIENT_IDD": "x"}, "E002", "did you mean 'CLIENT_ID'?"),
    ],
    ids=str,
)
def test_each_wrong_setting_is_named(change: dict[str, Any], number: str, words: str) -> None:
    """Exactly that one."""
    ((id_, message),) = found(GOOD | change)
    assert id_ == number
    assert words in message


def test_all_of_them_at_once() -> None:
    """Whoever mends one does not find out about the next only then."""
    wrong = found({"BRAND": "zoho", "MODE": "x", "LEASE": 1, "CLIENT_IDD": 1, "DATABASE": "nowhere"})
    assert [id_ for id_, _ in wrong] == ["E002", "E003", "E003", "E003", "E004", "E004", "E004", "E008"]


def test_settings_that_are_no_dict() -> None:
    """Nothing else is looked at."""
    ((id_, _),) = found([("CLIENT_ID", "example-secret")])
    assert id_ == "E001"
    assert found([], deploy=True) == []


def test_budgets_are_looked_at_together() -> None:
    """A long exchange with a lease to match is right, and so is the unsafe policy, as far as this goes."""
    assert found(GOOD | {"EXCHANGE_BUDGET": 60, "LEASE": 200, "STATE_POLICY": "optional"}) == []
    assert found(GOOD | {"ACCOUNT_DOMAIN": "crm.example.org", "HOST_SUFFIXES": ("example.org",)}) == []


def test_the_memory_of_sqlite_is_no_place() -> None:
    """Each connection would see an empty database of its own."""
    kit.add_database("memory", ENGINE="django.db.backends.sqlite3", NAME=":memory:")
    ((id_, _),) = found(GOOD | {"DATABASE": "memory"})
    assert id_ == "E010"
    del connections.settings["memory"]


def test_the_session_needs_its_middleware() -> None:
    """Unless the site says otherwise who the user is."""
    ((id_, _),) = found(GOOD, MIDDLEWARE=[])
    assert id_ == "W011"
    assert found(GOOD | {"CURRENT_USER": lambda request: None}, MIDDLEWARE=[]) == []


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({"ENCRYPTION_KEYS": []}, "W101"),
        ({"REDIRECT_URI": "http://example.com/callback"}, "W102"),
        ({"STATE_POLICY": "optional"}, "W103"),
        ({"DATABASE": "other"}, "W104"),
    ],
    ids=str,
)
def test_each_weak_setting_is_named_before_deployment(change: dict[str, Any], number: str) -> None:
    """Exactly that one, and only with ``--deploy``."""
    kit.add_database("other", ENGINE="django.db.backends.sqlite3", NAME="example")
    ((id_, _),) = found(GOOD | change, deploy=True)
    assert id_ == number
    assert found(GOOD | change) == []
    del connections.settings["other"]


def test_users_and_connections_in_different_databases() -> None:
    """Routers decide, too."""

    class Apart:
        def db_for_write(self, model: Any, **_: Any) -> str:
            return "other" if model._meta.app_label == "amocrm_userauth" else "default"

    ((id_, _),) = found(GOOD, deploy=True, DATABASE_ROUTERS=[Apart()])
    assert id_ == "W104"


def test_every_setting_is_documented_by_its_error() -> None:
    """A wrong name's hint lists what there is."""
    with override_settings(AMOCRM_USERAUTH={**GOOD, "NO_SUCH": 1}):
        (message,) = check_settings()
    assert all(name in message.hint for name in KEYS)
