"""The OAuth client over real sockets: what it sends, what it makes of the answers, and that its deadline is one."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from amocrm_userauth import AsyncOAuthClient, Integration
from amocrm_userauth.errors import (
    AmoCRMUnavailable,
    ConfigurationError,
    GrantRevoked,
    InvalidCode,
    ProtocolError,
    UntrustedHost,
)
from amocrm_userauth.testing import FakeAmoCRM, async_http_client
from tests.raw import RawServer, answer, drip, endless, hang_up, reply

INTEGRATION = Integration(
    "example-client", "example-secret", "https://app.example/callback/?x=1", account_domain="example.amocrm.ru"
)
HOST = "example.amocrm.ru"
PAIR = {"token_type": "Bearer", "expires_in": 86_400, "access_token": "example-a", "refresh_token": "example-r"}
DRIPPED = answer(200, PAIR, "x-filler: example\r\n")
LIBRARIES = pytest.mark.parametrize("library", ["httpx", "httpx2"])


@LIBRARIES
async def test_a_code_becomes_a_pair_and_a_pair_the_next(library):
    """The whole life of a grant, with a client of either library."""
    with FakeAmoCRM() as fake:
        integration = fake.integration()
        async with fake.async_http_client(library=library) as http:
            client = AsyncOAuthClient(integration, http=http)
            pair = await client.exchange_code(fake.authorize("anna"), referer=f"https://{HOST}/")
            assert fake.is_alive(pair, "anna")
            assert (pair.domain, pair.account_id) == (HOST, str(fake.account_id("anna")))
            account = await client.account(pair.access_token, domain=pair.domain)
            assert (account.account_id, account.user_id) == (pair.account_id, str(fake.user_id("anna")))
            assert await client.current_domain(pair.refresh_token, api_domain=pair.api_domain) == HOST
            assert fake.is_alive(pair, "anna")
            renewed = await client.refresh(pair.refresh_token, domain=pair.domain, api_domain=pair.api_domain)
            assert fake.is_alive(renewed, "anna")
            assert not fake.is_alive(pair, "anna")


async def test_the_authorize_url_is_the_integrations():
    """The brand's page, with the state and nothing that amoCRM takes from its own settings."""
    client = AsyncOAuthClient(replace(INTEGRATION, brand="kommo", mode="popup"))
    parts = urlsplit(await client.authorize_url("example state"))
    assert (parts.netloc, parts.path) == ("www.kommo.com", "/oauth")
    query = {"client_id": ["example-client"], "state": ["example state"], "mode": ["popup"]}
    assert parse_qs(parts.query) == query
    await client.aclose()


