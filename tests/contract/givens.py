"""The states of the world that the cases start from. Each returns the values that a case's ``$names`` stand for."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from amocrm_userauth.errors import GrantRevoked
from tests.contract.backend import Backend

Values = Mapping[str, str]


def nothing(backend: Backend) -> Values:
    """Nobody has connected."""
    return {}


def connected(backend: Backend) -> Values:
    """Anna is connected."""
    backend.connected("anna")
    return {"host": backend.fake.host("anna"), "account": str(backend.fake.account_id("anna"))}


def expired(backend: Backend) -> Values:
    """Anna connected yesterday; her access token has run out."""
    values = connected(backend)
    backend.clock.advance(hours=30)
    return values


def silent(backend: Backend) -> Values:
    """Anna connected four months ago; her refresh token is past its three months."""
    values = connected(backend)
    backend.clock.advance(days=120)
    return values


def refused(backend: Backend) -> Values:
    """Anna's grant was revoked at amoCRM and a worker has noticed."""
    values = connected(backend)
    backend.fake.revoke("anna")
    backend.clock.advance(hours=30)
    with suppress(GrantRevoked):
        backend.access_token("anna")
    return values


def both_connected(backend: Backend) -> Values:
    """Anna and Boris are connected."""
    backend.connected("boris", "other")
    return connected(backend)


def consented(backend: Backend) -> Values:
    """Anna has begun and allowed it; the app has the answer."""
    return backend.consented("anna")


def bridged(backend: Backend) -> Values:
    """Anna's answer went through the callback of this backend."""
    answer = backend.consented("anna")
    _visit(backend, answer)
    return answer


def exchanged(backend: Backend) -> Values:
    """Anna's code was exchanged already."""
    answer = backend.consented("anna")
    assert backend.exchange("anna", answer).status == 200
    return answer


def of_boris(backend: Backend) -> Values:
    """Boris has begun and allowed it."""
    return backend.consented("boris")


def bridged_of_boris(backend: Backend) -> Values:
    """Boris's answer went through the callback; Anna has begun too and knows his code."""
    answer = backend.consented("boris")
    _visit(backend, answer)
    return {**answer, "own_state": backend.begin("anna")}


def stale(backend: Backend) -> Values:
    """Anna allowed it more than twenty minutes ago."""
    answer = backend.consented("anna")
    backend.clock.advance(minutes=21)
    return answer


def denied(backend: Backend) -> Values:
    """Anna pressed "deny"."""
    return backend.fake.callback("anna", state=backend.begin("anna"), allow=False)


def down(backend: Backend) -> Values:
    """Anna allowed it, and then amoCRM went down."""
    answer = backend.consented("anna")
    backend.fake.down()
    return answer


def overloaded(backend: Backend) -> Values:
    """Anna allowed it, and amoCRM limits us."""
    answer = backend.consented("anna")
    backend.fake.fail_next(None, status=429, retry_after=42)
    return answer


def babbling(backend: Backend) -> Values:
    """Anna allowed it, and amoCRM's answer makes no sense."""
    answer = backend.consented("anna")
    backend.fake.fail_next(None, status=400, body='{"nonsense": true}')
    return answer


def secret_changed(backend: Backend) -> Values:
    """Anna allowed it; then somebody regenerated the client's secret."""
    answer = backend.consented("anna")
    backend.fake.integration(client_secret="example-another-secret")
    return answer


def _visit(backend: Backend, answer: Mapping[str, str]) -> None:
    assert backend.ask("GET", "callback", query=list(answer.items())).status == 302


GIVENS: dict[str, Callable[[Backend], Values]] = {
    given.__name__: given
    for given in (
        nothing, connected, expired, silent, refused, both_connected, consented, bridged, exchanged, of_boris,
        bridged_of_boris, stale, denied, down, overloaded, babbling, secret_changed,
    )
}  # fmt: skip
