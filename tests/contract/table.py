"""The wire contract as a table: who asks what in which state of the world, and what the answer is.

``$names`` are filled in with what the given state of the world returned (see ``givens.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.contract.backend import Ask

CONNECTED = {"success": True, "message": "AMO CRM successfully connected"}
DISCONNECTED = {"success": True, "message": "AMO CRM disconnected"}


def status(*, connected: bool, has_tokens: bool, domain: str = "", account: str = "") -> dict[str, Any]:
    """Return the body of ``GET status``."""
    data = {"connected": connected, "hasTokens": has_tokens, "domain": domain, "accountId": account}
    return {"success": True, "data": data}


@dataclass(frozen=True)
class Case:
    """One line. ``body`` is the whole JSON of a success, ``code`` the error's; an error changes no row."""

    name: str
    ask: Ask
    status: int
    given: str = "nothing"
    body: object = None
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def exchange(user: str = "anna", **body: object) -> Ask:
    """Return a post to exchange-code."""
    return Ask("POST", "exchange-code", user, json=body)


_FULL = {"code": "$code", "state": "$state", "referer": "$referer"}
_BAD_LOGINS = [
    (method, path, user, code, headers)
    for method, path in (("GET", "status"), ("GET", "authorize-url"), ("POST", "exchange-code"), ("POST", "disconnect"))
    for user, code, headers in (
        (None, "not_authenticated", {"www-authenticate": "Bearer"}),
        ("reauth", "not_authenticated", {"www-authenticate": 'Bearer realm="app"'}),
        ("nobody", "forbidden", {"x-why": "locked"}),
    )
]

STATUS = [
    Case("nobody connected", Ask("GET", "status", "anna"), 200, body=status(connected=False, has_tokens=False)),
    Case(
        "connected",
        Ask("GET", "status", "anna"),
        200,
        "connected",
        status(connected=True, has_tokens=True, domain="$host", account="$account"),
    ),
    Case(
        "an access token that ran out is still connected",
        Ask("GET", "status", "anna"),
        200,
        "expired",
        status(connected=True, has_tokens=True, domain="$host", account="$account"),
    ),
    Case(
        "a refresh token past its three months is not",
        Ask("GET", "status", "anna"),
        200,
        "silent",
        status(connected=False, has_tokens=True, domain="$host", account="$account"),
    ),
    Case(
        "a grant that amoCRM refused is not",
        Ask("GET", "status", "anna"),
        200,
        "refused",
        status(connected=False, has_tokens=True, domain="$host", account="$account"),
    ),
    Case(
        "somebody else's connection is not one's own",
        Ask("GET", "status", "boris"),
        200,
        "connected",
        status(connected=False, has_tokens=False),
    ),
    Case(
        "the user is never taken from the query",
        Ask("GET", "status", "boris", query=[("user_id", "anna"), ("user", "anna")]),
        200,
        "connected",
        status(connected=False, has_tokens=False),
    ),
]

EXCHANGE = [
    Case("code, state and referer", exchange(**_FULL), 200, "consented", CONNECTED),
    Case("other keys are ignored", exchange(**_FULL, user_id="boris", x=[1]), 200, "consented", CONNECTED),
    Case("a referer with a scheme", exchange(**{**_FULL, "referer": "https://$referer"}), 200, "consented", CONNECTED),
    Case("the same code again", exchange(**_FULL), 200, "exchanged", CONNECTED),
    Case(
        "a bare code that the callback recorded", exchange(code="$code", referer="$referer"), 200, "bridged", CONNECTED
    ),
    Case("null for what is left out", exchange(**{**_FULL, "state": None}), 200, "bridged", CONNECTED),
    Case("empty for what is left out", exchange(**{**_FULL, "state": ""}), 200, "bridged", CONNECTED),
    Case(
        "a bare code that nobody recorded",
        exchange(code="$code", referer="$referer"),
        400,
        "consented",
        code="invalid_state",
    ),
    Case("another user's state", exchange(**_FULL), 400, "of_boris", code="invalid_state"),
    Case(
        "another user's recorded code, bare",
        exchange(code="$code", referer="$referer"),
        400,
        "bridged_of_boris",
        code="invalid_state",
    ),
    Case(
        "another user's recorded code with the own state",
        exchange(**{**_FULL, "state": "$own_state"}),
        400,
        "bridged_of_boris",
        code="invalid_state",
    ),
    Case("a state that is too old", exchange(**_FULL), 400, "stale", code="invalid_state"),
    Case("a made-up state", exchange(**{**_FULL, "state": "example"}), 400, "consented", code="invalid_state"),
    Case(
        "a state with a changed letter",
        exchange(**{**_FULL, "state": "$state-"}),
        400,
        "consented",
        code="invalid_state",
    ),
    Case(
        "another code for a used state",
        exchange(**{**_FULL, "code": "def50200example"}),
        400,
        "exchanged",
        code="invalid_state",
    ),
    Case(
        "a code that amoCRM does not know",
        exchange(**{**_FULL, "code": "def50200example"}),
        400,
        "consented",
        code="invalid_code",
    ),
    Case(
        "a foreign host",
        exchange(**{**_FULL, "referer": "example.amocrm.ru.evil.example"}),
        400,
        "consented",
        code="untrusted_host",
    ),
    Case(
        "a host with a port", exchange(**{**_FULL, "referer": "$referer:8443"}), 400, "consented", code="untrusted_host"
    ),
    Case(
        "an address on the inside",
        exchange(**{**_FULL, "referer": "127.0.0.1"}),
        400,
        "consented",
        code="untrusted_host",
    ),
    Case(
        "no referer and no configured account",
        exchange(code="$code", state="$state"),
        400,
        "consented",
        code="untrusted_host",
    ),
    Case("amoCRM cannot be reached", exchange(**_FULL), 503, "down", code="amocrm_unavailable"),
    Case(
        "amoCRM limits us",
        exchange(**_FULL),
        503,
        "overloaded",
        code="amocrm_unavailable",
        headers={"retry-after": "42"},
    ),
    Case("amoCRM makes no sense", exchange(**_FULL), 502, "babbling", code="protocol_error"),
    Case("the client's secret is wrong", exchange(**_FULL), 500, "secret_changed", code="configuration_error"),
]

