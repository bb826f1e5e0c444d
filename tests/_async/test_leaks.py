"""No secret in what an error shows: message, attributes, causes, local variables of our frames, logs."""

import logging
from dataclasses import replace

import pytest

from amocrm_userauth import AsyncMemoryTokenStore, AsyncOAuthClient, AsyncUserAuth, Integration, StateManager
from amocrm_userauth.errors import AmoCRMUserAuthError
from amocrm_userauth.testing import FakeAmoCRM, async_http_client
from tests.leaks import assert_nothing_shows
from tests.raw import RawServer, answer, drip, endless, hang_up, reply

HOST = "example.amocrm.ru"
SECRETS = {
    "client secret": "example-client-secret-7f3a",
    "code": "example-code-2b81",
    "refresh token": "example-refresh-93cc",
    "access token": "example-access-51de",
    "new access token": "example-new-access-0d42",
    "new refresh token": "example-new-refresh-c7a9",
    "state key": "example-state-key-of-many-characters-e1",
    "state": "example-state-64f0",
    "password": "example-password-88aa",
}
INTEGRATION = Integration(
    "example-client", SECRETS["client secret"], "https://app.example/callback", account_domain=HOST
)
PAIR = {
    "token_type": "Bearer",
    "expires_in": 86_400,
    "access_token": SECRETS["new access token"],
    "refresh_token": SECRETS["new refresh token"],
}
ECHO = {"hint": SECRETS["refresh token"], "detail": SECRETS["code"], "title": SECRETS["client secret"]}
LATE = answer(200, PAIR)

CALLS = {
    "exchange": lambda client: client.exchange_code(SECRETS["code"]),
    "exchange elsewhere": lambda client: client.exchange_code(SECRETS["code"], referer="evil.example"),
    "refresh": lambda client: client.refresh(SECRETS["refresh token"], domain=HOST, api_domain="api-b.amocrm.ru"),
    "refresh elsewhere": lambda client: client.refresh(SECRETS["refresh token"], domain="evil.example"),
    "refresh, look-up elsewhere": lambda client: client.refresh(
        SECRETS["refresh token"], domain=HOST, api_domain="evil.example"
    ),
    "account": lambda client: client.account(SECRETS["access token"], domain=HOST),
    "account elsewhere": lambda client: client.account(SECRETS["access token"], domain="evil.example"),
    "domain": lambda client: client.current_domain(SECRETS["refresh token"], api_domain="api-b.amocrm.ru"),
    "domain elsewhere": lambda client: client.current_domain(SECRETS["refresh token"], api_domain="evil.example"),
}
REPLIES = {
    "revoked": reply(401, ECHO | {"hint": "Token has been revoked"}),
    "code revoked": reply(400, ECHO | {"hint": "Authorization code has been revoked"}),
    "client": reply(400, ECHO | {"hint": "Check the `client_secret` parameter"}),
    "unknown 400": reply(400, ECHO),
    "unknown 401": reply(401, ECHO),
    "moved": reply(404, ECHO),
    "redirect": reply(302, ECHO, f"location: https://example.amocrm.ru/?t={SECRETS['refresh token']}\r\n"),
    "limit": reply(429, ECHO),
    "server error": reply(500, ECHO),
    "no pair": reply(200, PAIR | {"refresh_token": None}),
    "broken pair": reply(200, LATE[-200:-3]),
    "no answer": hang_up,
    "half an answer": drip(LATE[:-5], len(LATE) - 6),
    "dripping headers": drip(LATE[:30], 20),
    "endless": endless,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("sent", REPLIES)
async def test_no_error_of_the_oauth_client_shows_a_secret(call, sent, caplog):
    """Whatever amoCRM answers, echoes of our secrets included; the log of every library stays clean as well."""
    caplog.set_level(logging.DEBUG)
    with RawServer(REPLIES[sent]) as server:
        async with async_http_client(server.url) as http:
            client = AsyncOAuthClient(INTEGRATION, http=http, budget=0.25)
            try:
                await CALLS[call](client)
            except AmoCRMUserAuthError as error:
                assert_nothing_shows(error, SECRETS)
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name != "httpcore")
    for name, secret in SECRETS.items():
        if not (sent == "redirect" and name == "refresh token"):  # httpcore writes down the answer's headers
            assert secret not in ours, name


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_the_log_of_a_whole_life_shows_no_secret(library, caplog):
    """Of ours and the HTTP library's, at DEBUG."""
    caplog.set_level(logging.DEBUG)
    with FakeAmoCRM() as fake:
        integration = fake.integration()
        async with fake.async_http_client(library=library) as http:
            client = AsyncOAuthClient(integration, http=http)
            code = fake.authorize("anna")
            first = await client.exchange_code(code, referer=HOST)
            second = await client.refresh(first.refresh_token, domain=HOST, api_domain=first.api_domain)
            await client.account(second.access_token, domain=HOST)
            await client.current_domain(second.refresh_token, api_domain=second.api_domain)
    assert any(record.name.startswith("http") for record in caplog.records)
    for secret in (
        code,
        integration.client_secret,
        first.access_token,
        first.refresh_token,
        second.access_token,
        second.refresh_token,
    ):
        assert secret not in caplog.text


