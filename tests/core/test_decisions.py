"""When a pair is due, how long a pause lasts, when a grant dies, what a status says."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amocrm_userauth import Integration, TokenPair, UserToken
from amocrm_userauth._core.decisions import (
    cool_down,
    due_at,
    expires_at,
    fingerprint,
    grant_dies_at,
    may_answer_rejection,
    status_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTEGRATION = Integration(
    "client", "example-secret", "https://app.example/callback", account_domain="a.amocrm.ru", account_id="7"
)


def row(user_id="42", lifetime=86_400.0, saved_at=NOW, **more):
    pair = TokenPair(
        access_token="example-a",
        refresh_token="example-r",
        expires_at=saved_at + timedelta(seconds=lifetime),
        account_id=more.pop("account_id", "31920194"),
        domain="example.amocrm.ru",
    )
    return UserToken(user_id=user_id, pair=pair, revision="r1", pair_saved_at=saved_at, **more)


@given(
    st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()), st.floats(1, 10**6), st.floats(0, 10**6)
)
def test_a_pair_is_due_between_half_and_the_whole_leeway_ahead(user_id, lifetime, leeway):
    """The leeway is at most a quarter of the life; the same user always has the same moment."""
    token = row(user_id, lifetime)
    most = min(leeway, lifetime / 4)
    ahead = (token.pair.expires_at - due_at(token, leeway)).total_seconds()
    assert most / 2 - 1e-5 <= ahead <= most + 1e-5
    assert due_at(token, leeway) == due_at(token, leeway)


def test_a_fleet_is_not_due_at_one_moment():
    """A thousand users of the same second spread over more than 7 minutes of the default leeway."""
    moments = sorted(due_at(row(str(number)), 900) for number in range(1000))
    assert moments[-1] - moments[0] > timedelta(minutes=7)
    assert len(set(moments)) > 990


def test_a_pair_that_was_stored_after_its_end_is_taken_for_good_for_a_while():
    """The local clock is ahead by more than the token's life: the pair is due within a quarter of an hour, not at once."""
    for lifetime in (0, -5, -100_000):
        token = row(lifetime=lifetime)
        assert expires_at(token) == NOW + timedelta(minutes=15)
        assert NOW + timedelta(minutes=11) < due_at(token, 900) < NOW + timedelta(minutes=15)
    assert expires_at(row(lifetime=5)) == NOW + timedelta(seconds=5)


def test_the_cool_down_doubles_up_to_a_minute():
    """One second after the first failure, a minute after many."""
    pauses = [cool_down(failures, None).total_seconds() for failures in range(1, 10)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert cool_down(10**6, None) == timedelta(seconds=60)
    assert cool_down(0, None) <= timedelta(seconds=1)


def test_the_cool_down_honours_amocrms_wish():
    """Never shorter than asked, never shorter than our own."""
    assert cool_down(1, 300) == timedelta(seconds=300)
    assert cool_down(6, 5) == timedelta(seconds=32)
    assert cool_down(2, 0.0) == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("saved", "dies"),
    [
        ("2026-01-15", "2026-04-15"),
        ("2026-10-01", "2027-01-01"),
        ("2026-12-31", "2027-03-31"),
        ("2026-11-30", "2027-03-02"),
        ("2026-11-29", "2027-03-01"),
        ("2026-11-28", "2027-02-28"),
        ("2027-11-29", "2028-02-29"),
        ("2027-11-30", "2028-03-01"),
        ("2099-11-29", "2100-03-01"),
        ("2028-02-29", "2028-05-29"),
        ("2026-08-31", "2026-12-01"),
        ("2026-09-30", "2026-12-30"),
    ],
)
def test_a_grant_dies_three_calendar_months_later(saved, dies):
    """A day that the month does not have runs into the next one, leap years counted."""
    saved_at = datetime.fromisoformat(f"{saved}T13:45:06+00:00")
    assert grant_dies_at(saved_at) == datetime.fromisoformat(f"{dies}T13:45:06+00:00")


@given(st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_three_months_are_89_to_92_days(saved_at):
    """Whatever the day; and the time of day stays."""
    assert timedelta(days=89) <= grant_dies_at(saved_at) - saved_at <= timedelta(days=92)
    assert grant_dies_at(saved_at).time() == saved_at.time()


def test_a_rejection_is_answered_once_a_minute():
    """A 401 for another reason must not spend tokens in a loop."""
    assert may_answer_rejection(row(), NOW)
    rejected = row(rejected_at=NOW)
    assert not may_answer_rejection(rejected, NOW)
    assert not may_answer_rejection(rejected, NOW + timedelta(seconds=59.9))
    assert may_answer_rejection(rejected, NOW + timedelta(seconds=60))


def test_without_a_row_the_status_has_the_defaults():
    """Not connected, no tokens, the configured account."""
    status = status_of(None, INTEGRATION, NOW)
    assert (status.connected, status.has_tokens) == (False, False)
    assert (status.domain, status.account_id) == ("a.amocrm.ru", "7")
    assert status.expires_at is status.refreshed_at is None


def test_an_expired_access_token_is_still_connected():
    """It can be refreshed, so the user need not do anything."""
    status = status_of(row(), INTEGRATION, NOW + timedelta(days=60))
    assert (status.connected, status.has_tokens) == (True, True)
    assert (status.domain, status.account_id) == ("example.amocrm.ru", "31920194")


def test_a_refused_grant_is_not_connected():
    """But has tokens, and says why."""
    status = status_of(row(reauth_reason="revoked", reauth_at=NOW), INTEGRATION, NOW)
    assert (status.connected, status.has_tokens, status.reauth_reason) == (False, True, "revoked")


def test_a_grant_past_its_three_months_is_not_connected():
    """From that very moment."""
    dies = grant_dies_at(NOW)
    assert status_of(row(), INTEGRATION, dies - timedelta(microseconds=1)).connected
    assert not status_of(row(), INTEGRATION, dies).connected


def test_a_token_that_outlives_three_months_stays_connected():
    """While the access token is valid nothing else matters."""
    assert status_of(row(lifetime=86_400 * 365), INTEGRATION, NOW + timedelta(days=200)).connected


def test_an_unknown_account_is_the_configured_one():
    """And times are UTC, whatever the store hands back."""
    east = timezone(timedelta(hours=9))
    status = status_of(row(account_id="", saved_at=NOW.astimezone(east)), INTEGRATION, NOW)
    assert status.account_id == "7"
    assert status.refreshed_at == NOW
    assert status.refreshed_at.tzinfo is UTC
    assert status.expires_at.tzinfo is UTC


def test_the_fingerprint_is_of_the_settings_and_hides_them():
    """Another id, secret or redirect URI is another fingerprint; the account is not part of it."""
    one = fingerprint(INTEGRATION)
    assert one == fingerprint(replace(INTEGRATION, account_id="8"))
    for name, value in (("client_id", "x"), ("client_secret", "x"), ("redirect_uri", "https://x.example")):
        assert fingerprint(replace(INTEGRATION, **{name: value})) != one
    assert len(one) == 8