_JSON = {"Content-Type": "application/json"}
MALFORMED = [
    Case(f"malformed: {name}", Ask("POST", "exchange-code", "anna", **body), 422, "connected", code="invalid_request")
    for name, body in {
        "no body": {},
        "no body, said to be JSON": {"headers": _JSON},
        "not JSON": {"content": b'{"code": ', "headers": _JSON},
        "not UTF-8": {"content": b'{"code": "\xff"}', "headers": _JSON},
        "half a character": {"content": b'{"code": "\\ud800"}', "headers": _JSON},
        "a list": {"json": []},
        "null": {"json": None},
        "a text": {"json": "def50200example"},
        "no code": {"json": {"state": "example"}},
        "an empty code": {"json": {"code": ""}},
        "a number for a code": {"json": {"code": 1}},
        "null for a code": {"json": {"code": None}},
        "an object for a code": {"json": {"code": {"$ne": ""}}},
        "a list for a state": {"json": {"code": "example", "state": ["example"]}},
        "true for a referer": {"json": {"code": "example", "referer": True}},
        "a code that is too long": {"json": {"code": "x" * 4097}},
        "a state that is too long": {"json": {"code": "example", "state": "x" * 513}},
        "a referer that is too long": {"json": {"code": "example", "referer": "x" * 301}},
        "a form": {"content": b"code=example", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        "JSON as text": {"content": b'{"code": "example"}', "headers": {"Content-Type": "text/plain"}},
        "JSON as nothing": {"content": b'{"code": "example"}'},
        "nested too deep": {"content": b"[" * 5000, "headers": _JSON},
    }.items()
]

LOGIN = [
    Case(f"{user or 'anonymous'} at {path}", Ask(method, path, user), 403 if code == "forbidden" else 401, "connected", code=code, headers=headers)
    for method, path, user, code, headers in _BAD_LOGINS
]  # fmt: skip

OTHER = [
    Case("disconnect", Ask("POST", "disconnect", "anna"), 200, "connected", DISCONNECTED),
    Case("disconnect without a connection", Ask("POST", "disconnect", "anna"), 200, body=DISCONNECTED),
    Case("disconnect while amoCRM is down", Ask("POST", "disconnect", "anna"), 200, "down", DISCONNECTED),
    Case(
        "disconnect with a body",
        Ask("POST", "disconnect", "anna", json={"user_id": "boris"}),
        200,
        "both_connected",
        DISCONNECTED,
    ),
    Case(
        "wrong method for status",
        Ask("POST", "status", "anna"),
        405,
        code="method_not_allowed",
        headers={"allow": "GET"},
    ),
    Case(
        "wrong method for exchange-code",
        Ask("GET", "exchange-code", "anna"),
        405,
        code="method_not_allowed",
        headers={"allow": "POST"},
    ),
    Case(
        "wrong method for disconnect",
        Ask("DELETE", "disconnect", "anna"),
        405,
        code="method_not_allowed",
        headers={"allow": "POST"},
    ),
]

CASES = [*STATUS, *EXCHANGE, *MALFORMED, *LOGIN, *OTHER]
