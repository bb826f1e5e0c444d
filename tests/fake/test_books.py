"""What the fake writes down, and what it can tell about its tokens."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from amocrm_userauth.testing import FakeAmoCRM, fingerprint
from tests.fake.kit import Caller, caller


class Stored:
    """A pair as a store has it."""

    def __init__(self, pair: dict[str, str]) -> None:
        self.access_token = pair["access_token"]
        self.refresh_token = pair["refresh_token"]


def test_token_calls_are_counted_by_user_and_grant_type():
    """Refused ones too; what amoCRM never issued is nobody's."""
    with caller() as amo:
        token = amo.connect()["refresh_token"]
        amo.connect("boris")
        amo.refresh(token)
        amo.refresh(token)
        amo.refresh("junk")
        assert amo.fake.token_calls() == 5
        assert amo.fake.token_calls("anna") == 3
        assert amo.fake.token_calls("anna", "refresh_token") == 2
        assert amo.fake.token_calls("anna", grant_type="authorization_code") == 1
        assert amo.fake.token_calls("") == 1


def test_every_presentation_is_on_record():
    """Which token, what came of it, and whether the answer went out."""
    with caller() as amo:
        token = amo.connect()["refresh_token"]
        amo.refresh(token)
        amo.refresh(token)
        taken, refused = amo.fake.presentations("anna", "refresh_token")
        assert taken.fingerprint == refused.fingerprint == fingerprint(token)
        assert (taken.outcome, taken.status, taken.answered, taken.hint) == ("issued", 200, True, "")
        assert (refused.outcome, refused.status, refused.hint) == ("refused", 401, "Token has been revoked")
        assert taken.at <= refused.at


def test_a_presentation_tells_what_came_of_it_and_from_where():
    """The new refresh token by its fingerprint, the host, and the request's own id."""
    with caller() as amo:
        first = amo.connect()["refresh_token"]
        headers = {"x-request-id": "example-1"}
        fields = amo.fields(grant_type="refresh_token", refresh_token=first)
        pair = amo.http.post("https://example.amocrm.ru/oauth2/access_token", json=fields, headers=headers).json()
        amo.refresh(first)
        exchanged, taken, refused = amo.fake.presentations("anna")
        assert exchanged.issued == taken.fingerprint == fingerprint(first)
        assert (taken.issued, taken.host) == (fingerprint(pair["refresh_token"]), "example.amocrm.ru")
        assert taken.at <= taken.answered_at <= amo.fake.now().timestamp()
        assert (exchanged.request_id, taken.request_id, refused.issued) == ("", "example-1", "")


def test_an_answer_that_was_not_sent_has_no_time():
    """Nor one that was lost."""
    with caller() as amo:
        token = amo.connect()["refresh_token"]
        amo.fake.drop_answer_next("anna")
        with pytest.raises(httpx.HTTPError):
            amo.refresh(token)
        assert amo.fake.presentations("anna")[-1].answered_at is None


def test_the_ledger_tells_of_every_pair_without_its_tokens():
    """Whose it is, what bought it, and when its access token ended."""
    now = [datetime(2030, 1, 1, tzinfo=UTC)]
    start = now[0].timestamp()
    with caller(clock=lambda: now[0], refresh_kills_access=True) as amo:
        old = amo.connect()
        now[0] += timedelta(seconds=10)
        new = amo.refresh(old["refresh_token"]).json()
        amo.connect("boris")
        now[0] += timedelta(seconds=10)
        amo.fake.revoke("anna")
        first, second, other = amo.fake.ledger()
        assert (first.parent, second.parent) == ("", first.fingerprint) == ("", fingerprint(old["refresh_token"]))
        assert second.access_fingerprint == fingerprint(new["access_token"])
        assert [entry.issued_at - start for entry in (first, second, other)] == [0, 10, 10]
        assert [entry.ended_at and entry.ended_at - start for entry in (first, second, other)] == [10, 20, None]
        assert [entry.state for entry in (first, second, other)] == ["killed", "killed", "alive"]
        assert (first.grant, second.grant, other.grant) == (0, 0, 1)
        assert (other.user, other.expires_at - start) == ("boris", 86_410)


def test_requests_are_logged_without_secrets():
    """Method, path, host, status and user; no query, header or body."""
    with caller() as amo:
        pair = amo.connect()
        amo.account(pair["access_token"])
        amo.http.get(amo.integration.url_for("secret-state"))
        exchange, account, consent = amo.fake.requests
        assert (exchange.method, exchange.path, exchange.user) == ("POST", "/oauth2/access_token", "anna")
        assert (account.host, account.status, account.user) == ("example.amocrm.ru", 200, "anna")
        assert (consent.path, consent.user) == ("/oauth", "")
        shown = repr(amo.fake.requests) + repr(amo.fake.presentations()) + repr(amo.fake.pairs("anna"))
        for secret in (*pair.values(), "secret-state", amo.integration.client_secret):
            assert str(secret) not in shown or secret in {86400, "Bearer", pair["server_time"]}


def test_which_pair_is_alive():
    """By token or whole pair, and only for its own user."""
    with caller() as amo:
        old = amo.connect()
        new = amo.refresh(old["refresh_token"]).json()
        fake = amo.fake
        assert fake.is_alive(Stored(new), "anna")
        assert fake.is_alive(new["refresh_token"], "anna")
        assert not fake.is_alive(new["refresh_token"], "boris")
        assert not fake.is_alive(Stored(old), "anna")
        assert not fake.is_alive(Stored({**new, "access_token": old["access_token"]}), "anna")
        assert not fake.accepts("junk")
        assert fake.alive_pair("anna").access_token == new["access_token"]
        assert [pair.state for pair in fake.pairs("anna")] == ["spent", "alive"]
        assert fake.accepts_access(new["access_token"])
        fake.revoke("anna")
        assert fake.alive_pair("anna") is None
        assert not fake.accepts_access(new["access_token"])
        assert fake.alive_pair("nobody") is None


def test_the_clock_can_be_given_and_moved():
    """The fake's time is the given one and what it was advanced by."""
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    with caller(clock=lambda: noon) as amo:
        assert amo.fake.now() == noon
        amo.fake.advance(60)
        assert amo.fake.now() == noon + timedelta(minutes=1)
        assert amo.connect()["server_time"] == int(noon.timestamp()) + 60
        assert amo.fake.alive_pair("anna").expires_at == noon + timedelta(days=1, minutes=1)


def test_books_can_be_read_after_the_end():
    """The state is still there when the server is not."""
    with caller() as amo:
        amo.connect()
    assert amo.fake.token_calls("anna") == 1


def test_an_integration_is_registered_when_nobody_did():
    """``authorize`` needs no preparation, and without arguments it is anna's."""
    with FakeAmoCRM() as fake, fake.http_client() as http:
        code = fake.authorize()
        assert Caller(fake, http).exchange(code).status_code == 200
        assert fake.token_calls("anna") == 1
