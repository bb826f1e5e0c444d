"""One request and its whole answer, by a deadline: what was certainly not sent, and what may have been."""

import threading

import httpx
import pytest

from amocrm_userauth._async.http import AsyncHTTP, NotSentError, Outgoing, UnknownOutcomeError
from amocrm_userauth._async.http import _AsyncTrip as AsyncTrip
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.testing import async_http_client
from tests.networks import AsyncNetwork
from tests.raw import RawServer, drip, reply

LIBRARIES = pytest.mark.parametrize("library", ["httpx", "httpx2"])
POST = Outgoing(method="POST", url="https://example.amocrm.ru/oauth2/access_token", fields={"a": "example-secret"})
GET = Outgoing(method="GET", url="https://example.amocrm.ru/x", headers={"Authorization": "Bearer example-secret"})


class AsyncJumpingTime(AsyncTime):
    """A clock that can be set ahead."""

    ahead = 0.0

    def monotonic(self):
        return super().monotonic() + self.ahead


async def send(http, outgoing=POST, seconds=5.0, clock=None):
    clock = clock or AsyncTime()
    return await AsyncHTTP(http, clock).send(outgoing, deadline=clock.monotonic() + seconds)


def test_a_request_does_not_show_its_secrets():
    """Method and address only."""
    assert "example-secret" not in f"{POST!r} {GET!r}"
    assert "oauth2/access_token" in repr(POST)


@LIBRARIES
async def test_an_answer_is_read_whole(library):
    """Status, headers in lower case, body."""
    with RawServer(reply(429, {"retry_after": 3}, "X-Example: Yes\r\n")) as server:
        async with async_http_client(server.url, library=library) as http:
            got = await send(http)
    assert (got.status, got.headers["x-example"]) == (429, "Yes")
    assert bytes(got.body) == b'{"retry_after": 3}'


async def test_a_get_has_no_body():
    """Nor a content type."""
    with RawServer(reply(200, {})) as server:
        async with async_http_client(server.url) as http:
            await send(http, GET)
    (asked,) = server.asked
    assert (asked.method, asked.body) == ("GET", b"")
    assert "content-type" not in asked.headers
    assert asked.headers["accept"] == "application/json"


@LIBRARIES
async def test_a_request_whose_time_ran_out_on_the_way_is_not_sent(library):
    """The connection was made too late: whoever has the lease by then must not be disturbed."""
    clock = AsyncJumpingTime()
    with RawServer(reply(200, {})) as server:
        async with async_http_client(server.url, library=library) as http:

            async def connecting_took_long(request):
                clock.ahead = 60.0

            http.event_hooks = {"request": [connecting_took_long]}
            with pytest.raises(NotSentError, match="out of time"):
                await send(http, clock=clock)
        assert server.asked == []


async def test_a_request_without_time_is_not_begun():
    """Not even a connection."""
    with RawServer(reply(200, {})) as server:
        async with async_http_client(server.url) as http:
            with pytest.raises(NotSentError):
                await send(http, seconds=0)
        assert server.connections == 0


async def test_a_closed_client_sends_nothing():
    """So the token is not in doubt."""
    with RawServer(reply(200, {})) as server:
        http = async_http_client(server.url)
        await http.aclose()
        with pytest.raises(NotSentError, match="closed"):
            await send(http)
        assert server.connections == 0


async def test_a_request_that_cannot_be_built_is_not_sent():
    """Whatever the library says to its address."""
    async with async_http_client("http://127.0.0.1:9") as http:
        with pytest.raises(NotSentError, match="InvalidURL"):
            await send(http, Outgoing(method="GET", url="https://exa mple.amocrm.ru:x/"))


async def test_a_failure_before_the_headers_went_out_is_not_sent():
    """The trace shows it, whatever the error is called."""

    async def breaking(request):
        await request.extensions["trace"]("connection.connect_tcp.complete", {"return_value": object()})
        raise RuntimeError("example")

    async with httpx.AsyncClient(transport=AsyncNetwork(breaking)) as http:
        with pytest.raises(NotSentError, match="RuntimeError"):
            await send(http)


async def test_a_failure_after_the_headers_went_out_may_have_been_sent():
    """The same error a moment later."""

    async def breaking(request):
        await request.extensions["trace"]("http11.send_request_headers.started", {})
        raise RuntimeError("example")

    async with httpx.AsyncClient(transport=AsyncNetwork(breaking)) as http:
        with pytest.raises(UnknownOutcomeError, match="RuntimeError"):
            await send(http)


async def test_a_transport_without_trace_leaves_doubt():
    """Then nobody knows."""

    async def breaking(request):
        raise RuntimeError("example")

    async with httpx.AsyncClient(transport=AsyncNetwork(breaking)) as http:
        with pytest.raises(UnknownOutcomeError, match="RuntimeError"):
            await send(http)


async def test_an_error_of_the_library_is_not_chained():
    """Its frames hold the request."""

    async def breaking(request):
        raise httpx.ReadError("example-secret", request=request)

    async with httpx.AsyncClient(transport=AsyncNetwork(breaking)) as http:
        with pytest.raises(UnknownOutcomeError) as caught:
            await send(http)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "example-secret" not in str(caught.value)


