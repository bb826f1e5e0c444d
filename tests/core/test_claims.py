"""What is read of an access token, which anybody could have written."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amocrm_userauth._core.claims import Claims, read_claims


def encoded(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(payload):
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return f"head.{encoded(raw)}.signature"


def test_the_documented_claims_are_read():
    """Numbers and digits become text; the user id is ``sub``."""
    claims = read_claims(
        token(
            {
                "aud": "client",
                "sub": "77",
                "account_id": 31920194,
                "base_domain": "amocrm.ru",
                "api_domain": "api-b.amocrm.ru",
                "scopes": ["crm", "files"],
            }
        )
    )
    assert claims == Claims("31920194", "77", "amocrm.ru", "api-b.amocrm.ru", ("crm", "files"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "a.b",
        "a.b.c.d",
        "..",
        "a.!!!.c",
        "a.é.c",
        "a.e.c",
        token(b"[]"),
        token(b"17"),
        token(b"null"),
        token(b"\xff\xfe"),
        token(b"{"),
        token(b"[" * 100_000),
        token(b"9" * 10_000),
        token({}),
    ],
    ids=lambda text: text[:30],
)
def test_anything_else_has_empty_claims(text):
    """A token without readable claims is normal."""
    assert read_claims(text) == Claims()


@pytest.mark.parametrize("value", [None, True, -5, 1.5, "", "12a", "١٢", "-1", "9" * 21, 10**30, [], {}, "1\n", " 1"])
def test_an_id_is_digits_or_nothing(value):
    """At most twenty of them, ASCII."""
    claims = read_claims(token({"account_id": value, "sub": value}))
    assert (claims.account_id, claims.user_id) == ("", "")


@pytest.mark.parametrize("value", [None, 5, True, [], {}, "x" * 254])
def test_a_host_is_text_of_a_hosts_length_or_nothing(value):
    """Other types are left out."""
    claims = read_claims(token({"base_domain": value, "api_domain": value}))
    assert (claims.base_domain, claims.api_domain) == ("", "")


def test_scopes_are_a_bounded_list_of_texts():
    """What is no list, no text or too much is left out."""
    assert read_claims(token({"scopes": "crm"})).scopes == ()
    assert read_claims(token({"scopes": ["crm", 5, "", None, ["files"], "files"]})).scopes == ("crm", "files")
    assert len(read_claims(token({"scopes": ["x"] * 1000})).scopes) == 64


@given(st.text(max_size=60) | st.binary(max_size=60).map(token))
def test_no_token_breaks_the_reading(text):
    """Any text has claims, if empty ones."""
    assert isinstance(read_claims(text), Claims)
