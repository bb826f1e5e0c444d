"""Whatever is sent: an error of the list, nothing changed, nothing told."""

import json
from urllib.parse import parse_qsl, urlsplit

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.backend import DEEP_LINK, Backend, Reply

_few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_text = st.text(max_size=40) | st.sampled_from(
    ["", "0", "null", "../../etc/passwd", "' OR 1=1 --", "{{7*7}}", "%00", "\0"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_keys = st.sampled_from(["code", "state", "referer", "user_id", "success", "error"])
_names = st.sampled_from(["code", "state", "referer", "client_id", "error", "from_widget", "platform"])
_header_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


def _told(backend: Backend, reply: Reply) -> bool:
    shown = f"{reply.text}{reply.headers}"
    secrets = [pair.access_token for pair in backend.fake.pairs("anna")]
    secrets += [pair.refresh_token for pair in backend.fake.pairs("anna")]
    return any(secret in shown for secret in [*secrets, "example-client-secret", "Traceback", "amocrm_userauth"])


def test_garbage_for_exchange_code(backend: Backend) -> None:
    """Any JSON is refused in the envelope, and neither user's row changes."""
    backend.connected("anna")
    backend.connected("boris", "other")
    before = backend.row("anna"), backend.row("boris")
    state = backend.begin("anna")

    @_few
    @given(st.dictionaries(_keys, _json | st.just("example.amocrm.ru") | st.just(state), max_size=4) | _json)
    def run(body: object) -> None:
        reply = backend.ask("POST", "exchange-code", "anna", json=body)
        assert reply.status in {400, 422}, reply
        assert reply.code in {"invalid_request", "invalid_state", "invalid_code", "untrusted_host"}
        assert reply.headers["cache-control"] == "no-store"
        assert not _told(backend, reply)

    run()
    assert (backend.row("anna"), backend.row("boris")) == before


def test_garbage_as_a_body(backend: Backend) -> None:
    """Any bytes with any content type are refused, and not quoted."""
    backend.connected("anna")
    before = backend.row("anna")
    kinds = st.sampled_from(
        ["application/json", "application/json; charset=utf-16", "text/json", "", ";", "application/+json"]
    )

    @_few
    @given(st.binary(max_size=200), kinds | _header_text)
    def run(content: bytes, kind: str) -> None:
        reply = backend.ask("POST", "exchange-code", "anna", content=content, headers={"Content-Type": kind})
        assert (reply.status, reply.code) == (422, "invalid_request")
        assert not _told(backend, reply)

    run()
    assert backend.row("anna") == before


def test_garbage_for_the_callback(backend: Backend) -> None:
    """Any query ends on a page, or in the deep link if the state is good."""
    state = backend.begin("anna")

    @_few
    @given(st.lists(st.tuples(_names, _text | st.just("a.amocrm.ru") | st.just(state)), max_size=5))
    def run(query: list[tuple[str, str]]) -> None:
        reply = backend.ask("GET", "callback", query=query)
        assert reply.status in {302, 400}
        assert not _told(backend, reply)
        assert "<script" not in reply.text
        if reply.status == 302:
            assert ("state", state) in query
            target = reply.headers["location"]
            assert target.startswith(f"{DEEP_LINK}&")
            assert target.isascii()
            assert target.isprintable()
            names = [name for name, _ in parse_qsl(urlsplit(target).query, keep_blank_values=True)]
            assert len(names) == len(set(names))

    run()
    assert backend.row("anna") is None


def test_a_garbled_query_of_the_callback(backend: Backend) -> None:
    """What is no query at all is a page too."""

    @_few
    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=60))
    def run(raw: str) -> None:
        reply = backend.ask("GET", "callback", raw_query=raw)
        assert reply.status == 400
        assert not _told(backend, reply)

    run()


def test_garbage_in_the_query_of_the_others(backend: Backend) -> None:
    """Status, authorize-url and disconnect look at the login alone."""
    backend.connected("anna")
    before = backend.row("anna")
    asks = st.sampled_from([("GET", "status"), ("GET", "authorize-url"), ("POST", "disconnect")])

    @_few
    @given(asks, st.lists(st.tuples(_text, _text), max_size=4))
    def run(ask: tuple[str, str], query: list[tuple[str, str]]) -> None:
        reply = backend.ask(*ask, "boris", query=[*query, ("user_id", "anna"), ("current_user", "anna")])
        assert reply.status == 200
        assert json.loads(reply.text)["success"] is True
        assert not _told(backend, reply)

    run()
    assert backend.row("anna") == before
