"""What the token endpoint's answers mean: every known hint, and everything that is no answer at all."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amocrm_userauth._core.answers import (
    CodeRefused,
    Elsewhere,
    Granted,
    Misconfigured,
    NotUnderstood,
    Refused,
    Reply,
    Transient,
    read_answer,
    read_json,
)
from amocrm_userauth._core.hosts import DEFAULT_SUFFIXES

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAIR = {"token_type": "Bearer", "expires_in": 86_400, "access_token": "example-a", "refresh_token": "example-r"}
HTML = b"<html><head><title>403 Forbidden</title></head><body>nginx</body></html>"


def read(status, body=b"", headers=None):
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode()
    reply = Reply(status, headers or {}, body)
    return read_answer(reply, domain="example.amocrm.ru", suffixes=DEFAULT_SUFFIXES, now=NOW)


def problem(hint, status, title="Некорректный запрос"):
    return {
        "hint": hint,
        "title": title,
        "type": "https://developers.amocrm.ru/v3/errors/OAuthProblemJson",
        "status": status,
        "detail": "В запросе отсутствует ряд параметров или параметры невалидны",
    }


def granted(**changes):
    answer = read(200, PAIR | changes)
    assert isinstance(answer, Granted), answer
    return answer.pair


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        ("Token has been revoked", "revoked"),
        ("Token has expired", "expired"),
        ("Cannot decrypt the refresh token", "undecryptable"),
        ("  token HAS been revoked\n", "revoked"),
    ],
)
def test_a_condemning_hint_refuses_at_either_status(status, hint, reason):
    """The hint decides, whichever release of the server chose the status."""
    assert read(status, problem(hint, status)) == Refused(reason)


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    "hint",
    [
        "Authorization code has expired",
        "Authorization code has been revoked",
        "Cannot decrypt the authorization code",
    ],
)
def test_a_code_hint_refuses_the_code(status, hint):
    """A code that is used, old or garbage is told from a client that is wrong."""
    assert read(status, problem(hint, status)) == CodeRefused()


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    ("hint", "named"),
    [
        ("Check the `client_id` parameter", "client_id"),
        ("Check the `client_secret` parameter", "client_secret"),
        ("Redirect URI is not associated with client", "redirect_uri"),
        ("Check the `redirect_uri` parameter", "redirect_uri"),
        ("Token is not linked to client", "client_id"),
        ("Authorization code was not issued to this client", "client_id"),
    ],
)
def test_a_client_hint_is_the_developers_job(status, hint, named):
    """A wrong deploy condemns nobody, and the message names the setting to look at."""
    answer = read(status, problem(hint, status))
    assert isinstance(answer, Misconfigured)
    assert named in answer.message


def test_the_client_mismatch_of_old_servers_is_configuration():
    """The title without a hint, as seen until 2021; at 401 the account may also have moved."""
    body = problem("", 401, "Некорректный клиент") | {"detail": "Авторизация клиента не прошла"}
    del body["hint"]
    assert isinstance(read(400, body), Misconfigured)
    at_401 = read(401, body)
    assert isinstance(at_401, Elsewhere)
    assert isinstance(at_401.otherwise, Misconfigured)


@pytest.mark.parametrize("status", [400, 401])
def test_an_invalid_account_may_have_moved(status):
    """The host of another account is a reason to look the account up."""
    answer = read(status, problem("Invalid account", status))
    assert isinstance(answer, Elsewhere)
    assert isinstance(answer.otherwise, NotUnderstood)


@pytest.mark.parametrize("body", [b"", HTML, b'{"detail": "no such account"}'])
def test_an_unknown_host_may_have_moved(body):
    """404 is a reason to look the account up, whatever the page says."""
    answer = read(404, body)
    assert isinstance(answer, Elsewhere)
    assert isinstance(answer.otherwise, NotUnderstood)


@pytest.mark.parametrize(
    "hint", ["Something new", "", None, 17, ["Token has been revoked"], {"Token has been revoked": 1}]
)
def test_an_unknown_hint_condemns_nothing(hint):
    """At 400 it is not understood; at 401 the account is looked up first."""
    at_400, at_401 = read(400, problem(hint, 400)), read(401, problem(hint, 401))
    assert isinstance(at_400, NotUnderstood)
    assert not at_400.doubt
    assert isinstance(at_401, Elsewhere)
    assert isinstance(at_401.otherwise, NotUnderstood)


NO_OBJECT = [
    b"",
    HTML,
    b'{"hint": "Token has been revoked"',
    b"\xff\xfe\xfd",
    b'{"hint": "\xd0"}',
    b"[]",
    b'["Token has been revoked"]',
    b"17",
    b"null",
    b'"Token has been revoked"',
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b"1" * 10_000,
    b"{}",
]


@pytest.mark.parametrize("body", NO_OBJECT, ids=lambda body: repr(body[:20]))
def test_a_body_that_is_no_object_says_nothing_about_the_grant(body):
    """A page, a broken body or another type is transient; a bare 401 may still come from an account's old host."""
    at_400, at_401 = read(400, body), read(401, body)
    assert isinstance(at_400, Transient)
    assert not at_400.doubt
    assert isinstance(at_401, Elsewhere)
    assert isinstance(at_401.otherwise, Transient)


