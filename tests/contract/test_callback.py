"""The bridge: from amoCRM's redirect to the app's deep link, and nowhere else."""

from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.contract.backend import DEEP_LINK, Backend, Reply


def _visit(backend: Backend, answer: dict[str, str] | list[tuple[str, str]]) -> Reply:
    query = list(answer.items()) if isinstance(answer, dict) else answer
    return backend.ask("GET", "callback", query=query)


def _is_refused(reply: Reply) -> bool:
    assert reply.status == 400, reply
    assert "location" not in reply.headers
    assert "<a " not in reply.text
    return _is_page(reply)


def _is_page(reply: Reply) -> bool:
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert reply.text.startswith("<!doctype html>")
    return True


def test_a_good_answer_reaches_the_app(backend: Backend) -> None:
    """A code with a good state is handed to the deep link, whose own query is kept."""
    answer = backend.consented("anna")
    reply = _visit(backend, answer)
    assert reply.status == 302
    assert _is_page(reply)
    target = reply.headers["location"]
    assert target.startswith(f"{DEEP_LINK}&")
    expected = {"from": "amo", **{key: answer[key] for key in ("code", "state", "referer")}}
    assert dict(parse_qsl(urlsplit(target).query, strict_parsing=True)) == expected


def test_there_is_a_link_to_tap(backend: Backend) -> None:
    """Browsers that do not open apps by a redirect get a link to the same address."""
    reply = _visit(backend, backend.consented("anna"))
    assert f'<a href="{reply.headers["location"].replace("&", "&amp;")}">' in reply.text


def test_the_whole_way(backend: Backend) -> None:
    """What the deep link hands to the app connects its user."""
    target = _visit(backend, backend.consented("anna")).headers["location"]
    assert backend.exchange("anna", dict(parse_qsl(urlsplit(target).query))).status == 200


def test_a_visit_spends_nothing(backend: Backend) -> None:
    """The same address may be opened twice; nothing is stored or exchanged."""
    answer = backend.consented("anna")
    assert _visit(backend, answer).headers["location"] == _visit(backend, answer).headers["location"]
    assert backend.row("anna") is None
    assert backend.fake.token_calls() == 0


def test_a_refusal_reaches_the_app(backend: Backend) -> None:
    """A user who pressed "deny" comes back to the app with ``access_denied``."""
    answer = backend.fake.callback("anna", state=backend.begin("anna"), allow=False)
    reply = _visit(backend, answer)
    assert reply.status == 302
    query = dict(parse_qsl(urlsplit(reply.headers["location"]).query))
    assert query == {"from": "amo", "error": "access_denied", "state": answer["state"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"state": None},
        {"state": ""},
        {"state": "example"},
        {"state": "'\"><script>"},
        {"code": None},
        {"code": ""},
        {"from_widget": "1"},
        {"client_id": "5e0ec2b1-0000-4000-8000-0000000000bd"},
        {"referer": "evil.example"},
        {"referer": "example.amocrm.ru@evil.example"},
        {"referer": None},
    ],
    ids=lambda changes: "-".join(f"{key}={value}" for key, value in changes.items()),
)
def test_a_wrong_answer_ends_on_a_page(backend: Backend, changes: dict[str, str | None]) -> None:
    """Anything that is not a good answer is a page without a link, and records nothing."""
    answer = {key: value for key, value in {**backend.consented("anna"), **changes}.items() if value is not None}
    reply = _visit(backend, answer)
    assert _is_refused(reply)
    assert not any(value in reply.text for key, value in answer.items() if key != "from_widget" and value)


def test_a_refusal_without_a_good_state_ends_on_a_page(backend: Backend) -> None:
    """Nobody can send users into the app with an error of their own making."""
    assert _is_refused(_visit(backend, {"error": "access_denied"}))
    assert _is_refused(_visit(backend, {"error": "access_denied", "state": "example"}))


@pytest.mark.parametrize("name", ["code", "state", "referer", "client_id"])
def test_a_parameter_given_twice_ends_on_a_page(backend: Backend, name: str) -> None:
    """Of two values neither is taken, even if they are equal."""
    answer = list(backend.consented("anna").items())
    assert _is_refused(_visit(backend, [*answer, (name, dict(answer)[name])]))


def test_a_state_that_is_too_old_ends_on_a_page(backend: Backend) -> None:
    """After twenty minutes the way is closed."""
    answer = backend.consented("anna")
    backend.clock.advance(minutes=21)
    assert _is_refused(_visit(backend, answer))


@pytest.mark.parametrize("name", ["deep_link", "redirect_uri", "redirect", "next", "url", "target", "return_to"])
def test_the_target_is_never_taken_from_the_query(backend: Backend, name: str) -> None:
    """There is no open redirect."""
    reply = _visit(backend, {**backend.consented("anna"), name: "https://evil.example/"})
    assert reply.status == 302
    assert reply.headers["location"].startswith(f"{DEEP_LINK}&")
    assert "evil.example" not in reply.text + reply.headers["location"]


def test_a_second_code_for_a_recorded_state_ends_on_a_page(backend: Backend) -> None:
    """The first code of a state stands; another one is not passed on."""
    answer = backend.consented("anna")
    assert _visit(backend, answer).status == 302
    assert _is_refused(_visit(backend, {**answer, "code": backend.fake.authorize("anna", state=answer["state"])}))


@pytest.mark.parametrize("code", ["a b&c=d#e+f%20g/?", "<script>alert(1)</script>", "'\"`"])
def test_a_strange_code_is_encoded(backend: Backend, code: str) -> None:
    """Whatever the code holds arrives as it was, and breaks out of nothing."""
    reply = _visit(backend, {**backend.consented("anna"), "code": code})
    assert reply.status == 302
    target = urlsplit(reply.headers["location"])
    assert ("code", code) in parse_qsl(target.query, strict_parsing=True)
    assert target.fragment == ""
    assert "+" not in target.query
    assert "<script" not in reply.text


def test_the_wrong_method_is_refused_in_the_envelope(backend: Backend) -> None:
    """A post to the callback is a 405."""
    assert backend.ask("POST", "callback").code == "method_not_allowed"
