"""The values that stores keep and callers get."""

import pickle
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amocrm_userauth import TokenPair, UserToken
from amocrm_userauth._core.model import AuthorizationRequest, Callback, RefreshReport, check_user_id
from amocrm_userauth.errors import AuthorizationDenied

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def pair(**changes):
    fields = {
        "access_token": "example-access",
        "refresh_token": "example-refresh",
        "expires_at": NOW,
        "account_id": "31920194",
        "domain": "example.amocrm.ru",
    }
    return TokenPair(**fields | changes)


@pytest.mark.parametrize(
    "user_id", [None, "", 17, 0, True, b"42", ["42"], object, "a\0b", "\0", "\ud800", "a\udfff", "x" * 256]
)
def test_what_cannot_name_a_user_is_refused(user_id):
    """An anonymous user never gets anybody's token."""
    with pytest.raises(ValueError, match="user id"):
        check_user_id(user_id)


@pytest.mark.parametrize("user_id", ["4", "x" * 255, "я" * 255, "\U0001f600" * 255, " ", "Bob ", "a\nb", "None"])
def test_any_other_text_names_a_user_and_stays_as_it_is(user_id):
    """1 to 255 characters; nothing is trimmed or folded."""
    assert check_user_id(user_id) == user_id


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255))
def test_every_valid_text_is_a_user_id(user_id):
    """And can be encoded, hashed and stored."""
    assert check_user_id(user_id).encode()


def test_the_refusal_of_a_user_id_does_not_repeat_it():
    """It may be anything that came in by mistake."""
    with pytest.raises(ValueError, match="valid Unicode") as caught:
        check_user_id("example-secret\ud800")
    assert "example-secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_pair_decrypts_when_it_is_looked_at_and_once():
    """A store may hand over callables: each is called at the first look, and only for its own token."""
    calls = []
    lazy = pair(
        access_token=lambda: calls.append("access") or "example-access",
        refresh_token=lambda: calls.append("refresh") or "example-refresh",
    )
    assert calls == []
    assert (lazy.access_token, lazy.access_token) == ("example-access", "example-access")
    assert calls == ["access"]
    assert lazy == pair()
    assert calls == ["access", "refresh"]


def test_pairs_are_equal_by_their_fields():
    """As values are; equal pairs have equal hashes."""
    assert pair() == pair()
    assert hash(pair()) == hash(pair())
    assert pair() != "pair"
    for name, other in (("access_token", "x"), ("refresh_token", "x"), ("domain", "x"), ("scopes", ("crm",))):
        assert pair() != pair(**{name: other})


def test_a_pair_survives_pickling():
    """As values do."""
    assert pickle.loads(pickle.dumps(pair())) == pair()


def test_no_value_shows_a_secret():
    """Neither the pair nor what holds it."""
    token = UserToken(
        user_id="42", pair=pair(), revision="r1", previous_refresh_token="example-previous", pair_saved_at=NOW
    )
    request = AuthorizationRequest(
        url="https://www.amocrm.ru/oauth?state=example-state", state="example-state", expires_at=NOW
    )
    callback = Callback(state="example-state", code="example-code", referer="example.amocrm.ru")
    shown = f"{pair()!r} {token!r} {request!r} {callback!r}"
    assert "example.amocrm.ru" in shown
    for secret in ("example-access", "example-refresh", "example-previous", "example-state", "example-code"):
        assert secret not in shown


def test_reports_do_not_share_their_failures():
    """Each has a dictionary of its own."""
    assert RefreshReport().failed is not RefreshReport().failed


def test_a_callback_grants_its_code_or_says_that_it_was_denied():
    """For pages that connect the user right there."""
    assert Callback(state="example-state", code="example-code").granted() == "example-code"
    with pytest.raises(AuthorizationDenied):
        Callback(state="example-state", error="access_denied").granted()