@pytest.mark.parametrize("body", NO_OBJECT, ids=lambda body: repr(body[:20]))
def test_a_broken_success_leaves_doubt(body):
    """200 with a broken body: the token was spent, in all likelihood."""
    answer = read(200, body)
    assert isinstance(answer, Transient)
    assert answer.doubt


@pytest.mark.parametrize("status", [402, 403, 429])
@pytest.mark.parametrize("body", [HTML, b"", b'{"hint": "Token has been revoked"}'])
def test_a_limit_or_block_is_transient_and_spends_nothing(status, body):
    """Whatever the body says, these come before the token is looked at."""
    answer = read(status, body)
    assert isinstance(answer, Transient)
    assert not answer.doubt
    assert str(status) in answer.message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
@pytest.mark.parametrize("body", [HTML, b"", b'{"hint": "Token has been revoked"}'])
def test_a_server_error_is_transient_and_leaves_doubt(status, body):
    """The server may have rotated the token before it failed."""
    answer = read(status, body)
    assert isinstance(answer, Transient)
    assert answer.doubt


@pytest.mark.parametrize("status", [201, 202, 204, 301, 302, 307, 308, 405, 409, 418, 422])
def test_an_unexpected_status_is_not_understood(status):
    """A redirect is not followed and any other status is not guessed at; the token may be spent."""
    answer = read(status, PAIR)
    assert isinstance(answer, NotUnderstood)
    assert answer.doubt


