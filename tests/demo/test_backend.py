"""The demo's endpoints, over HTTP."""

from datetime import timedelta

import httpx
import pytest

from amocrm_userauth.demo._log import Log
from amocrm_userauth.demo._phone import Phone
from amocrm_userauth.demo._row import _distance
from amocrm_userauth.events import Refreshed, SaveFailed
from amocrm_userauth.testing import FakeAmoCRM
from tests.demo.watch import SECRET


@pytest.fixture
def connected(phone):
    phone.connect(user="maria")
    return phone


@pytest.mark.parametrize("button", ["day", "down", "up", "revoke", "tabs"])
def test_buttons_need_a_session(demo, button):
    """Another site's page cannot press them: it has no session."""
    with Phone(demo.url) as stranger:
        assert stranger.post(f"/demo/{button}").status_code == 401


@pytest.mark.parametrize("session", ["maria", "maria.", "maria.0000", "nobody.0000", "ivan.пароль"])
def test_a_forged_session_is_none(demo, session):
    """A session is good only with its signature."""
    headers = {"Authorization": f"Bearer {session}".encode()}
    with httpx.Client(base_url=demo.url, headers=headers, trust_env=False) as stranger:
        assert stranger.get("/api/amo-crm/status").status_code == 401
        assert stranger.get("/demo/inside").json()["row"] == []


def test_nobody_else_can_log_in(demo):
    """The application knows two users."""
    with Phone(demo.url) as stranger:
        assert stranger.post("/api/login", {"user": "eve"}).status_code == 404


def test_a_foreign_host_name_is_refused(demo):
    """A site that lets its own name point to this machine gets nothing."""
    assert httpx.get(demo.url, headers={"Host": "evil.example"}, trust_env=False).status_code == 400


def test_the_page_keeps_its_address_to_itself(demo):
    """The page that gets the code is not stored, sends no referrer, runs no foreign code, and is in no frame."""
    headers = httpx.get(f"{demo.url}phone?code=example", trust_env=False).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_what_happens_inside_holds_no_secret(connected):
    """The panels show the row and the calls, and neither a token, nor a code, nor a ciphertext."""
    connected.leads()
    inside = connected.get("/demo/inside")
    assert not SECRET.search(inside.text)
    texts = [line["text"] for line in inside.json()["log"]]
    assert "GET /api/amo-crm/callback → 302" in texts
    assert not [text for text in texts if "?" in text or "state" in text]
    row = {field["name"]: field["value"] for field in inside.json()["row"]}
    assert row["domain"] == "example.amocrm.ru"
    assert "encrypted" in row["refresh_token"]


def test_the_row_tells_of_trouble(connected, demo):
    """An answer that was lost shows: the token is in doubt, and is asked about again later."""
    demo.fake.advance(86_401)
    demo.fake.drop_answer_next("maria")
    assert connected.get("/api/leads").status_code == 503
    row = {field["name"]: field for field in connected.get("/demo/inside").json()["row"]}
    assert row["in_doubt"] == {"name": "in_doubt", "value": "yes", "tone": "bad"}
    assert row["expires_at"]["tone"] == "bad"
    assert row["failures"]["value"] == "1"


def test_a_refresh_under_way_shows(connected, demo):
    """While amoCRM is asked, the row is leased."""
    demo.fake.advance(86_401)
    held = demo.fake.hold_next("maria")
    with httpx.Client(base_url=demo.url, trust_env=False, timeout=0.05) as hasty:
        hasty.headers["Authorization"] = connected._http.headers["Authorization"]
        with pytest.raises(httpx.ReadTimeout):
            hasty.get("/api/leads")
    held.wait_arrived()
    row = {field["name"]: field["value"] for field in connected.get("/demo/inside").json()["row"]}
    held.release()
    assert row["lease"].startswith("held")
    connected.leads()


@pytest.mark.parametrize(
    ("status", "expected"), [(429, "amoCRM answered 429"), (500, "amoCRM answered 500"), (401, "within a minute")]
)
def test_trouble_at_amocrm_is_told_calmly(connected, demo, status, expected):
    """Whatever amoCRM answers, the app gets an error in the contract's envelope."""
    demo.fake.fail_next("maria", on="api", status=status, times=2)
    answer = connected.get("/api/leads")
    assert answer.status_code == 503
    assert expected in answer.json()["error"]["message"]


def test_no_leads_are_no_error(connected, demo):
    """An account without leads answers 204."""
    demo.fake.fail_next("maria", on="api", status=204, kind="empty")
    assert connected.leads() == []


def test_revoking_takes_only_this_user(connected, demo):
    """The button ends the grant of the amoCRM user whom this user connected."""
    with Phone(demo.url) as ivan:
        ivan.log_in("ivan").connect(user="ivan")
        ivan.post("/demo/revoke").raise_for_status()
        assert ivan.get("/api/leads").status_code == 409
    assert connected.leads()


def test_tabs_without_a_connection_get_errors(phone):
    """Twenty tabs of a user who is not connected get no token."""
    assert phone.post("/demo/tabs").json()["answered"] == 0


def test_equal_lines_are_one():
    """Neighbours that read the same are counted; other lines and times of day keep them apart."""
    with FakeAmoCRM() as fake:
        log = Log(fake)
        for text in ("a", "a", "b", "a"):
            log.add("phone", text)
        log.event(Refreshed("maria", in_doubt=False))
        log.event(SaveFailed("maria"))
        lines = [(line["text"], line["count"]) for line in log.view()]
    assert lines == [("a", 2), ("b", 1), ("a", 1), ("Refreshed: a new pair replaced the old one", 1), ("SaveFailed", 1)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "now"), (1, "in 1 second"), (-59, "59 seconds ago"), (60, "in 1 minute"), (-7200, "2 hours ago")],
)
def test_distances_in_words(seconds, words):
    """The largest unit that fits is named."""
    assert _distance(timedelta(seconds=seconds)) == words
