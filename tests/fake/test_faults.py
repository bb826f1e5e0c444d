"""Failures that a test arranges, as a client meets them on the socket."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.fake.kit import Caller, caller


@pytest.fixture
def amo():
    with caller(rate_limit=None) as made:
        yield made


def test_a_failure_meets_the_users_next_call_once(amo: Caller):
    """Others, and the call after it, are served; the token was not spent."""
    anna, boris = amo.connect()["refresh_token"], amo.connect("boris")["refresh_token"]
    amo.fake.fail_next("anna")
    assert amo.refresh(boris).status_code == 200
    failed = amo.refresh(anna)
    assert (failed.status_code, failed.json()["title"]) == (500, "ErrInternalServer")
    assert amo.fake.accepts(anna, "anna")
    assert amo.refresh(anna).status_code == 200


@pytest.mark.parametrize(
    ("status", "kind", "type_", "text"),
    [
        (402, None, "application/problem+json", "Payment required"),
        (403, None, "text/html", "403 Forbidden"),
        (403, "json", "application/problem+json", "Invalid scope"),
        (429, None, "application/problem+json", '"retry_after": 7'),
        (429, "plain", "text/plain", "429 Too Many Requests"),
        (404, "html", "text/html", "404 Not Found"),
        (500, "empty", "text/plain", ""),
        (504, None, "text/html", "504 Gateway Time-out"),
        (418, "plain", "text/plain", "418"),
    ],
)
def test_kinds_of_failure(amo: Caller, status: int, kind: str | None, type_: str, text: str):
    """Each status has amoCRM's own body, JSON or nginx's page."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next("anna", status=status, kind=kind, retry_after=7)
    answer = amo.refresh(token)
    assert (answer.status_code, answer.headers["content-type"]) == (status, type_)
    assert text in answer.text
    assert amo.fake.accepts(token)


def test_a_body_and_headers_of_ones_own(amo: Caller):
    """For answers that nobody foresaw."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next("anna", status=200, body="[]", headers=(("retry-after", "5"),))
    amo.fake.fail_next("anna", status=503, headers=(("retry-after", "6"),))
    odd, busy = amo.refresh(token), amo.refresh(token)
    assert (odd.text, odd.headers["retry-after"]) == ("[]", "5")
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "6")


def test_failures_on_the_api_and_the_look_up(amo: Caller):
    """``on`` says which requests; each kind waits for its own."""
    pair = amo.connect()
    amo.fake.fail_next("anna", status=500, on="api")
    amo.fake.fail_next("anna", status=502, on="lookup")
    assert amo.refresh(pair["refresh_token"]).status_code == 200
    assert amo.look_up(amo.fake.alive_pair("anna").refresh_token).status_code == 502
    assert amo.account(pair["access_token"]).status_code == 500
    assert amo.account(pair["access_token"]).status_code == 200


def test_failures_for_anybody_several_times_and_forgotten(amo: Caller):
    """``user=None`` is anybody, ``times`` counts, ``clear_faults`` ends it."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next(None, times=3, on="any")
    assert [amo.refresh("junk").status_code, amo.refresh(token).status_code] == [500, 500]
    amo.fake.clear_faults()
    assert amo.refresh(token).status_code == 200


def test_times_is_exact(amo: Caller):
    """Two calls fail, the third is served."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next("anna", times=2)
    assert [amo.refresh(token).status_code for _ in range(3)] == [500, 500, 200]


def test_silence_before_the_work(amo: Caller):
    """The connection ends without an answer, and the token is as good as before."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next("anna", kind="silence")
    with pytest.raises(httpx.RemoteProtocolError):
        amo.refresh(token)
    assert amo.fake.accepts(token)
    assert amo.fake.presentations("anna", "refresh_token")[0].outcome == "failed"


def test_a_lost_answer_spends_the_token(amo: Caller):
    """The client sees a cut connection; amoCRM has rotated, and the books say that nobody was told."""
    token = amo.connect()["refresh_token"]
    amo.fake.drop_answer_next("anna")
    with pytest.raises(httpx.RemoteProtocolError):
        amo.refresh(token)
    assert not amo.fake.accepts(token)
    seen = amo.fake.presentations("anna", "refresh_token")[0]
    assert (seen.outcome, seen.answered) == ("issued", False)
    assert amo.fake.requests[-1].status is None
    assert amo.fake.alive_pair("anna").refresh_token != token


