"""amoCRM's endpoints as calls that answer with a meaning: retries, doubt, moved accounts, shared deadlines."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from amocrm_userauth import Integration, TokenPair
from amocrm_userauth._async.endpoint import AsyncEndpoint, Whereabouts
from amocrm_userauth._async.http import AsyncHTTP
from amocrm_userauth._core.answers import Granted, Late, Misconfigured, NotUnderstood, Refused, Transient
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._core.state import utc_now
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.testing import FakeAmoCRM, async_http_client
from tests.networks import AsyncNetwork
from tests.raw import RawServer, hang_up, reply

INTEGRATION = Integration("example-client", "example-secret", "https://app.example/callback")
HOST = "example.amocrm.ru"
GRANT = {"token_type": "Bearer", "expires_in": 86_400, "access_token": "example-a", "refresh_token": "example-r"}
TOKEN = Secret("example-refresh")


def pair(**changes):
    fields = {
        "access_token": "example-access",
        "refresh_token": "example-refresh",
        "expires_at": datetime.now(UTC) + timedelta(days=1),
        "domain": HOST,
    }
    return TokenPair(**fields | changes)


def endpoint(http, integration=INTEGRATION, clock_of=None):
    clock_of = clock_of or AsyncTime()
    return AsyncEndpoint(integration, AsyncHTTP(http, clock_of), clock_of, utc_now)


def soon(seconds=5.0):
    return AsyncTime().monotonic() + seconds


class AsyncRefusing:
    """A network that fails, the first times."""

    def __init__(self, times, kind=httpx.ConnectError):
        self.times = times
        self.kind = kind
        self.calls = 0

    async def act(self, request):
        self.calls += 1
        if self.calls <= self.times:
            raise self.kind("example: refused")
        return httpx.Response(200, json=GRANT)


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError])
async def test_a_connection_that_was_not_made_is_tried_once_more(kind):
    """Nothing was spent, so the second attempt may bring the pair."""
    network = AsyncRefusing(1, kind)
    async with httpx.AsyncClient(transport=AsyncNetwork(network.act)) as http:
        assert isinstance(await endpoint(http).exchange(Secret("example-code"), domain=HOST, deadline=soon()), Granted)
    assert network.calls == 2


async def test_two_refused_connections_are_transient_without_doubt():
    """And there is no third attempt."""
    network = AsyncRefusing(9)
    async with httpx.AsyncClient(transport=AsyncNetwork(network.act)) as http:
        answer = await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon())
    assert isinstance(answer, Transient)
    assert not answer.doubt
    assert network.calls == 2


async def test_a_port_where_nobody_listens_is_no_doubt():
    """Over a real socket."""
    with FakeAmoCRM() as fake:
        async with fake.async_http_client() as http:
            fake.down()
            answer = await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon())
    assert isinstance(answer, Transient)
    assert not answer.doubt


@pytest.mark.parametrize(
    "kind", [httpx.ReadError, httpx.ReadTimeout, httpx.WriteError, httpx.RemoteProtocolError, OSError]
)
async def test_any_other_failure_leaves_doubt_and_is_not_tried_again(kind):
    """The request may have arrived."""
    network = AsyncRefusing(1, kind)
    async with httpx.AsyncClient(transport=AsyncNetwork(network.act)) as http:
        answer = await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon())
    assert isinstance(answer, Transient)
    assert answer.doubt
    assert kind.__name__ in answer.message
    assert network.calls == 1


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
async def test_a_dropped_answer_leaves_doubt(library):
    """AmoCRM did its work; over a real socket, with either library."""
    with FakeAmoCRM() as fake:
        integration = fake.integration()
        async with fake.async_http_client(library=library) as http:
            asking = endpoint(http, integration)
            first = await asking.exchange(Secret(fake.authorize("anna")), domain=HOST, deadline=soon())
            fake.drop_answer_next("anna")
            answer = await asking.refresh(Secret(first.pair.refresh_token), pair=first.pair, deadline=soon())
            assert isinstance(answer, Transient)
            assert answer.doubt
            assert fake.token_calls("anna", "refresh_token") == 1


async def test_a_deadline_that_is_over_is_late():
    """Nothing was sent and the lease's time is over: not a failure of amoCRM's."""
    with RawServer(reply(200, GRANT)) as server:
        async with async_http_client(server.url) as http:
            assert await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon(-1)) == Late()
        assert server.connections == 0


@pytest.mark.parametrize("unknown_host", [404, 401])
@pytest.mark.parametrize("without", [(), ("api_domain",)])
async def test_a_moved_account_is_found_by_either_look_up(unknown_host, without):
    """By refresh token at the API host, else by access token at the platform's host."""
    with FakeAmoCRM(unknown_host=unknown_host, without_claims=without) as fake:
        integration = fake.integration()
        async with fake.async_http_client() as http:
            asking = endpoint(http, integration)
            first = await asking.exchange(Secret(fake.authorize("anna")), domain=HOST, deadline=soon())
            assert bool(first.pair.api_domain) is not bool(without)
            fake.rename_account("anna", "moved")
            answer = await asking.refresh(Secret(first.pair.refresh_token), pair=first.pair, deadline=soon())
            assert isinstance(answer, Granted)
            assert answer.pair.domain == "moved.amocrm.ru"
            assert fake.is_alive(answer.pair, "anna")
            outcomes = [seen.outcome for seen in fake.presentations(grant_type="refresh_token")]
            assert outcomes.count("issued") == 1


