"""Exchange-code under repetition, competition and failure."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.backend import Ask, Backend
from tests.contract.table import CONNECTED


def _post(user: str, **body: str) -> Ask:
    return Ask("POST", "exchange-code", user, json=body)


def _exchanges(backend: Backend) -> int:
    return backend.fake.token_calls(grant_type="authorization_code")


def test_equal_posts_share_one_exchange(backend: Backend) -> None:
    """Twenty equal posts at once are twenty successes and one exchange."""
    answer = backend.consented("anna")
    body = {key: answer[key] for key in ("code", "state", "referer")}
    replies = backend.send(*[_post("anna", **body)] * 20)
    assert [reply.status for reply in replies] == [200] * 20
    assert all(reply.json() == CONNECTED for reply in replies)
    assert _exchanges(backend) == 1


def test_one_state_is_good_for_one_code(backend: Backend) -> None:
    """Twenty codes for one state are one exchange and nineteen refusals."""
    state = backend.begin("anna")
    codes = [backend.fake.authorize("anna", state=state) for _ in range(20)]
    host = backend.fake.host("anna")
    replies = backend.send(*(_post("anna", code=code, state=state, referer=host) for code in codes))
    assert sorted(reply.status for reply in replies) == [200] + [400] * 19
    assert {reply.code for reply in replies if reply.status == 400} == {"invalid_state"}
    assert _exchanges(backend) == 1


def test_equal_posts_wait_for_the_one_under_way(backend: Backend) -> None:
    """A second post of the same code that comes during the exchange waits for its outcome."""
    answer = backend.consented("anna")
    held = backend.fake.hold_next(None)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(backend.exchange, "anna", answer)
        held.wait_arrived()
        second = pool.submit(backend.exchange, "anna", answer)
        held.release()
        assert first.result().status == second.result().status == 200
    assert _exchanges(backend) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_the_same_request_works_after_a_failure_that_spent_nothing(backend: Backend, status: int) -> None:
    """After a 503 the app may post the same code and state again."""
    answer = backend.consented("anna")
    backend.fake.fail_next(None, status=status, retry_after=1)
    assert backend.exchange("anna", answer).status == 503
    assert backend.exchange("anna", answer).status == 200
    assert backend.row("anna") is not None


def test_the_same_request_works_after_amocrm_was_down(backend: Backend) -> None:
    """A code that never reached amoCRM is as good as before."""
    answer = backend.consented("anna")
    backend.fake.down()
    assert backend.exchange("anna", answer).status == 503
    backend.fake.up()
    assert backend.exchange("anna", answer).status == 200


def test_a_bare_code_works_once_the_callback_has_recorded_it(backend: Backend) -> None:
    """A client that posts only the code needs the bridge's record, and then needs no more."""
    answer = backend.consented("anna")
    bare = {"code": answer["code"], "referer": answer["referer"]}
    assert backend.exchange("anna", bare).code == "invalid_state"
    assert backend.ask("GET", "callback", query=list(answer.items())).status == 302
    assert backend.exchange("anna", bare).status == 200
    assert backend.exchange("anna", bare).status == 200
    assert _exchanges(backend) == 1


@pytest.mark.service(state_policy="optional")
def test_a_bare_code_of_another_user_is_refused_even_without_a_required_state(backend: Backend) -> None:
    """What the bridge recorded for one user is never another's, whatever the policy."""
    answer = backend.consented("boris")
    backend.ask("GET", "callback", query=list(answer.items()))
    bare = {"code": answer["code"], "referer": answer["referer"]}
    assert backend.exchange("anna", bare).code == "invalid_state"
    assert backend.exchange("boris", bare).status == 200
    assert backend.row("anna") is None


@pytest.mark.integration(account_domain="example.amocrm.ru", account_id="31920194")
def test_a_configured_account_is_the_default(backend: Backend) -> None:
    """With a configured account the referer may be left out, and a status without a connection names the account."""
    data = {"connected": False, "hasTokens": False, "domain": "example.amocrm.ru", "accountId": "31920194"}
    assert backend.ask("GET", "status", "anna").json() == {"success": True, "data": data}
    answer = backend.consented("anna")
    assert backend.exchange("anna", {"code": answer["code"], "state": answer["state"]}).status == 200


@pytest.mark.integration(only_this_account=True, account_id="1", account_domain="example.amocrm.ru")
def test_another_account_is_refused_where_one_is_pinned(backend: Backend) -> None:
    """A pinned account refuses every other one, and nothing is stored."""
    assert backend.exchange("anna", backend.consented("anna")).code == "wrong_account"
    assert backend.row("anna") is None


@pytest.mark.integration(one_user_per_login=True)
def test_a_login_of_a_colleague_is_refused_where_that_is_asked_for(backend: Backend) -> None:
    """Two application users on one amoCRM login: the second is told so."""
    backend.connected("anna")
    answer = backend.fake.callback("anna", state=backend.begin("boris"))
    assert backend.exchange("boris", answer).code == "already_connected_by_another"
    assert backend.row("boris") is None


def test_nobody_touches_anothers_row(backend: Backend) -> None:
    """What Anna does leaves Boris's row as it is."""
    backend.connected("boris", "other")
    before = backend.row("boris")
    backend.connected("anna")
    backend.connected("anna", "third")
    backend.ask("GET", "status", "anna")
    backend.ask("POST", "disconnect", "anna")
    assert backend.row("boris") == before
    assert backend.row("anna") is None


def test_connecting_again_replaces_the_connection(backend: Backend) -> None:
    """The last connection wins, also with another account."""
    backend.connected("anna")
    backend.connected("anna", "second")
    data = backend.ask("GET", "status", "anna").json()["data"]
    assert data["domain"] == "second.amocrm.ru"


def test_disconnecting_removes_the_row(backend: Backend) -> None:
    """After a disconnect nothing is stored."""
    backend.connected("anna")
    backend.ask("POST", "disconnect", "anna")
    assert backend.row("anna") is None
    assert backend.ask("GET", "status", "anna").json()["data"]["hasTokens"] is False


def test_status_never_asks_amocrm(backend: Backend) -> None:
    """A status is answered while amoCRM is down, and leaves no request in its log."""
    backend.connected("anna")
    backend.clock.advance(hours=30)
    seen = len(backend.fake.requests)
    backend.fake.down()
    assert backend.ask("GET", "status", "anna").status == 200
    assert len(backend.fake.requests) == seen


def test_authorize_url(backend: Backend) -> None:
    """The address is the integration's consent page with the state; it is good for twenty minutes."""
    body = backend.ask("GET", "authorize-url", "anna").json()
    assert body.keys() == {"success", "data"}
    assert body["success"] is True
    assert body["data"].keys() == {"url", "state", "expiresIn"}
    assert body["data"]["expiresIn"] == 1200
    url, _, query = body["data"]["url"].partition("?")
    assert url == f"{backend.fake.url}/oauth"
    assert f"state={body['data']['state']}" in query.split("&")


def test_authorize_url_is_not_stored_on_the_way(backend: Backend) -> None:
    """No cache keeps the state."""
    assert backend.ask("GET", "authorize-url", "anna").headers["cache-control"] == "no-store"


def test_states_differ(backend: Backend) -> None:
    """Each request makes a state of its own; several tabs work."""
    first, second = backend.consented("anna"), backend.consented("anna")
    assert first["state"] != second["state"]
    assert backend.exchange("anna", first).status == 200
    assert backend.exchange("anna", second).status == 200
