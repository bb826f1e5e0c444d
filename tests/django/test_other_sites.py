"""Sites of another make: user models with other keys, no time zones. Each is a process of its own, as settings are."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections

from amocrm_userauth.django import DjangoTokenStore, user_auth
from amocrm_userauth.django._user_ids import UserIds
from amocrm_userauth.django.models import AmoCRMToken
from tests.django.people.models import PersonUser, TextUser, UUIDUser
from tests.django.site import ROOT, amocrm, connect_expired
from tests.races.kit import assert_alive

SITES = {
    "uuid": {"AMOCRM_TEST_DJANGO_USER": "people.UUIDUser"},
    "text": {"AMOCRM_TEST_DJANGO_USER": "people.TextUser"},
    "naive": {"AMOCRM_TEST_DJANGO_USE_TZ": "0"},
}
SUITE = "tests/django/test_store_contract.py"
# one database each; all of them in the long run
SHORT = {"uuid": "::TestPostgreSQL", "text": "::TestMariaDB", "naive": "::TestSQLite"}
LONG = os.environ.get("AMOCRM_TEST_LONG") == "1"
INSIDE = os.environ.get("AMOCRM_TEST_DJANGO_INSIDE") == "1"


@pytest.mark.skipif(INSIDE, reason="the inner run")
@pytest.mark.parametrize("site", SITES)
def test_the_store_suite_holds_on_another_site(site: str, on_postgresql: str, on_mariadb: str) -> None:
    """All of it, and the tests of this file."""
    env = {**os.environ, **SITES[site], "AMOCRM_TEST_DJANGO_INSIDE": "1"}
    env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}
    files = [SUITE + ("" if LONG else SHORT[site]), "tests/django/test_other_sites.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_user_of_this_site_connects_and_refreshes(database: str) -> None:
    """Whatever the key is: as text at the API, canonical, and with its row."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect_expired(fake, user)
        assert user_auth().access_token(user) == fake.pairs(user)[-1].access_token
        assert_alive(user_auth().store, fake, user)
        row = AmoCRMToken.objects.using(database).get(user__pk=user)
        assert str(row.user_id) == user
        assert row.expires_at.tzinfo is UTC
        assert abs(row.pair_saved_at - datetime.now(UTC)) < timedelta(minutes=5)
        get_user_model()._base_manager.using(database).get(pk=user).delete()
        assert user_auth().store.get(user) is None


def test_times_are_utc_in_the_database(database: str) -> None:
    """Whatever ``USE_TZ`` and ``TIME_ZONE`` say, other programs read the same moment."""
    assert settings.TIME_ZONE == "Europe/Moscow"
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect_expired(fake, user)
    moment = AmoCRMToken.objects.using(database).get().pair_saved_at
    connection = connections[database]
    utc = " AT TIME ZONE 'UTC'" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT CAST(pair_saved_at{utc} AS CHAR(19)) FROM amo_crm_tokens")
        assert cursor.fetchone()[0][:19] == f"{moment:%Y-%m-%d %H:%M:%S}"
    found = AmoCRMToken.objects.using(database).filter(pair_saved_at=moment, expires_at__lt=datetime.now(UTC))
    assert found.count() == 1
    naive = datetime.now()  # what a filter of the admin makes where there are no time zones
    if not settings.USE_TZ:
        assert AmoCRMToken.objects.using(database).filter(pair_saved_at__lt=naive).count() == 1
    connection.close()


@pytest.mark.skipif(get_user_model() is not TextUser, reason="needs keys of text")
def test_a_lookalike_cannot_be_disconnected(on_mariadb: str) -> None:
    """MariaDB's collation finds ``bob`` for ``Bob``; the store does not."""
    with kit.routed(on_mariadb), kit.empty(on_mariadb), amocrm() as fake:
        connect_expired(fake, kit.make_user("bob", on_mariadb))
        store = DjangoTokenStore()
        revision = store.get("bob").revision
        now = datetime.now(UTC)
        for other in ("Bob", "bob ", "bób"):
            assert store.get(other) is None
            assert store.delete(other) is False
            assert store.take_lease(other, revision=revision, holder="a", until=now, now=now) is None
        assert store.get("bob").lease_holder is None


@pytest.mark.parametrize(
    ("model", "given", "canonical"),
    [
        (UUIDUser, "0B1D9C7E-0000-4000-8000-00000000ABCD", "0b1d9c7e-0000-4000-8000-00000000abcd"),
        (UUIDUser, "0b1d9c7e00004000800000000000abcd", "0b1d9c7e-0000-4000-8000-00000000abcd"),
        (TextUser, "Bob ", "Bob "),
        (PersonUser, "007", "7"),
    ],
)
def test_ids_have_one_spelling(model: type, given: str, canonical: str) -> None:
    """That of ``str(pk)``."""
    assert UserIds(model).canonical(given) == canonical


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (UUIDUser, "7"),
        (UUIDUser, "{0b1d9c7e-0000-4000-8000-00000000abcd}"),
        (TextUser, ""),
        (TextUser, "bob\0"),
        (TextUser, "x" * 256),
        (PersonUser, "seven"),
        (PersonUser, "7_0"),
        (PersonUser, " 7"),
        (PersonUser, str(1 << 63)),
    ],
)
def test_what_cannot_be_an_id_is_refused(model: type, given: str) -> None:
    """Before the database sees it."""
    with pytest.raises(ValueError, match="user id"):
        UserIds(model).canonical(given)
