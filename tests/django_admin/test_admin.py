"""What staff sees of the connections, may do with them, and never sees."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from amocrm_userauth.django import admin, user_auth
from amocrm_userauth.django.models import AmoCRMState, AmoCRMToken
from amocrm_userauth.testing import FakeAmoCRM
from tests.django_admin.kit import STATES, set_row, staff

LIST = "/admin/amocrm_userauth/amocrmtoken/"


def _as(*permissions: str) -> Client:
    client = Client()
    client.force_login(staff(f"staff-{'-'.join(permissions)}"[:30], *permissions))
    return client


def _act(client: Client, action: str, *rows: Any, **more: object) -> Any:
    chosen = [str(row.pk) for row in rows]
    return client.post(LIST, {"action": action, "_selected_action": chosen, **more}, follow=True)


def _messages(reply: Any) -> list[str]:
    return [str(message) for message in reply.context["messages"]]


def _names(reply: Any) -> set[str]:
    return {row.user.username for row in reply.context["cl"].result_list}


def test_the_list(rows: dict[str, Any]) -> None:
    """Each user's account and state are there."""
    reply = _as("view_amocrmtoken").get(LIST)
    assert _names(reply) == set(STATES)
    text = reply.content.decode()
    found = re.findall(r'field-state">(.*?)</td><td class="field-reason">(.*?)</td>', text)
    assert set(found) == {
        ("connected", ""),
        ("must connect again", "revoked"),
        ("must connect again", "three months of silence"),
        ("failing for now", "amoCRM answered 503"),
    }
    assert text.count("example.amocrm.ru (31920194)") == 4


def test_a_row(rows: dict[str, Any]) -> None:
    """All that is not secret is there, and nothing can be edited, deleted or added."""
    client = _as("*")
    reply = client.get(f"{LIST}{rows['boris'].pk}/change/")
    text = reply.content.decode()
    assert "boris" in text
    assert "revoked" in text
    assert not re.search(r"<(input|select|textarea)[^>]*name=\"(?!csrf|_)", text)
    assert 'name="_save"' not in text
    assert "deletelink" not in text
    change = f"{LIST}{rows['boris'].pk}/change/"
    assert client.post(change, {"domain": "evil.example", "_save": "1"}).status_code == 403
    assert client.post(f"{LIST}{rows['boris'].pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert AmoCRMToken.objects.count() == 4


def test_no_page_holds_a_token(rows: dict[str, Any], fake: FakeAmoCRM) -> None:
    """Neither in clear nor as it is stored; it is not even read from the database."""
    client = _as("*")
    stored = [
        value
        for row in AmoCRMToken.objects.all()
        for value in (row.access_token, row.refresh_token, row.code_hash, row.revision)
    ]
    secrets = {*stored, *(t for n in STATES for p in fake.pairs(n) for t in (p.access_token, p.refresh_token))}
    pages = [LIST, "/admin/", "/admin/amocrm_userauth/", f"/admin/auth/user/{rows['anna'].user.pk}/delete/"]
    pages += [f"{LIST}{row.pk}/{page}/" for row in rows.values() for page in ("change", "history")]
    for page in pages:
        reply = client.get(page)
        assert reply.status_code == 200, page
        assert not [secret for secret in secrets if str(secret) in reply.content.decode()], page
    confirm = _act(client, "disconnect", *rows.values()).content.decode()
    assert not [secret for secret in secrets if str(secret) in confirm]
    read = client.get(LIST).context["cl"].result_list[0]
    assert {"access_token", "refresh_token", "previous_refresh_token"} <= read.get_deferred_fields()


@pytest.mark.parametrize(
    "name", ["access_token", "refresh_token__startswith", "revision", "client_id", "user__password"]
)
def test_no_token_can_be_guessed_by_filters(rows: dict[str, Any], name: str) -> None:
    """Django lets staff filter by any column of the table: letter by letter that would tell a token."""
    assert _as("view_amocrmtoken").get(LIST, {name: "e"}).status_code == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "connected"}, "anna clara"),
        ({"state": "reconnect"}, "boris dmitri"),
        ({"state": "failing"}, "clara"),
        ({"in_doubt__exact": "1"}, ""),
        ({"reauth_reason": "revoked"}, "boris"),
        ({"q": "bor"}, "boris"),
        ({"q": "clara@example"}, "clara"),
        ({"q": "example.amocrm.ru"}, "anna boris clara dmitri"),
        ({"q": "nobody"}, ""),
    ],
    ids=str,
)
def test_filters_and_search(rows: dict[str, Any], query: dict[str, str], found: str) -> None:
    """By state, reason, user and account."""
    User.objects.filter(username="clara").update(email="clara@example.com")
    reply = _as("view_amocrmtoken").get(LIST, query)
    assert reply.status_code == 200
    assert sorted(_names(reply)) == found.split()