@LIBRARIES
async def test_a_body_that_drips_on_a_kept_connection_is_cut(library):
    """The second answer on the same connection is no exception."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"
    with RawServer(reply(200, {}), drip(head + b"xxxx", len(head))) as server:
        async with async_http_client(server.url, library=library) as http:
            await send(http)
            with pytest.raises(UnknownOutcomeError):
                await send(http, seconds=0.3)
            assert server.connections == 1


class Line:
    """A connection whose socket can be shut down."""

    def __init__(self, error=None):
        self.error = error
        self.shut = []

    def get_extra_info(self, name):
        return self if name == "socket" else None

    def shutdown(self, how):
        self.shut.append(how)
        if self.error is not None:
            raise self.error


def trip(http, seconds=5.0, clock=None):
    clock = clock or AsyncTime()
    return AsyncTrip(http, POST, clock, clock.monotonic() + seconds, threading.Event())


async def test_a_request_that_was_given_up_is_never_sent_late():
    """It was still connecting: whoever gave up has said that nothing went out, and so it stays."""
    async with async_http_client("http://127.0.0.1:9") as http:
        given_up = trip(http)
        given_up.cut()
        assert isinstance(given_up.failure("timeout"), NotSentError)
        with pytest.raises(NotSentError, match="out of time"):
            await given_up._trace("http11.send_request_headers.started", {})
        assert isinstance(given_up.failure("timeout"), NotSentError)


async def test_a_request_that_was_given_up_before_it_began_is_not_begun():
    """Its thread came too late: whoever waited has been told that nothing went out."""
    async with async_http_client("http://127.0.0.1:9") as http:
        given_up = trip(http)
        given_up.cut()
        with pytest.raises(NotSentError, match="out of time"):
            await given_up.go()


async def test_only_our_own_deadline_shows_a_wait_for_a_free_connection():
    """Of a client that shows what it does: an error that comes from a transport without a trace shows nothing."""
    async with async_http_client("http://127.0.0.1:9") as http:
        silent = trip(http)
        silent._begun = True
        assert isinstance(silent.failure("timeout"), UnknownOutcomeError)
        silent._traces.set()
        assert isinstance(silent.failure("timeout"), NotSentError)
        assert isinstance(silent.failure("ReadTimeout"), UnknownOutcomeError)


async def test_a_request_past_its_deadline_is_never_sent_late():
    """By the holder's clock, at the moment of sending."""
    async with async_http_client("http://127.0.0.1:9") as http:
        late = trip(http, seconds=-1)
        with pytest.raises(NotSentError, match="out of time"):
            await late._trace("http2.send_request_headers.started", {})


@pytest.mark.parametrize(("waited", "connecting", "more"), [(2.0, 0.0, 2.0), (0.0, 2.0, 0.0), (2.0, 2.0, 2.0)])
async def test_only_the_wait_for_a_free_connection_extends_the_deadline(waited, connecting, more):
    """One deadline covers all that amoCRM takes; what our own client takes to begin is given back, once."""
    async with async_http_client("http://127.0.0.1:9") as http:
        clock = AsyncJumpingTime()
        queued = trip(http, 5.0, clock)
        clock.ahead += waited
        await queued._trace("connection.connect_tcp.started", {})
        clock.ahead += connecting
        await queued._trace("http11.send_request_headers.started", {})
        clock.ahead = 4.8
        assert queued.more() == pytest.approx(more, abs=0.5)


async def test_who_comes_late_to_the_deadline_reads_what_has_come_meanwhile():
    """A process that was stopped: what it has sent is answered perhaps, what it has not sent never goes out."""
    async with async_http_client("http://127.0.0.1:9") as http:
        clock = AsyncJumpingTime()
        sent, queued = trip(http, 5.0, clock), trip(http, 5.0, clock)
        await sent._trace("http11.send_request_headers.started", {})
        clock.ahead = 100.0
        assert sent.more() == 1.0
        assert queued.more() == 0.0


async def test_what_has_not_been_sent_by_the_deadline_gets_no_more_time():
    """It never will be sent."""
    async with async_http_client("http://127.0.0.1:9") as http:
        clock = AsyncJumpingTime()
        queued = trip(http, 5.0, clock)
        clock.ahead += 4.0
        await queued._trace("connection.connect_tcp.started", {})
        assert queued.more() == 0.0


@pytest.mark.parametrize("error", [None, OSError("not connected")])
async def test_giving_up_frees_the_socket(error):
    """The newest one that the trace has shown; a socket that is gone already is no error."""
    async with async_http_client("http://127.0.0.1:9") as http:
        stuck, first, line = trip(http), Line(), Line(error)
        await stuck._trace("connection.connect_tcp.complete", {"return_value": first})
        await stuck._trace("connection.start_tls.complete", {"return_value": line})
        await stuck._trace("http11.send_request_headers.started", {})
        stuck.cut()
        assert (first.shut, line.shut) == ([], [2])
        stuck._begun = True
        assert isinstance(stuck.failure("timeout"), UnknownOutcomeError)