@pytest.mark.parametrize(
    ("body", "header", "wait"),
    [
        ({"retry_after": 300}, None, 300),
        ({"retry_after": 300}, "5", 300),
        ({"retry_after": "7"}, None, 7),
        ({"retry_after": 0}, "5", 0),
        ({"retry_after": 1.5}, None, 1.5),
        ({}, "5", 5),
        ({}, " 12 ", 12),
        ({}, "Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ({}, "Sun, 01 Mar 2026 15:00:30 +0300", 30),
        ({}, "Sun, 01 Mar 2026 12:00:30 -0000", 30),
        ({}, "Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ({}, "Sun, 01 Mar 2099 11:00:00 GMT", 3600),
        ({"retry_after": 10**9}, None, 3600),
        ({"retry_after": 10**400}, "5", 5),
        ({"retry_after": 1e999}, None, 3600),
        ({"retry_after": float("nan")}, None, None),
        ({"retry_after": -1}, "5", 5),
        ({"retry_after": True}, None, None),
        ({"retry_after": [5]}, None, None),
        ({"retry_after": "soon"}, "soon", None),
        ({}, "", None),
        ({}, "-5", None),
        ({}, "nan", None),
        ({}, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ({}, "Mon, 99 Jan 2026 00:00:00 GMT", None),
        ({}, "Fri, 01 Jan 0001 00:00:00 +2359", 0),
        ({}, "Fri, 31 Dec 9999 23:59:59 -2359", 3600),
        ({}, None, None),
    ],
)
def test_amocrms_wish_to_wait_is_read_within_an_hour(body, header, wait):
    """From the body, else the header (seconds or a date); what cannot be right is left out."""
    raw = json.dumps(body).encode()
    answer = read(429, raw, {} if header is None else {"retry-after": header})
    assert isinstance(answer, Transient)
    assert answer.wait == wait


@given(st.text(max_size=80) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,30} [A-Z][a-z]{2} \d{1,30} [\d:]{1,20} [+-]\d{1,20}"))
def test_no_retry_after_header_breaks_the_reading(header):
    """Any text at all gives seconds between none and an hour, or nothing."""
    answer = read(503, b"", {"retry-after": header})
    assert isinstance(answer, Transient)
    assert answer.wait is None or 0 <= answer.wait <= 3600


def test_a_grant_has_the_servers_pair():
    """The whole pair, with the host that issued it."""
    pair = granted()
    assert (pair.access_token, pair.refresh_token) == ("example-a", "example-r")
    assert (pair.token_type, pair.domain, pair.api_domain, pair.scopes) == ("Bearer", "example.amocrm.ru", "", ())
    assert pair.expires_at == NOW + timedelta(days=1)


def test_the_servers_time_counts_where_it_is_given():
    """A wrong clock here does not shift the expiry."""
    server = NOW - timedelta(hours=9)
    pair = granted(server_time=int(server.timestamp()))
    assert pair.expires_at == server + timedelta(days=1)


@pytest.mark.parametrize(
    "server_time", [None, 0, -1, 1, 10**15, 10**400, "1751892369", 1.5e9, True, [], {}, 4_102_444_801]
)
def test_a_nonsensical_server_time_is_left_out(server_time):
    """Then the local clock counts."""
    assert granted(server_time=server_time).expires_at == NOW + timedelta(days=1)


@pytest.mark.parametrize("expires_in", [1, 86_400, "3600", 10 * 366 * 86_400])
def test_the_lifetime_is_amocrms(expires_in):
    """Seconds, as a number or as digits."""
    assert granted(expires_in=expires_in).expires_at == NOW + timedelta(seconds=int(expires_in))


@pytest.mark.parametrize(
    "expires_in", [None, 0, -5, 10**12, 10**400, "", "soon", "-5", "9" * 500, "١٢", 1.5, True, [], {}, float("inf")]
)
def test_a_pair_with_a_nonsensical_lifetime_is_not_dropped(expires_in):
    """The old token is spent: the pair is kept for the documented day, and a 401 would show if that is wrong."""
    assert granted(expires_in=expires_in).expires_at == NOW + timedelta(days=1)


def test_a_pair_without_a_lifetime_is_not_dropped():
    """A missing lifetime is the documented day."""
    answer = read(200, {"access_token": "example-a", "refresh_token": "example-r"})
    assert isinstance(answer, Granted)


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize(
    "value", [None, "", 17, [], {}, "a b", "a\nb", "a\0b", "токен", "x" * 16_385, "\ud800", "tab\tbed", True]
)
def test_a_token_that_could_not_be_sent_is_not_understood(name, value):
    """A token goes into a header: visible ASCII and of a bounded length."""
    answer = read(200, json.dumps(PAIR | {name: value}).encode())
    assert isinstance(answer, NotUnderstood)
    assert answer.doubt


def jwt(claims):
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl"


def test_the_claims_fill_the_pair():
    """Account, user, API host and scopes come from the access token."""
    claims = {"account_id": 31920194, "sub": "77", "api_domain": "api-b.amocrm.ru", "scopes": ["crm", "files"]}
    pair = granted(access_token=jwt(claims))
    assert (pair.account_id, pair.amocrm_user_id) == ("31920194", "77")
    assert (pair.api_domain, pair.scopes) == ("api-b.amocrm.ru", ("crm", "files"))


@pytest.mark.parametrize("api_domain", ["evil.example", "api-b.amocrm.ru:8443", "127.0.0.1", "amocrm.ru", 5, None])
def test_an_api_host_that_is_not_amocrms_is_left_out(api_domain):
    """The token says where to send the token; it is not believed."""
    assert granted(access_token=jwt({"api_domain": api_domain})).api_domain == ""


@given(st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_breaks_the_reading(status, body):
    """Whatever comes back has a meaning, and only a known hint condemns."""
    answer = read(status, body)
    assert not isinstance(answer, (Refused, CodeRefused, Granted))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.integers(100, 599), st.dictionaries(st.sampled_from([*PAIR, "hint", "title", "server_time"]), json_values))
def test_no_object_breaks_the_reading(status, fields):
    """Fields of any type have a meaning, and none of them is an exception."""
    assert read(status, json.dumps(fields).encode()) is not None


def test_a_reply_and_a_grant_do_not_show_their_tokens():
    """Neither repr holds what amoCRM sent."""
    reply = Reply(200, {}, json.dumps(PAIR).encode())
    assert repr(reply) == "Reply(200)"
    assert "example-a" not in repr(read(200, PAIR))
    assert "example-r" not in repr(read(200, PAIR))


def test_json_of_any_unicode_encoding_is_read():
    """As the standard says; a byte order mark is tolerated."""
    assert read_json('{"a": 1}'.encode("utf-16")) == {"a": 1}
    assert read_json(bytearray(b'\xef\xbb\xbf{"a": 1}')) == {"a": 1}