async def test_the_code_is_exchanged_with_the_documented_body():
    """JSON with exactly these fields, to the account's host, with a user agent and an upper bound in every direction."""
    with RawServer(reply(200, PAIR)) as server:
        async with async_http_client(server.url) as http:
            await AsyncOAuthClient(INTEGRATION, http=http).exchange_code("example-code")
        (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/oauth2/access_token")
    assert asked.json() == {
        "client_id": "example-client",
        "client_secret": "example-secret",
        "grant_type": "authorization_code",
        "code": "example-code",
        "redirect_uri": "https://app.example/callback/?x=1",
    }
    assert asked.headers["host"] == HOST
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"] == "amocrm_userauth"


async def test_the_refresh_token_is_spent_with_the_documented_body():
    """The redirect URI goes along here too."""
    with RawServer(reply(200, PAIR)) as server:
        async with async_http_client(server.url) as http:
            await AsyncOAuthClient(INTEGRATION, http=http).refresh("example-refresh", domain=HOST)
        (asked,) = server.asked
    assert asked.json() == {
        "client_id": "example-client",
        "client_secret": "example-secret",
        "grant_type": "refresh_token",
        "refresh_token": "example-refresh",
        "redirect_uri": "https://app.example/callback/?x=1",
    }


@LIBRARIES
async def test_nothing_of_a_passed_client_goes_along(library):
    """Its own login, cookies, headers, parameters and following of redirects are for its own errands."""
    moved = reply(307, b"", "location: https://example.amocrm.ru/elsewhere\r\nset-cookie: session=example\r\n")
    with RawServer(moved, reply(200, PAIR)) as server:
        async with async_http_client(server.url, library=library) as http:
            http.auth = ("example-user", "example-password")
            http.headers["Authorization"] = "Bearer example-other"
            http.headers["X-Own"] = "example"
            http.cookies.set("own", "example")
            http.params = {"own": "example"}
            http.follow_redirects = True
            client = AsyncOAuthClient(INTEGRATION, http=http)
            with pytest.raises(ProtocolError):
                await client.exchange_code("example-code")
            await client.exchange_code("example-code")
            await client.aclose()
            assert not http.is_closed
    assert [asked.target for asked in server.asked] == ["/oauth2/access_token"] * 2
    for asked in server.asked:
        assert not {"authorization", "cookie", "x-own"} & {*asked.headers}


async def test_an_own_client_is_opened_when_needed_and_closed(monkeypatch):
    """Without a passed one; it keeps no connection that the server may close just as a token is sent on it."""
    with RawServer(reply(200, PAIR)) as server:
        ready, opened = async_http_client(server.url), []

        def open_client(*, limits):
            assert limits.max_keepalive_connections == 0
            opened.append(ready)
            return ready

        monkeypatch.setattr("amocrm_userauth._async.http.httpx.AsyncClient", open_client)
        async with AsyncOAuthClient(INTEGRATION) as client:
            assert opened == []
            await client.exchange_code("example-code")
            await client.exchange_code("example-code")
            assert len(opened) == 1
            assert not ready.is_closed
        assert ready.is_closed
        await client.aclose()


async def test_the_servers_clock_counts():
    """A client whose clock is wrong by hours hands out the right expiry."""
    server_time = 1_751_892_369
    with RawServer(reply(200, PAIR | {"server_time": server_time}), reply(200, PAIR)) as server:
        async with async_http_client(server.url) as http:
            wrong = datetime(2020, 1, 1, tzinfo=UTC)
            client = AsyncOAuthClient(INTEGRATION, http=http, clock=lambda: wrong)
            told = await client.exchange_code("example-code")
            untold = await client.exchange_code("example-code")
    assert told.expires_at == datetime.fromtimestamp(server_time, UTC) + timedelta(days=1)
    assert untold.expires_at == wrong + timedelta(days=1)


@pytest.mark.parametrize("unknown_host", [404, 401])
async def test_a_moved_account_is_found(unknown_host):
    """The look-up by refresh token names the new host; the same token is presented there, once."""
    with FakeAmoCRM(unknown_host=unknown_host) as fake:
        integration = fake.integration()
        async with fake.async_http_client() as http:
            client = AsyncOAuthClient(integration, http=http)
            pair = await client.exchange_code(fake.authorize("anna"), referer=HOST)
            fake.rename_account("anna", "moved")
            renewed = await client.refresh(pair.refresh_token, domain=pair.domain, api_domain=pair.api_domain)
            assert renewed.domain == "moved.amocrm.ru"
            assert fake.is_alive(renewed, "anna")


@pytest.mark.parametrize(("status", "body"), [(401, b""), (401, b"<html>"), (404, b"<html>")])
async def test_an_old_host_may_answer_without_json(status, body):
    """The account is looked up all the same."""
    where = {"id": 1, "subdomain": "moved", "domain": "moved.amocrm.ru", "top_level_domain": "ru"}
    with RawServer(reply(status, body), reply(200, where), reply(200, PAIR)) as server:
        async with async_http_client(server.url) as http:
            client = AsyncOAuthClient(INTEGRATION, http=http)
            pair = await client.refresh("example-refresh", domain=HOST, api_domain="api-b.amocrm.ru")
    assert pair.domain == "moved.amocrm.ru"
    assert [asked.headers["host"] for asked in server.asked] == [HOST, "api-b.amocrm.ru", "moved.amocrm.ru"]
    assert server.asked[1].headers["x-refresh-token"] == "example-refresh"


@pytest.mark.parametrize("domain", ["evil.example", "example.amocrm.ru:444", "", "127.0.0.1"])
async def test_nothing_is_sent_to_a_host_that_is_not_amocrms(domain):
    """Not a code, not a token, not the secret; whichever argument names the host."""
    with RawServer(reply(200, PAIR)) as server:
        async with async_http_client(server.url) as http:
            client = AsyncOAuthClient(replace(INTEGRATION, account_domain=""), http=http)
            with pytest.raises(UntrustedHost):
                await client.exchange_code("example-code", referer=domain)
            with pytest.raises(UntrustedHost):
                await client.refresh("example-refresh", domain=domain)
            with pytest.raises(UntrustedHost):
                await client.refresh("example-refresh", domain=HOST, api_domain=domain or "amocrm.ru")
            with pytest.raises(UntrustedHost):
                await client.account("example-a", domain=domain)
            with pytest.raises(UntrustedHost):
                await client.current_domain("example-refresh", api_domain=domain)
        assert server.connections == 0


@pytest.mark.parametrize("status", [400, 401])
@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        ("Token has been revoked", GrantRevoked),
        ("Token has expired", GrantRevoked),
        ("Check the `client_secret` parameter", ConfigurationError),
        ("Token is not linked to client", ConfigurationError),
        ("Something new", ProtocolError),
    ],
)
async def test_a_refusal_is_told_by_its_hint(status, hint, kind):
    """For a refresh, whatever the status."""
    with RawServer(reply(status, {"hint": hint})) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(kind):
                await AsyncOAuthClient(INTEGRATION, http=http).refresh("example-refresh", domain=HOST)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "hint", ["Authorization code has expired", "Authorization code has been revoked", "Token has been revoked"]
)
async def test_a_refused_code_asks_for_a_new_start(hint):
    """Also if the server words it as for a token."""
    with RawServer(reply(400, {"hint": hint})) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(InvalidCode):
                await AsyncOAuthClient(INTEGRATION, http=http).exchange_code("example-code")