def test_refreshing(rows: dict[str, Any], fake: FakeAmoCRM) -> None:
    """Who can be refreshed is; of the others the reason is told; both leave their marks."""
    fake.revoke("boris")
    client = _as("view_amocrmtoken", "change_amocrmtoken")
    messages = _messages(_act(client, "refresh", rows["anna"], rows["boris"]))
    assert "1 refreshed." in messages
    assert any(message.startswith("For boris: ") for message in messages)
    assert fake.token_calls(grant_type="refresh_token") >= 1
    assert [entry.change_message for entry in LogEntry.objects.filter(object_id=str(rows["anna"].pk))] == ["Refreshed."]
    assert not LogEntry.objects.filter(object_id=str(rows["boris"].pk))


def test_refreshing_ends_before_the_web_server_loses_patience(
    rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there was no time for is said."""
    monkeypatch.setattr(admin, "_PATIENCE", 0.0)
    client = _as("view_amocrmtoken", "change_amocrmtoken")
    messages = _messages(_act(client, "refresh", rows["anna"], rows["clara"]))
    assert len(messages) == 1
    assert messages[0].startswith("2 were not tried")


@pytest.mark.parametrize(("action", "done"), [("refresh", "refreshed"), ("disconnect", "disconnected")])
def test_actions_are_outside_of_the_requests_transaction(rows: dict[str, Any], action: str, done: str) -> None:
    """With ``ATOMIC_REQUESTS`` too: what the request has read would keep SQLite from writing, here or there."""
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        reply = _act(_as("*"), action, rows["anna"], rows["boris"], confirmed="yes")
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert _messages(reply) == [f"2 {done}."]
    assert LogEntry.objects.count() == 2


def test_disconnecting_ends_before_the_web_server_loses_patience(
    rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As refreshing does."""
    monkeypatch.setattr(admin, "_PATIENCE", 0.0)
    messages = _messages(_act(_as("*"), "disconnect", rows["anna"], confirmed="yes"))
    assert messages == ["1 were not tried: it took too long. manage.py amocrm_disconnect has the time."]
    assert AmoCRMToken.objects.count() == 4


def test_disconnecting_asks_first(rows: dict[str, Any]) -> None:
    """A page names the users; only its answer deletes their rows."""
    client = _as("view_amocrmtoken", "delete_amocrmtoken")
    asked = _act(client, "disconnect", rows["anna"], rows["boris"])
    assert AmoCRMToken.objects.count() == 4
    assert "anna (example.amocrm.ru)" in asked.content.decode()
    assert "clara" not in asked.content.decode()
    messages = _messages(_act(client, "disconnect", rows["anna"], rows["boris"], confirmed="yes"))
    assert messages == ["2 disconnected."]
    assert {row.user.username for row in AmoCRMToken.objects.all()} == {"clara", "dmitri"}
    assert User.objects.filter(username="anna").exists()
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Disconnected."] * 2


@pytest.mark.parametrize("action", ["refresh", "disconnect", "delete_selected"])
def test_who_may_only_look_may_do_nothing(rows: dict[str, Any], fake: FakeAmoCRM, action: str) -> None:
    """Refreshing takes the permission to change, disconnecting that to delete; deleting past us there is not."""
    client = _as("*") if action == "delete_selected" else _as("view_amocrmtoken")
    _act(client, action, rows["anna"], confirmed="yes", post="yes")
    assert AmoCRMToken.objects.count() == 4
    assert fake.token_calls(grant_type="refresh_token") == 0
    offered = client.get(LIST).context["action_form"]
    assert offered is None or action not in dict(offered.fields["action"].choices)


def test_deleting_a_user_takes_the_connection_along(rows: dict[str, Any]) -> None:
    """The admin of users is not stopped by a table that nobody edits."""
    client = _as("*")
    user = rows["anna"].user
    where = reverse("admin:auth_user_delete", args=[user.pk])
    assert client.post(where, {"post": "yes"}, follow=True).status_code == 200
    assert not User.objects.filter(username="anna").exists()
    assert AmoCRMToken.objects.count() == 3


def test_used_states_are_not_there(rows: dict[str, Any]) -> None:
    """Nobody needs to see them."""
    assert AmoCRMState.objects.exists()
    assert "amocrmstate" not in _as("*").get("/admin/").content.decode()


def test_a_wrong_setting_is_told(rows: dict[str, Any]) -> None:
    """An action says what the service says."""

    def broken(_user: str) -> None:
        raise admin.AmoCRMUserAuthError("set the key")

    auth, client = user_auth(), _as("*")
    auth.refresh = auth.disconnect = broken
    assert _messages(_act(client, "refresh", rows["anna"])) == ["For anna: set the key"]
    assert _messages(_act(client, "disconnect", rows["anna"], confirmed="yes")) == ["For anna: set the key"]


def test_a_pair_that_dies_today(rows: dict[str, Any]) -> None:
    """The list and the filter agree on when three months are over."""
    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    for days in range(85, 97):
        set_row(rows["dmitri"], pair_saved_at=now - timedelta(days=days, minutes=1))
        row = AmoCRMToken.objects.get(pk=rows["dmitri"].pk)
        dead = admin._is_silent(row)
        reply = _as_once().get(LIST, {"state": "reconnect"})
        assert ("dmitri" in _names(reply)) == dead, days


def _as_once() -> Client:
    client = Client()
    client.force_login(User.objects.filter(username="root").first() or staff("root", "*"))
    return client