STATES = StateManager(INTEGRATION, [SECRETS["state key"]])
WRONG_STATES = {
    "missing": "",
    "malformed": SECRETS["state"],
    "of another key": StateManager(INTEGRATION, [SECRETS["state key"] * 2]).issue("42")[0],
    "expired": StateManager(INTEGRATION, [SECRETS["state key"]], clock=lambda: STATES._clock() - 2 * STATES.ttl).issue(
        "42"
    )[0],
    "of another user": STATES.issue("43")[0],
}


@pytest.mark.parametrize("kind", WRONG_STATES)
def test_no_error_of_the_state_shows_a_secret(kind):
    """Neither the state, which is secret until it is used, nor a key."""
    state = WRONG_STATES[kind]
    with pytest.raises(AmoCRMUserAuthError) as caught:
        STATES.verify(state, user_id="42")
    assert_nothing_shows(caught.value, SECRETS | ({"this state": state} if state else {}))


@pytest.mark.parametrize("user_id", ["", None, "a\0b", "\ud800"])
def test_no_refusal_of_a_user_shows_a_secret(user_id):
    """Not the key that would have signed."""
    with pytest.raises(ValueError, match="user id") as caught:
        STATES.issue(user_id)
    assert_nothing_shows(caught.value, SECRETS)


@pytest.mark.parametrize(
    ("keys", "more"),
    [
        ([SECRETS["state key"], "example-weak"], {}),
        ([SECRETS["state key"], None], {}),
        ([SECRETS["state key"]], {"ttl": 0}),
        ([SECRETS["state key"] + "\udcff", b""], {}),
        ("", {}),
    ],
)
def test_no_refusal_of_keys_shows_a_secret(keys, more):
    """Not the good key beside the weak one either."""
    with pytest.raises(AmoCRMUserAuthError) as caught:
        StateManager(INTEGRATION, keys, **more)
    assert_nothing_shows(caught.value, SECRETS | {"weak key": "example-weak"})


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": ""},
        {"client_secret": SECRETS["client secret"] + " "},
        {"client_secret": SECRETS["client secret"] + "\udcff"},
        {"redirect_uri": "nowhere"},
        {"brand": "bitrix"},
        {"mode": "window"},
        {"authorize_url": "https://[::1"},
        {"host_suffixes": ()},
        {"account_domain": "evil.example"},
        {"only_this_account": True},
    ],
)
def test_no_error_of_the_integration_shows_its_secret(changes):
    """Whatever is wrong with it."""
    with pytest.raises(AmoCRMUserAuthError) as caught:
        replace(INTEGRATION, **changes)
    assert_nothing_shows(caught.value, SECRETS)


