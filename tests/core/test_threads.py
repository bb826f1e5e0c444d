"""What the sync OAuth client leaves behind when it has cut a server that drips: nothing."""

import threading
import time

import pytest

from amocrm_userauth import Integration, OAuthClient
from amocrm_userauth.errors import AmoCRMUnavailable
from amocrm_userauth.testing import http_client
from tests.raw import RawServer, answer, drip, reply

INTEGRATION = Integration(
    "example-client", "example-secret", "https://app.example/callback", account_domain="example.amocrm.ru"
)
PAIR = {"expires_in": 86_400, "access_token": "example-a", "refresh_token": "example-r"}
ANSWER = answer(200, PAIR, "x-filler: example\r\n")


def requests_under_way():
    return [thread for thread in threading.enumerate() if thread.name == "amocrm_userauth-request"]


def no_request_is_left(patience=3.0):
    until = time.monotonic() + patience
    for thread in requests_under_way():
        thread.join(max(until - time.monotonic(), 0))
    return not requests_under_way()


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("at", [5, 20, len(ANSWER) - 5], ids=["status", "headers", "body"])
def test_no_thread_is_left_behind_by_a_server_that_drips(library, at):
    """Its socket is shut down, so the read in the thread ends."""
    with (
        RawServer(drip(ANSWER[:-1] if at > 100 else ANSWER[:60], at)) as server,
        http_client(server.url, library=library) as http,
    ):
        client = OAuthClient(INTEGRATION, http=http, budget=0.1)
        for _ in range(3):
            with pytest.raises(AmoCRMUnavailable):
                client.exchange_code("example-code")
        assert no_request_is_left()


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_no_thread_is_left_behind_on_a_kept_connection(library):
    """Whose socket shows when the answer's headers are there."""
    dripping = drip(ANSWER[:-1], len(ANSWER) - 5)
    with RawServer(reply(200, PAIR), dripping) as server, http_client(server.url, library=library) as http:
        client = OAuthClient(INTEGRATION, http=http, budget=0.2)
        client.exchange_code("example-code")
        with pytest.raises(AmoCRMUnavailable):
            client.exchange_code("example-code")
        assert server.connections == 1
        assert no_request_is_left()


def test_no_thread_is_left_behind_by_a_good_answer():
    """One for each request, for its time."""
    with RawServer(reply(200, PAIR)) as server, http_client(server.url) as http:
        client = OAuthClient(INTEGRATION, http=http)
        for _ in range(20):
            client.exchange_code("example-code")
        assert no_request_is_left()