def test_an_answer_cut_in_the_middle(amo: Caller):
    """Headers and half the body come, then the connection ends; the token is spent."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next("anna", kind="cut")
    with pytest.raises(httpx.RemoteProtocolError):
        amo.refresh(token)
    assert not amo.fake.accepts(token)


def test_truncated_json(amo: Caller):
    """A complete answer with half its JSON, after the token was spent."""
    token = amo.connect()["refresh_token"]
    amo.fake.fail_next("anna", kind="truncated")
    answer = amo.refresh(token)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert not amo.fake.accepts(token)


def test_dripping(amo: Caller):
    """The body comes a byte at a time: no read timeout strikes, and it is whole in the end."""
    token = amo.connect()["refresh_token"]
    amo.fake.drip_next("anna", 0.0005)
    with amo.http.stream(
        "POST",
        "https://example.amocrm.ru/oauth2/access_token",
        json=amo.fields(grant_type="refresh_token", refresh_token=token),
    ) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 20
    assert amo.fake.is_alive(json.loads(b"".join(pieces))["refresh_token"], "anna")


def test_a_reader_that_leaves_a_dripping_answer(amo: Caller):
    """The books say that the answer did not arrive."""
    token = amo.connect()["refresh_token"]
    amo.fake.drip_next("anna", 0.01)
    fields = amo.fields(grant_type="refresh_token", refresh_token=token)
    with amo.http.stream("POST", "https://example.amocrm.ru/oauth2/access_token", json=fields) as answer:
        next(answer.iter_raw())
    wait_until(lambda: amo.fake.presentations("anna", "refresh_token")[0].status == 200)
    assert not amo.fake.presentations("anna", "refresh_token")[0].answered


@pytest.mark.parametrize(("at", "spent"), [("before", False), ("after", True)])
def test_a_held_call_stands_still_before_or_after_the_work(amo: Caller, at: str, spent: bool):
    """Meanwhile others are served; once released it is answered."""
    token, boris = amo.connect()["refresh_token"], amo.connect("boris")["refresh_token"]
    hold = amo.fake.hold_next("anna", at=at)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(amo.refresh, token)
        hold.wait_arrived()
        assert isinstance(hold.arrived, threading.Event)
        assert amo.fake.accepts(token) is not spent
        assert amo.refresh(boris).status_code == 200
        assert not call.done()
        hold.release()
        assert call.result().status_code == 200


def test_a_held_call_whose_caller_has_left(amo: Caller):
    """AmoCRM does its work all the same, as a real server does, and nobody hears of it."""
    token = amo.connect()["refresh_token"]
    hold = amo.fake.hold_next("anna")
    fields = amo.fields(grant_type="refresh_token", refresh_token=token)
    with pytest.raises(httpx.ReadTimeout):
        amo.http.post("https://example.amocrm.ru/oauth2/access_token", json=fields, timeout=0.05)
    hold.wait_arrived()
    assert amo.fake.accepts(token)
    hold.release()
    wait_until(lambda: amo.fake.presentations("anna", "refresh_token")[0].status == 200)
    assert not amo.fake.accepts(token)
    assert not amo.fake.presentations("anna", "refresh_token")[0].answered


def test_a_held_call_can_be_dropped(amo: Caller):
    """The release decides that its answer is lost; released before it comes, it does not wait."""
    token = amo.connect()["refresh_token"]
    hold = amo.fake.hold_next("anna", at="after")
    hold.release(drop=True)
    with pytest.raises(httpx.RemoteProtocolError):
        amo.refresh(token)
    assert hold.arrived.is_set()
    assert not amo.fake.accepts(token)


def test_waiting_for_a_call_that_never_comes_ends(amo: Caller):
    """With a TimeoutError, instead of a test that hangs."""
    with pytest.raises(TimeoutError):
        amo.fake.hold_next("anna").wait_arrived(0.01)


@pytest.mark.parametrize("at", ["before", "after"])
def test_delays(amo: Caller, at: str):
    """The answer comes later by that much of real time."""
    token = amo.connect()["refresh_token"]
    amo.fake.delay_next("anna", 0.05, at=at)
    began = time.monotonic()
    assert amo.refresh(token).status_code == 200
    assert time.monotonic() - began >= 0.05


def test_an_outage_refuses_connections_and_cuts_those_there_are(amo: Caller):
    """A kept connection does not help; afterwards the address is the same, and what was known still is."""
    token = amo.connect()["refresh_token"]
    hold = amo.fake.hold_next("anna")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(amo.refresh, token)
        hold.wait_arrived()
        amo.fake.down()
        with pytest.raises(httpx.TransportError):
            call.result()
    for _ in range(2):
        with pytest.raises(httpx.ConnectError):
            amo.refresh(token)
    amo.fake.down()
    amo.fake.up()
    amo.fake.up()
    assert amo.refresh(token).status_code == 200


def test_an_outage_with_a_status(amo: Caller):
    """A proxy that answers for a service that is away."""
    token = amo.connect()["refresh_token"]
    amo.fake.down(status=503)
    assert amo.refresh(token).text.startswith("<html>")
    assert amo.account("junk").status_code == 503
    amo.fake.up()
    assert amo.refresh(token).status_code == 200


def wait_until(true: object) -> None:
    """Wait for something that another thread does."""
    until = time.monotonic() + 5
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)