async def test_the_old_look_up_goes_to_the_platform_with_the_access_token():
    """The one that needs no ``api_domain``; the refresh token does not go there."""
    where = {"domain": "moved.amocrm.ru"}
    with RawServer(reply(404, b""), reply(200, where), reply(200, GRANT)) as server:
        async with async_http_client(server.url) as http:
            answer = await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon())
    assert isinstance(answer, Granted)
    look_up = server.asked[1]
    assert (look_up.method, look_up.target) == ("GET", "/oauth2/account/subdomain")
    assert look_up.headers["host"] == "www.amocrm.ru"
    assert look_up.headers["authorization"] == "Bearer example-access"
    assert "x-refresh-token" not in look_up.headers


async def test_without_any_token_for_it_there_is_no_look_up():
    """The answer means what it means where it is."""
    with RawServer(reply(404, b"")) as server:
        async with async_http_client(server.url) as http:
            answer = await endpoint(http).refresh(TOKEN, pair=pair(access_token=""), deadline=soon())
        assert len(server.asked) == 1
    assert isinstance(answer, NotUnderstood)


@pytest.mark.parametrize("where", [{}, {"domain": HOST}, {"domain": "evil.example"}, {"domain": 5}])
async def test_a_look_up_that_finds_no_other_host_changes_nothing(where):
    """Then the first answer counts, and the token is not presented again."""
    with RawServer(reply(401, {"title": "Некорректный клиент"}), reply(200, where)) as server:
        async with async_http_client(server.url) as http:
            answer = await endpoint(http).refresh(TOKEN, pair=pair(api_domain="api-b.amocrm.ru"), deadline=soon())
        assert len(server.asked) == 2
    assert isinstance(answer, Misconfigured)


async def test_an_account_is_looked_up_once():
    """If the new host knows it no better, that is the answer."""
    where = reply(200, {"domain": "moved.amocrm.ru"})
    with RawServer(reply(404, b""), where, reply(404, b"")) as server:
        async with async_http_client(server.url) as http:
            answer = await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon())
        assert len(server.asked) == 3
    assert isinstance(answer, NotUnderstood)


async def test_a_refusal_at_the_new_host_is_one():
    """The account moved, and the grant is dead."""
    where = reply(200, {"domain": "moved.amocrm.ru"})
    with RawServer(reply(404, b""), where, reply(401, {"hint": "Token has been revoked"})) as server:
        async with async_http_client(server.url) as http:
            assert await endpoint(http).refresh(TOKEN, pair=pair(), deadline=soon()) == Refused("revoked")


async def test_a_look_up_that_calls_the_token_dead_is_a_refusal():
    """The account moved, and its new host cannot be learnt, as the grant is dead: not something unknown for ever."""
    with RawServer(reply(404, b""), reply(401, {"hint": "Token has been revoked"})) as server:
        async with async_http_client(server.url) as http:
            gone = pair(api_domain="api-b.amocrm.ru")
            assert await endpoint(http).refresh(TOKEN, pair=gone, deadline=soon()) == Refused("revoked")


async def test_a_dead_access_token_says_nothing_of_the_refresh_token():
    """The old look-up never condemns; the new one does."""
    with RawServer(reply(401, {"hint": "Token has expired"})) as server:
        async with async_http_client(server.url) as http:
            asking = endpoint(http)
            assert await asking.locate(TOKEN, pair=pair(), deadline=soon()) == Whereabouts()
            new = pair(api_domain="api-b.amocrm.ru")
            assert await asking.locate(TOKEN, pair=new, deadline=soon()) == Whereabouts(dead=True)


async def test_a_stored_api_host_is_checked_before_the_token_goes_there():
    """A row that somebody changed does not send the refresh token away."""
    network = AsyncRefusing(0)
    async with httpx.AsyncClient(transport=AsyncNetwork(network.act)) as http:
        evil = pair(api_domain="evil.example")
        assert await endpoint(http).locate(TOKEN, pair=evil, deadline=soon()) == Whereabouts()
    assert network.calls == 0


async def test_a_look_up_that_fails_is_an_empty_answer():
    """Nothing was spent and nothing is known."""
    with RawServer(hang_up) as server:
        async with async_http_client(server.url) as http:
            assert await endpoint(http).locate(TOKEN, pair=pair(), deadline=soon()) == Whereabouts()


async def test_a_look_up_that_hangs_leaves_time_for_the_refresh():
    """It gets a quarter of what is left."""
    with FakeAmoCRM() as fake:
        integration = fake.integration()
        async with fake.async_http_client() as http:
            asking = endpoint(http, integration)
            first = await asking.exchange(Secret(fake.authorize("anna")), domain=HOST, deadline=soon())
            held = fake.hold_next("anna", on="lookup")
            deadline = soon(1.0)
            found = await asking.locate(Secret(first.pair.refresh_token), pair=first.pair, deadline=deadline)
            assert found == Whereabouts()
            assert deadline - AsyncTime().monotonic() > 0.4
            held.release()