async def test_a_limit_says_how_long_to_wait():
    """From the body or the header."""
    with RawServer(reply(429, {"retry_after": 300}), reply(503, b"<html>", "retry-after: 7\r\n")) as server:
        async with async_http_client(server.url) as http:
            client = AsyncOAuthClient(INTEGRATION, http=http)
            for seconds in (300, 7):
                with pytest.raises(AmoCRMUnavailable) as caught:
                    await client.refresh("example-refresh", domain=HOST)
                assert caught.value.retry_after == seconds


@LIBRARIES
@pytest.mark.parametrize("at", [5, 20, len(DRIPPED) - 10], ids=["status", "headers", "body"])
async def test_the_deadline_is_real_against_a_server_that_drips(library, at):
    """A byte now and then keeps every read within its timeout; the call ends all the same."""
    with RawServer(drip(DRIPPED[:-1] if at > 100 else DRIPPED[:60], at)) as server:
        async with async_http_client(server.url, library=library) as http:
            client = AsyncOAuthClient(INTEGRATION, http=http, budget=0.3)
            started = time.monotonic()
            with pytest.raises(AmoCRMUnavailable, match="timeout"):
                await client.refresh("example-refresh", domain=HOST)
            assert 0.25 < time.monotonic() - started < 3
        assert len(server.asked) == 1


async def test_a_fake_amocrm_that_drips_is_cut_too():
    """The work is done, the answer is late: the caller hears of neither."""
    with FakeAmoCRM() as fake:
        integration = fake.integration()
        async with fake.async_http_client() as http:
            client = AsyncOAuthClient(integration, http=http, budget=0.3)
            code = fake.authorize("anna")
            fake.drip_next(None, 0.05)
            with pytest.raises(AmoCRMUnavailable):
                await client.exchange_code(code, referer=HOST)
            assert fake.alive_pair("anna") is not None


