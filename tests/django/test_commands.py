"""The management commands."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.django import kit  # isort: skip - it sets Django up

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from amocrm_userauth.crypto import TAG, FernetCipher
from amocrm_userauth.django import user_auth
from amocrm_userauth.django.models import AmoCRMState, AmoCRMToken
from amocrm_userauth.errors import GrantRevoked
from tests.django.site import amocrm, connect, expire, settings_for


class Terminal(io.StringIO):
    """Output that is looked at."""

    def isatty(self) -> bool:
        return True


def run(name: str, *args: str, stderr: Any = None, **options: Any) -> str:
    """Return what the command prints."""
    out = io.StringIO()
    call_command(name, *args, stdout=out, stderr=stderr or io.StringIO(), **options)
    return out.getvalue()


def test_status_shows_everybody(database: str) -> None:
    """A line for each connection, a sum, and no token."""
    good, bad = (kit.make_user(name, database) for name in ("good", "bad"))
    with amocrm() as fake:
        assert run("amocrm_status").endswith("nobody\n")
        for user in (good, bad):
            connect(fake, user)
        fake.revoke(bad)
        expire(bad)
        with pytest.raises(GrantRevoked):
            user_auth().access_token(bad)
        shown = run("amocrm_status")
        secrets = [value for user in (good, bad) for pair in fake.pairs(user) for value in (pair.access_token,)]
    assert "1 connected, 1 refused" in shown
    assert len(shown.splitlines()) == 4
    assert fake.host(good) in shown
    assert not [secret for secret in secrets if secret in shown]


def test_status_of_some(database: str) -> None:
    """By primary key or by user name; who is not connected is said to be that."""
    user = kit.make_user("bob", database)
    with amocrm():
        assert "1 none" in run("amocrm_status", user)
        name = AmoCRMToken._meta.get_field("user").related_model._base_manager.using(database).get(pk=user).username
        assert "1 none" in run("amocrm_status", name, username=True)
        with pytest.raises(CommandError, match="no user has username 'nobody'"):
            run("amocrm_status", "nobody", username=True)
        with pytest.raises(CommandError, match="no user has pk 'nobody'"):
            run("amocrm_status", "nobody")


def test_disconnect(database: str) -> None:
    """It says who was connected."""
    user = kit.make_user("bob", database)
    with amocrm() as fake:
        connect(fake, user)
        assert run("amocrm_disconnect", user) == f"{user}: disconnected\n"
        assert run("amocrm_disconnect", user) == f"{user}: was not connected\n"
        assert not AmoCRMToken.objects.using(database).exists()


def old(fake: Any, database: str, names: list[str]) -> list[str]:
    """Connect users whose pairs are forty days old."""
    users = [kit.make_user(name, database) for name in names]
    for user in users:
        connect(fake, user)
    AmoCRMToken.objects.using(database).update(pair_saved_at=datetime.now(UTC) - timedelta(days=40))
    return users


def test_refresh_due(database: str) -> None:
    """Those that are old enough, with a bar on a terminal and a report."""
    terminal = Terminal()
    with amocrm() as fake:
        users = old(fake, database, ["bob", "eve", "zoe"])
        fresh = kit.make_user("new", database)
        connect(fake, fresh)
        assert run("amocrm_refresh_due", days=50) == "due 0, refreshed 0, skipped 0\n"
        assert "refreshed 2" in run("amocrm_refresh_due", limit=2, rate=1000, stderr=terminal)
        assert "refreshed 1" in run("amocrm_refresh_due", rate=1000)
        assert [fake.token_calls(user, "refresh_token") for user in [*users, fresh]] == [1, 1, 1, 0]
    drawn = terminal.getvalue()
    assert "\r[###############---------------] 1/2, 0 failed" in drawn
    assert drawn.endswith("] 2/2, 0 failed\n")


def test_refresh_due_fails_if_a_user_does(database: str) -> None:
    """After the others have had their turn; the next run finds the refused one no more."""
    with amocrm() as fake:
        bob, eve = old(fake, database, ["bob", "eve"])
        fake.revoke(bob)
        out = io.StringIO()
        with pytest.raises(CommandError, match="1 of 2 could not be refreshed"):
            call_command("amocrm_refresh_due", rate=1000, stdout=out)
        assert f"{bob}: grant_revoked" in out.getvalue()
        assert fake.token_calls(eve, "refresh_token") == 1
        assert "due 0" in run("amocrm_refresh_due", no_progress=True, stderr=Terminal())


def test_clear_states(database: str) -> None:
    """What has expired goes, in batches; what is in use stays."""
    now = datetime.now(UTC)
    common = {"code_hash": "c", "user_hash": "u", "outcome": "connected", "claimant": ""}
    AmoCRMState.objects.using(database).bulk_create(
        AmoCRMState(nonce_hash=f"n-{number}", expires_at=now - timedelta(minutes=1), **common) for number in range(1500)
    )
    AmoCRMState.objects.using(database).create(nonce_hash="new", expires_at=now + timedelta(minutes=1), **common)
    with amocrm():
        assert run("amocrm_clear_states") == "1500 expired states deleted\n"
    assert [state.pk for state in AmoCRMState.objects.using(database).all()] == ["new"]


def test_reencrypt(database: str) -> None:
    """Plain and old tokens alike are written with the first key; then the old one is not needed."""
    first, second = FernetCipher.generate_key(), FernetCipher.generate_key()
    with amocrm(ENCRYPTION_KEYS=[first]) as fake:
        users = [kit.make_user(name, database) for name in ("bob", "eve")]
        for user in users:
            connect(fake, user)
        known = settings_for(fake, HTTP_CLIENT=fake.http_client)
        with override_settings(AMOCRM_USERAUTH={**known, "ENCRYPTION_KEYS": [second, first]}):
            assert run("amocrm_reencrypt") == "2 connections encrypted anew\n"
        with override_settings(AMOCRM_USERAUTH={**known, "ENCRYPTION_KEYS": [second]}):
            for user in users:
                assert user_auth().access_token(user) == fake.pairs(user)[-1].access_token
                row = AmoCRMToken.objects.using(database).get(user_id=user)
                assert row.access_token.startswith(TAG)
        with pytest.raises(CommandError, match=r"configuration_error: .*add the key"):
            run("amocrm_reencrypt")


def test_a_command_without_settings_says_what_is_missing(on_sqlite: str) -> None:
    """One line, not a traceback."""
    with override_settings(AMOCRM_USERAUTH={}), pytest.raises(CommandError, match="AMO_CLIENT_ID"):
        run("amocrm_refresh_due")


def test_every_command_works_with_nothing_to_do(database: str) -> None:
    """An empty site."""
    with amocrm():
        assert run("amocrm_clear_states").startswith("0 ")
        assert run("amocrm_reencrypt").startswith("0 ")
        assert run("amocrm_refresh_due").startswith("due 0")