@pytest.mark.parametrize("missing", ["AMO_CLIENT_ID", "AMO_REDIRECT_URI"])
def test_no_error_of_the_environment_shows_the_secret(missing):
    """Nor anything else that is in it."""
    environ = {
        "AMO_CLIENT_ID": "example-client",
        "AMO_CLIENT_SECRET": SECRETS["client secret"],
        "AMO_REDIRECT_URI": "https://app.example/callback",
        "DB_PASSWORD": SECRETS["password"],
    }
    del environ[missing]
    with pytest.raises(AmoCRMUserAuthError) as caught:
        Integration.from_env(environ)
    assert_nothing_shows(caught.value, SECRETS)
    with pytest.raises(AmoCRMUserAuthError) as caught:
        Integration.from_env(environ | {missing: "\0"})
    assert_nothing_shows(caught.value, SECRETS)


GOOD_STATE = STATES.issue("42")[0]
GOOD = {"code": SECRETS["code"], "state": GOOD_STATE, "referer": HOST, "client_id": "example-client"}


@pytest.mark.parametrize(
    "changes",
    [
        {"state": ""},
        {"state": SECRETS["state"]},
        {"client_id": "other"},
        {"code": ""},
        {"code": "x" * 5000},
        {"referer": "evil.example"},
        {"from_widget": "1"},
        {"twice": "1"},
    ],
)
async def test_no_error_of_the_callback_shows_a_secret(changes):
    """The query holds code and state; anybody can make it fail."""
    query = [*(GOOD | changes).items()]
    query += [item for item in query if item[0] == "twice"]
    async with async_http_client("http://127.0.0.1:9") as http:
        auth = AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore(), http=http, state_keys=[SECRETS["state key"]])
        with pytest.raises(AmoCRMUserAuthError) as caught:
            await auth.accept_callback(query)
        assert_nothing_shows(caught.value, SECRETS | {"this state": GOOD_STATE})


@pytest.mark.parametrize(
    ("user_id", "changes"),
    [
        ("", {}),
        ("43", {}),
        ("42", {"state": SECRETS["state"]}),
        ("42", {"state": None}),
        ("42", {"code": "x" * 5000}),
        ("42", {"code": 5}),
        ("42", {"referer": "evil.example"}),
        ("42", {}),
    ],
)
async def test_no_error_of_a_connection_shows_a_secret(user_id, changes):
    """Code and state came from outside, the pair did not come at all."""
    given = {"code": SECRETS["code"], "state": GOOD_STATE, "referer": HOST}
    async with async_http_client("http://127.0.0.1:9") as http:
        auth = AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore(), http=http, state_keys=[SECRETS["state key"]])
        with pytest.raises((AmoCRMUserAuthError, ValueError)) as caught:
            await auth.connect(user_id, **given | changes)
        assert_nothing_shows(caught.value, SECRETS | {"this state": GOOD_STATE})


@pytest.mark.parametrize("user_id", ["", None, "42"])
async def test_no_error_of_a_rejected_token_shows_it(user_id):
    """The token that a 401 was about is still somebody's."""
    async with async_http_client("http://127.0.0.1:9") as http:
        auth = AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore(), http=http, state_keys=[SECRETS["state key"]])
        with pytest.raises((AmoCRMUserAuthError, ValueError)) as caught:
            await auth.access_token(user_id, rejected=SECRETS["access token"])
        assert_nothing_shows(caught.value, SECRETS)


@pytest.mark.parametrize(
    "changes", [{"lease": 1}, {"exchange_budget": 0}, {"state_policy": "none"}, {"state_keys": ["example-weak"]}]
)
def test_no_error_of_the_services_settings_shows_a_secret(changes):
    """The keys are among its arguments."""
    options = {"state_keys": [SECRETS["state key"]]} | changes
    with pytest.raises(AmoCRMUserAuthError) as caught:
        AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore(), **options)
    assert_nothing_shows(caught.value, SECRETS | {"weak key": "example-weak"})