async def test_a_call_without_time_sends_nothing():
    """A budget that is over before it begins."""
    with RawServer(reply(200, PAIR)) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(AmoCRMUnavailable, match="before anything was sent"):
                await AsyncOAuthClient(INTEGRATION, http=http, budget=0).exchange_code("example-code")
        assert server.connections == 0


async def test_a_lost_answer_is_not_asked_for_again():
    """The token may be spent: the caller decides."""
    with RawServer(hang_up) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(AmoCRMUnavailable, match="no whole answer"):
                await AsyncOAuthClient(INTEGRATION, http=http).refresh("example-refresh", domain=HOST)
        assert len(server.asked) == 1


async def test_an_endless_body_is_bounded():
    """A megabyte is more than any answer has; the rest is not read."""
    with RawServer(endless) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(AmoCRMUnavailable, match="broken body"):
                await AsyncOAuthClient(INTEGRATION, http=http, budget=10).refresh("example-refresh", domain=HOST)


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (401, {"title": "Unauthorized"}),
        (500, b""),
        (200, b"<html>"),
        (200, {}),
        (200, {"id": "31920194"}),
        (200, {"id": True}),
        (200, {"id": 0}),
    ],
)
async def test_an_account_that_is_not_told_is_unavailable(status, fields):
    """A dead token, a page or an id that is none."""
    with RawServer(reply(status, fields)) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(AmoCRMUnavailable):
                await AsyncOAuthClient(INTEGRATION, http=http).account("example-a", domain=HOST)
        assert server.asked[0].headers["authorization"] == "Bearer example-a"


async def test_an_account_without_a_user_is_an_account():
    """The user's number may be missing."""
    with RawServer(reply(200, {"id": 31920194})) as server:
        async with async_http_client(server.url) as http:
            account = await AsyncOAuthClient(INTEGRATION, http=http).account("example-a", domain=HOST)
    assert (account.account_id, account.user_id) == ("31920194", "")


async def test_an_account_behind_a_lost_answer_is_unavailable():
    """Nothing of the HTTP library leaks out."""
    with RawServer(hang_up) as server:
        async with async_http_client(server.url) as http:
            client = AsyncOAuthClient(INTEGRATION, http=http)
            with pytest.raises(AmoCRMUnavailable):
                await client.account("example-a", domain=HOST)
            with pytest.raises(AmoCRMUnavailable):
                await client.current_domain("example-refresh", api_domain="api-b.amocrm.ru")


@pytest.mark.parametrize(
    ("status", "fields", "kind"),
    [
        (401, {"hint": "Token has been revoked"}, GrantRevoked),
        (400, {"hint": "Token has expired"}, GrantRevoked),
        (401, {"hint": "Something new"}, AmoCRMUnavailable),
        (401, {"hint": 5}, AmoCRMUnavailable),
        (403, {"title": "Access denied"}, AmoCRMUnavailable),
        (503, {"domain": HOST}, AmoCRMUnavailable),
        (200, {"domain": "evil.example"}, AmoCRMUnavailable),
        (200, b"<html>", AmoCRMUnavailable),
    ],
)
async def test_only_a_clear_answer_of_the_look_up_counts(status, fields, kind):
    """A token is dead only on a condemning hint, and a host is found only if it is one of amoCRM's."""
    with RawServer(reply(status, fields)) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(kind):
                await AsyncOAuthClient(INTEGRATION, http=http).current_domain(
                    "example-refresh", api_domain="api-b.amocrm.ru"
                )
        (asked,) = server.asked
        assert (asked.method, asked.target) == ("GET", "/oauth2/account/current/subdomain")
        assert asked.headers["x-refresh-token"] == "example-refresh"
        assert "authorization" not in asked.headers
